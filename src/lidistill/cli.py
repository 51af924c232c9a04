"""The command line: ``lidistill VERB ...``."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import tyro

from lidistill import __version__
from lidistill.errors import InputError, LidistillError, nearest
from lidistill.verbs import GROUPS

VERBS = {verb.__name__.replace("_", "-"): verb for group in GROUPS.values() for verb in group}

TUTORIAL = """usage: lidistill VERB [options]          lidistill VERB --help shows examples

Teach a lidar network what image foundation models know, without labels.
"""

FIRST_STEPS = """
first steps
  $ lidistill demo                                  the whole job on a synthetic city, in minutes
  $ lidistill doctor my_rig/                        is the calibration right? pictures, numbers, suggestions
  $ lidistill pretrain my_rig/ --teacher dinov2-vitl14 --student waffleiron-48-256 --out runs/a
  $ lidistill probe runs/a --data semantic-kitti:/data/kitti --out runs/a-probe
  $ lidistill predict runs/a-probe scans/*.bin --out labels/

my_rig/ holds rig.yaml (lidar, cameras, calibration), scans/, images/CAMERA/ and, if there are any, labels/.
"""


def overview() -> str:
    """The help screen: every verb with the first line of its description, and the first steps."""
    lines = [TUTORIAL]
    for title, group in GROUPS.items():
        lines.append(title)
        shown = [(name, verb) for name, verb in VERBS.items() if verb in group]
        lines += [f"  {name:18} {(verb.__doc__ or '').splitlines()[0]}" for name, verb in shown]
    return "\n".join(lines) + "\n" + FIRST_STEPS


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 2 for bad input, 1 for a run that failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # before torch is loaded: threads that spin while they wait stand in each other's way on a machine that is shared
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if not arguments or arguments[0] in {"-h", "--help", "help"}:
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"lidistill {__version__}")
        return 0
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    for noisy in ("lightning", "lightning.fabric", "httpx", "PIL"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # without a network it announces every retry; the sentence at the end says what is wrong
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    verb, *rest = arguments
    try:
        if verb not in VERBS:
            raise InputError(f"there is no verb {verb!r}{nearest(verb, VERBS)}")
        result = tyro.cli(
            VERBS[verb],
            prog=f"lidistill {verb}",
            args=rest,
            use_underscores=False,
            config=(tyro.conf.FlagCreatePairsOff,),
        )
    except LidistillError as error:
        print(f"lidistill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lidistill: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    if result is not None:
        print(result)
    return int(getattr(result, "exit_code", 0))  # the doctor's report says whether all is well


if __name__ == "__main__":
    sys.exit(main())
