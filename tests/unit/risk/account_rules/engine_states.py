"""What the engine's tests ask a ledger: the state on the trading day, and which lockouts are in force."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.state import AccountState
from quant_dagster.storage.ledger import Ledger
from tests.unit.risk.account_rules.scenarios import (
    NOON,
    RESET,
)

MOMENT = timedelta(microseconds=1)
TO_RESET = (RESET - NOON).total_seconds()
DAY = date(2023, 3, 8)


def locked(desk: Ledger, when: datetime) -> list[tuple[str, str | None, datetime | None]]:
    with desk.read() as connection:
        return [(item.rule, item.symbol, item.expires_at) for item in lockouts.active(connection, when)]


def state(desk: Ledger, account: AccountRules, when: datetime = RESET - MOMENT) -> AccountState:
    with desk.read() as connection:
        return account.state(connection, when)
