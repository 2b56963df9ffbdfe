"""The report's section on reconciliation and connection: what is open, what was compared, when nobody was reached."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution import foreign
from quant_dagster.execution.broker import BrokerOrder
from quant_dagster.execution.connection import ConnectionState, Transition
from quant_dagster.execution.connection_log import record_transition
from quant_dagster.execution.reconciliation.breaks import Break, BreakKind
from quant_dagster.execution.reconciliation.compare import Comparison
from quant_dagster.execution.reconciliation.record import Run, record
from quant_dagster.operations.report.reconciliation import (
    every_break,
    newest_runs,
    read_reconciliation,
    reconciliation_section,
    reconciliation_tables,
)
from quant_dagster.storage.ledger import Ledger

NOON = datetime(2023, 1, 4, 12, tzinfo=UTC)
MONDAY, TUESDAY = date(2023, 1, 2), date(2023, 1, 3)
PERIOD: Any = SimpleNamespace(first=MONDAY, last=TUESDAY)


def compare(ledger: Ledger, session: date, at: datetime, *found: Break) -> None:
    with ledger.write() as connection:
        compared = {"orders": 0, "fills": 3, "positions": 2}
        record(connection, Run("ibkr", session, "timer", at), Comparison(found, compared))


def position(symbol: str) -> Break:
    return Break(BreakKind.POSITION, symbol, symbol, "10", "11", f"position in {symbol}: <1> more")


@pytest.fixture
def told(ledger: Ledger) -> Ledger:
    compare(ledger, MONDAY, NOON, position("KO"), position("XOM"))
    compare(ledger, TUESDAY, NOON + timedelta(hours=1), position("KO"))
    compare(ledger, date(2023, 1, 5), NOON + timedelta(hours=2), position("KO"), position("PG"))
    one = BrokerOrder("77", "", "MSFT", Side.SELL, Decimal(50), Decimal(0), "limit", Decimal("61.5"))
    states = [
        (0, "connecting", "disconnected"), (1, "syncing", "connecting"), (2, "connected", "syncing"),
        (10, "reconnecting", "connected"), (11, "connecting", "reconnecting"), (12, "syncing", "connecting"),
        (13, "connected", "syncing"), (60, "reconnecting", "connected"),
    ]  # fmt: skip
    with ledger.write() as connection:
        foreign.keep_order(connection, "ibkr", one, "the ledger has no such order", session=TUESDAY, at=NOON)
        for minutes, state, previous in states:
            moved = Transition(ConnectionState(state), ConnectionState(previous), f"it is {state}", 0)
            record_transition(connection, "ibkr", moved, at=NOON + timedelta(minutes=minutes))
    return ledger


def test_what_is_open_stays_in_sight_and_what_was_concluded_belongs_to_its_period(told: Ledger) -> None:
    records = read_reconciliation(told, PERIOD)
    assert [(row["symbol"], row["state"]) for row in records.breaks] == [
        ("KO", "open"), ("PG", "open"), ("XOM", "agreed")]  # fmt: skip
    assert [row["session"] for row in records.runs] == [TUESDAY, MONDAY]
    assert [row["symbol"] for row in records.open] == ["KO", "PG"]


def test_the_tables_say_what_the_ledger_says(told: Ledger) -> None:
    tables = reconciliation_tables(read_reconciliation(told, PERIOD))
    runs = tables["reconciliation_runs"]
    assert [row[:5] for row in runs.rows] == [
        ["2023-01-03", "timer", "ibkr", "2023-01-04 13:00:00", 1],
        ["2023-01-02", "timer", "ibkr", "2023-01-04 12:00:00", 2],
    ]
    assert dict(zip([column.title for column in runs.columns[5:]], runs.rows[0][5:], strict=True)) == {
        "fills": 3, "orders": 0, "positions": 2}  # fmt: skip
    assert [row[1:5] for row in tables["connection_outages"].rows] == [
        ["2023-01-04 13:00:00", "lasts still", None, "it is reconnecting"],
        ["2023-01-04 12:10:00", "2023-01-04 12:13:00", 3.0, "it is reconnecting"],
        ["2023-01-04 12:00:00", "2023-01-04 12:02:00", 2.0, "it is connecting"],
    ]
    (unknown,) = tables["reconciliation_unknown"].rows
    assert unknown[1:6] == ["order", "MSFT", "SELL", 50.0, 61.5]
    for table in tables.values():
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_section_places_every_table_and_escapes_nothing_by_hand(told: Ledger) -> None:
    records = read_reconciliation(told, PERIOD)
    page = reconciliation_section(records)
    assert all(f'data-table="{name}"' in page for name in reconciliation_tables(records))
    assert "2 comparisons with ibkr" in page and "2 breaks are open" in page and "3 fills, 2 positions" in page
    assert "<1>" not in page, "the ledger's words are in tables, which the page's script writes as text"


def test_without_a_comparison_it_says_how_to_make_one(ledger: Ledger) -> None:
    records = read_reconciliation(ledger, PERIOD)
    assert reconciliation_tables(records) == {}
    page = reconciliation_section(records)
    assert "'quant broker reconcile'" in page.replace("&#x27;", "'") and "data-table" not in page


def test_the_newest_come_first(told: Ledger) -> None:
    with told.read() as connection:
        assert [row["session"] for row in newest_runs(connection, 2)] == [date(2023, 1, 5), TUESDAY]
        assert newest_runs(connection, broker="paper") == []
        assert next(row["symbol"] for row in every_break(connection)) == "PG"
        assert len(every_break(connection, 1)) == 1
