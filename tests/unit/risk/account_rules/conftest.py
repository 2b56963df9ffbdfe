"""A ledger that is quick to make: these tests need many."""

from __future__ import annotations

import pytest

from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.account_rules.scenarios import empty_ledger


@pytest.fixture
def desk() -> Ledger:
    """An empty SQLite ledger with the tables of this code."""
    return empty_ledger()
