"""Fixtures shared by all tests: where the reference fixtures and the real data lie."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from rigs import make_tiny_rig

CACHE = tempfile.TemporaryDirectory(prefix="lidistill-cache-")
os.environ["LIDISTILL_CACHE"] = CACHE.name  # no index beside the data, none at home
ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LIDISTILL_SHARED", ROOT.parent / "shared"))


def _finder(kind: str) -> Callable[[str], Path]:
    def find(name: str) -> Path:
        path = SHARED / kind / name
        if not path.exists():
            pytest.skip(f"{path} is absent: licences keep it out of the repository (LIDISTILL_SHARED points elsewhere)")
        return path

    return find


@pytest.fixture(scope="session")
def parity() -> Callable[[str], Path]:
    """``parity("01_waffleiron/index.json")``: inputs and outputs of the reference implementations."""
    return _finder("parity")


@pytest.fixture(scope="session")
def real() -> Callable[[str], Path]:
    """``real("semantickitti")``: small pieces of real data sets."""
    return _finder("real")


@pytest.fixture(scope="session")
def tiny_rig() -> Callable[..., Path]:
    """``tiny_rig(tmp_path, frames=3, cameras=1, masks=False, splits=True, ...)``: a rig folder (city-16)."""
    return make_tiny_rig
