"""The verbs: one function each, the same on the command line and in Python.

Signatures and help texts live here and import nothing heavy, so that every help screen answers at once; what a
verb does stands in ``lidistill.apps``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lidistill.verbs.compare import reproduce, table
from lidistill.verbs.learn import adapt, finetune, import_checkpoint, pretrain, probe, superpixels, teach_images
from lidistill.verbs.start import demo, doctor, simulate
from lidistill.verbs.use import evaluate, predict, recipes, report

GROUPS: dict[str, tuple[Callable[..., Any], ...]] = {
    "start here": (demo, simulate, doctor),
    "learn": (superpixels, teach_images, pretrain, probe, finetune, adapt, import_checkpoint),
    "use": (evaluate, predict, report, recipes),
    "compare": (table, reproduce),
}
"""What the help screen shows together, in its order."""
