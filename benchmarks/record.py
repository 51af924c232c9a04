"""What a benchmark measured, with the date, the machine and the code, as a file in ``results``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lidistill.evaluation.card import this_hardware, this_software

RESULTS = Path(__file__).parent / "results"


def write_record(name: str, content: Mapping[str, Any]) -> None:
    """Write ``results/NAME.json``."""
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": this_hardware().model_dump(),
        "software": this_software(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps({**content, **about}, indent=2) + "\n")
