"""The command line: ``lidistill VERB ...``."""

from __future__ import annotations

import logging
import sys
import warnings

import tyro

from lidistill import __version__, verbs
from lidistill.errors import LidistillError

VERBS = {
    "demo": verbs.demo,
    "simulate": verbs.simulate,
    "pretrain": verbs.pretrain,
    "probe": verbs.probe,
    "finetune": verbs.finetune,
    "evaluate": verbs.evaluate,
    "predict": verbs.predict,
    "import-checkpoint": verbs.import_checkpoint,
    "recipes": verbs.recipes,
    "report": verbs.report,
}

DESCRIPTION = """Teach a lidar network what image foundation models know, without labels.

Start with `lidistill demo`, then with your own rig folder: scans/, images/CAMERA/ and rig.yaml.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; returns the exit code: 0, 2 for bad input, 1 for a run that failed."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments == ["--version"]:
        print(f"lidistill {__version__}")
        return 0
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("lightning").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", category=UserWarning, module="lightning")
    try:
        result = tyro.extras.subcommand_cli_from_dict(
            VERBS, prog="lidistill", description=DESCRIPTION, args=arguments or ["--help"], use_underscores=False
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
    return 0


if __name__ == "__main__":
    sys.exit(main())
