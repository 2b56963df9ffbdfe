"""Ledgers for tests: copies of one that was migrated, instead of the same migrations a thousand times."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from quant_dagster.storage.ledger import Clock, Ledger, utc_now
from tests.support.postgres import create_database

_TEMPLATE = "ledger_template"


@cache
def _migrated() -> bytes:
    """An empty SQLite ledger at the newest revision."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "ledger.db"
        ledger = Ledger(f"sqlite:///{file}")
        ledger.upgrade()
        ledger.close()
        return file.read_bytes()


def sqlite_ledger(file: Path, clock: Clock = utc_now) -> Ledger:
    """An empty ledger in a new file; its folder exists."""
    file.write_bytes(_migrated())
    return Ledger(f"sqlite:///{file}", clock)


@cache
def _migrated_database(server: str) -> str:
    ledger = Ledger(create_database(server, _TEMPLATE))
    ledger.upgrade()
    ledger.close()
    return _TEMPLATE


def postgresql_ledger(server: str, name: str, clock: Clock = utc_now) -> Ledger:
    """An empty ledger in a new database of a server."""
    return Ledger(create_database(server, name, template=_migrated_database(server)), clock)
