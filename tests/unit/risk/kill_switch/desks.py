"""A ledger with a clock that stands still until it is moved, and settings with a home of their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select

from quant_dagster.settings import RiskSettings, Settings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, metadata

START = datetime(2023, 1, 3, 14, 30, tzinfo=UTC)
PASSPHRASE = "correct horse battery"


class Moment:
    """A clock."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def new_ledger(folder: Path, clock: Moment) -> Ledger:
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", clock)
    with ledger.write() as connection:
        metadata.create_all(connection)
    return ledger


def desk_settings(home: Path, **risk: Any) -> Settings:
    return Settings(risk=RiskSettings.model_validate(risk)).model_copy(update={"home": home})


def audited(ledger: Ledger) -> list[tuple[str, str, str]]:
    """Key, action and actor of every audit row."""
    with ledger.read() as connection:
        rows = connection.execute(select(audit_log).order_by(audit_log.c.sequence)).all()
    return [(row.event_key, row.action, row.actor) for row in rows]
