"""lidistill: teach a lidar network what image foundation models know, without labels.

Every verb of the command line is a function here: ``lidistill.pretrain("my_rig/", out="runs/a")``.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0.dev0"

__all__ = [
    "adapt",
    "demo",
    "doctor",
    "evaluate",
    "finetune",
    "import_checkpoint",
    "predict",
    "pretrain",
    "probe",
    "recipes",
    "report",
    "reproduce",
    "simulate",
    "superpixels",
    "table",
    "teach_images",
]


def __getattr__(name: str) -> Any:
    """Load the verbs when first asked for."""
    if name in __all__:
        from lidistill import verbs

        return getattr(verbs, name)
    raise AttributeError(f"module 'lidistill' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The verbs, for completion in a shell."""
    return [*globals(), *__all__]
