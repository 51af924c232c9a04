"""``python -m lidistill``."""

import sys

from lidistill.cli import main

sys.exit(main())
