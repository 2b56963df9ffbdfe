"""Executions: corrected, busted, damaged, doubled, late, and those of others."""

from __future__ import annotations

from decimal import Decimal

import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import ReportedStatus
from quant_dagster.execution.gateway.faults import FaultPlan
from tests.support.ibkr_desk import Desk, filled, order, working
from tests.support.tws_gateway import wait_until


def test_a_correction_replaces_the_execution_and_a_bust_takes_it_back(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    first = gateway.fill("q1", Decimal(40), Decimal("169.90"))
    wait_until(lambda: broker.executions(["q1"]))
    corrected = gateway.correct(first.exec_id, price=Decimal("169.85"))
    wait_until(lambda: broker.executions(["q1"])[0].correction == 1)
    (execution,) = broker.executions(["q1"])
    assert (execution.quantity, execution.price) == (40, Decimal("169.85"))
    gateway.bust(corrected.exec_id)
    wait_until(lambda: broker.executions(["q1"])[0].correction == 2)
    assert broker.executions(["q1"])[0].quantity == 0
    broker.close()
    broker.open()
    assert [(one.quantity, one.correction) for one in broker.executions()] == [(0, 2)]


def test_an_execution_the_library_cannot_decode_is_not_lost(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant_dagster.execution.gateway.messages.new_york", lambda at: "20240102 10:00:00 Middle/Earth")
        gateway.fill("q1", Decimal(40), Decimal("169.90"))
        wait_until(lambda: filled(broker.executions(["q1"])) == 40)
    assert broker.executions(["q1"])[0].executed_at is None
    assert any("Middle/Earth" in notice for notice in broker.changes(0.2).notices)


def test_a_damaged_execution_is_asked_for_again(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    session = gateway._server.sessions[1]
    whole, damaged = session.send, []

    def damage(message: bytes) -> None:
        if message[4:7] == b"11\0" and not damaged:
            damaged.append(message)
            message = message.replace(b"BOT", b"B?T")
        whole(message)

    session.send = damage  # type: ignore[method-assign]
    gateway.fill("q1", Decimal(40), Decimal("169.90"))
    wait_until(lambda: filled(broker.executions(["q1"])) == 40)
    assert damaged
    assert any("could not be read" in notice for notice in broker.changes(0.2).notices)


def test_orders_and_executions_of_others_are_told_as_theirs(desk: Desk) -> None:
    gateway, broker = desk.serve(), desk.broker()
    working(broker)
    gateway.place_foreign("MSFT", Side.SELL, Decimal(10), Decimal("106.00"), order_ref="")
    wait_until(lambda: len(gateway.orders()) == 2)
    broker.refresh()
    ours, theirs = sorted(broker.open_orders(), key=lambda one: one.symbol)
    assert (ours.client_order_id, ours.symbol, ours.order_type) == ("q1", "AAPL", "limit")
    assert (theirs.client_order_id, theirs.symbol, theirs.side, theirs.quantity) == ("", "MSFT", Side.SELL, 10)
    assert theirs.limit_price == 106
    gateway.fill("", Decimal(10), Decimal("106.00"))
    broker.refresh()
    (execution,) = broker.executions()
    assert (execution.client_order_id, execution.symbol) == ("", "MSFT")


def test_messages_twice_out_of_order_and_late_change_nothing_about_what_was_filled(desk: Desk) -> None:
    plan = FaultPlan(seed=7, duplicate=0.4, reorder=0.4, commission_never=0.3, fill_before_acknowledgement=0.5)
    gateway = desk.serve(faults=plan, fills_at_once=True, cash=Decimal(100_000_000))
    broker = desk.broker()
    names = [f"q{number}" for number in range(25)]
    for name in names:
        broker.submit(order(name, limit=None), broker.reserve())
    wait_until(lambda: all(one.status is ReportedStatus.FILLED for one in broker.reports(names)), 15)
    broker.refresh()
    assert filled(broker.executions(names)) == 25 * 100 == gateway.positions()[0].quantity
    assert all(execution.commission is not None for execution in broker.executions(names))
