"""An empty desk for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.kill_switch.desks import Moment, new_ledger


@pytest.fixture
def moment() -> Moment:
    return Moment()


@pytest.fixture
def books(tmp_path: Path, moment: Moment) -> Iterator[Ledger]:
    ledger = new_ledger(tmp_path, moment)
    yield ledger
    ledger.close()
