"""Executions entered together are entered as one by one: the same rows, the same audit chain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.errors import BooksError, OrderError
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.booking import book_executions, book_one
from quant_dagster.execution.broker import Execution
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import metadata, order_events, orders

AT = datetime(2024, 1, 2, 21, tzinfo=UTC)
DAY = date(2024, 1, 2)


def a_ledger(folder: Path, name: str) -> Ledger:
    ledger = Ledger(f"sqlite:///{folder}/{name}.db", lambda: AT)
    ledger.upgrade()
    with ledger.write() as connection:
        for number in range(12):
            one = Order(
                f"q{number}", None, "s", DAY, f"S{number % 4}", Side.SELL if number % 3 else Side.BUY, Decimal(100),
                "market", "day", Decimal(50), AT, origin="command",
            )  # fmt: skip
            verdicts.vouch(connection, one, actor="t", at=AT)
            order_log.adopt(connection, one, actor="t", at=AT)
            for kind in (OrderEventKind.SUBMITTING, OrderEventKind.ACCEPTED)[: number % 5]:
                event = OrderEvent(one.client_order_id, kind, DAY, {"broker": "t"})
                order_log.record(connection, event, actor="desk", at=AT)
    return ledger


def said(number: int, order: int, quantity: int, *, minute: int | None = None) -> Execution:
    return Execution(
        f"e{number}", f"q{order}", f"S{order % 4}", Side.SELL if order % 3 else Side.BUY, Decimal(quantity),
        Decimal(50 + number) / 3, DAY, Decimal("1.05"),
        executed_at=AT + timedelta(minutes=number if minute is None else minute),
    )  # fmt: skip


def everything() -> list[Execution]:
    """Plain fills, parts, repetitions, corrections, late commissions, an overfill, strangers, one out of time."""
    plain = [said(number, number, 100) for number in range(8)]
    late = replace(said(20, 8, 60), commission=None)
    return [
        *plain[:5],
        said(21, 9, 40),
        late,
        plain[2],
        said(22, 9, 60, minute=2),
        replace(plain[1], quantity=Decimal(70), correction=1),
        replace(late, commission=Decimal("0.4")),
        *plain[5:],
        said(23, 10, 130),
        replace(said(24, 11, 5), client_order_id="nobody"),
        replace(said(25, 11, 5), side=Side.BUY if said(25, 11, 5).side is Side.SELL else Side.SELL),
        said(26, 8, 40, minute=-5),
        replace(plain[3], quantity=Decimal(0), correction=2, commission=None),
        said(27, 11, 100),
    ]


def content(ledger: Ledger) -> dict[str, list[tuple[object, ...]]]:
    with ledger.read() as connection:
        return {
            name: [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))]
            for name, table in metadata.tables.items()
        }


def one_by_one(ledger: Ledger, executions: Sequence[Execution]) -> None:
    with ledger.write() as connection:
        for one in executions:
            book_one(connection, "t", one, at=AT)


def test_many_at_once_leave_the_same_rows_and_the_same_audit_hashes(tmp_path: Path) -> None:
    together, apart = a_ledger(tmp_path, "together"), a_ledger(tmp_path, "apart")
    report = book_executions(together, "t", everything())
    one_by_one(apart, everything())
    assert content(together) == content(apart)
    assert (report.new, report.corrected, report.commissions, report.unknown) == (14, 2, 1, 2)
    assert audit.verify(together).problems == ()
    assert verify_ledger(together).problems == ()
    assert not book_executions(together, "t", everything()).new
    together.close()
    apart.close()


def test_one_contradiction_enters_nothing_of_its_transaction(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, "l")
    first = said(1, 1, 50)
    with pytest.raises(BooksError, match="different contents"):
        book_executions(ledger, "t", [said(0, 0, 100), first, replace(first, price=Decimal(1))])
    with ledger.read() as connection:
        assert books.fills_of(connection) == []
    ledger.close()


def test_orders_are_rebuilt_from_their_events(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, "l")
    book_executions(ledger, "t", everything())
    before = content(ledger)["orders"]
    with ledger.write() as connection:
        connection.execute(orders.update().values(status="approved", filled_quantity=0, events=1))
        assert len(order_log.problems(connection)) == len(before)
        assert order_log.rebuild(connection) == len(before)
        assert order_log.rebuild(connection) == 0
    assert content(ledger)["orders"] == before
    ledger.close()


def test_events_that_cannot_be_replayed_rebuild_nothing(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, "l")
    with ledger.write() as connection:
        connection.execute(order_events.update().where(order_events.c.sequence == 1).values(kind="filled"))
        with pytest.raises(OrderError, match="cannot be replayed"):
            order_log.rebuild(connection)
    ledger.close()


def test_the_chain_of_many_rows_is_the_chain_of_one_at_a_time(tmp_path: Path) -> None:
    together, apart = a_ledger(tmp_path, "together"), a_ledger(tmp_path, "apart")
    keys = [f"k{number}" for number in (1, 2, 2, 3, 1)]
    with together.write() as connection:
        entries = [audit.Entry(key, "a", "t", AT, DAY, '{"x":1}') for key in keys]
        assert audit.append_many(connection, entries) == 3
        assert audit.append_many(connection, entries) == 0
    with apart.write() as connection:
        done = [audit.append(connection, key, "a", actor="t", at=AT, session=DAY, payload={"x": 1}) for key in keys]
    assert done == [True, True, False, True, False]
    assert content(together)["audit_log"] == content(apart)["audit_log"]
    together.close()
    apart.close()
