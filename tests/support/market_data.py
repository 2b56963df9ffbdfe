"""Larger real data sets, where the machine has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


def shared_data(name: str) -> Path:
    """A file of the larger data sets; skips the test, saying so, where it is absent."""
    folder = Path(os.environ.get("QUANT_TEST_DATA") or _ROOT.parent / "shared" / "data")
    path = folder / name
    if not path.exists():
        pytest.skip(f"{name} is not on this machine (set QUANT_TEST_DATA to the folder that holds it)")
    return path
