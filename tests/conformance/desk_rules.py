"""The same brokers behind the desk: from approval to the books, through restarts and gaps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.broker import RemoteBroker
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import cycles, decisions, fills
from tests.conformance.brokers import START, TODAY, Harness
from tests.conformance.rules import PART, price
from tests.support.ledgers import sqlite_ledger
from tests.support.tws_gateway import wait_until

LATER = TODAY + timedelta(days=30)
"""A session after all that happens; of its orders none is a day order."""


def an_approved_order_reaches_the_books(harness: Harness) -> None:
    """Approved, sent, filled in parts, booked: the books hold what the broker's account holds."""
    with ledger_of(harness) as ledger:
        desk, order = desk_of(harness, ledger), approve(ledger, harness)
        assert desk.submit(TODAY).sent == 1
        harness_has(harness, order)
        harness.fill(order, order.quantity * PART, price(harness))
        harness.fill(order, order.quantity - order.quantity * PART, price(harness))
        settled(desk, ledger, order, OrderStatus.FILLED, order.quantity)
        assert len(fills_of(ledger)) == 2
        assert harness.broker.account().positions[order.symbol] == order.quantity
        sound(ledger)


def partly_filled(harness: Harness, ledger: Ledger) -> tuple[ExecutionDesk, Order]:
    """An order at the venue, of which a part is filled and booked."""
    desk, order = desk_of(harness, ledger), approve(ledger, harness)
    desk.submit(TODAY)
    harness_has(harness, order)
    harness.fill(order, order.quantity * PART, price(harness))
    booked(desk, ledger, order, order.quantity * PART)
    return desk, order


def a_restart_in_the_middle_loses_and_repeats_nothing(harness: Harness) -> None:
    """The process ends after a part was filled; the next one books the rest, each fill once."""
    with ledger_of(harness) as ledger:
        desk, order = partly_filled(harness, ledger)
        harness.restart()
        desk = desk_of(harness, ledger)
        harness.fill(order, order.quantity - order.quantity * PART, price(harness))
        settled(desk, ledger, order, OrderStatus.FILLED, order.quantity)
        desk.sync(LATER)
        assert desk.submit(TODAY).sent == 0
        assert len(fills_of(ledger)) == 2 and harness.orders_under(order.client_order_id) == 1
        sound(ledger)


def a_half_sent_order_is_found_and_not_sent_again(harness: Harness) -> None:
    """The process dies between writing an order down as sent and hearing of it; it is there once."""
    with ledger_of(harness) as ledger:
        order = approve(ledger, harness)
        dying = desk_of(harness, ledger)
        submit = harness.broker.submit

        def dies(sent: Order, number: str = "") -> None:
            harness.numbers[sent.client_order_id] = number
            harness.send_unheard(sent)
            raise SystemExit

        setattr(harness.broker, "submit", dies)  # noqa: B010 - the process ends within this very call
        harness.send = lambda sent: submit(sent, harness.numbers[sent.client_order_id])  # type: ignore[method-assign]
        with suppress(SystemExit):
            dying.submit(TODAY)
        harness.restart()
        desk = desk_of(harness, ledger)
        assert desk.sync(TODAY).resolved == 1
        assert desk.submit(TODAY).sent == 0
        assert harness.orders_under(order.client_order_id) == 1
        harness.fill(order, order.quantity, price(harness))
        settled(desk, ledger, order, OrderStatus.FILLED, order.quantity)
        sound(ledger)


def an_order_that_never_left_is_sent_again(harness: Harness) -> None:
    """The process dies after writing an order down and before sending it; it is sent once, by the next one."""
    with ledger_of(harness) as ledger:
        order = approve(ledger, harness)

        def dies(sent: Order, number: str = "") -> None:
            harness.numbers[sent.client_order_id] = number
            raise SystemExit

        setattr(harness.broker, "submit", dies)  # noqa: B010 - the process ends within this very call
        with suppress(SystemExit):
            desk_of(harness, ledger).submit(TODAY)
        harness.restart()
        desk = desk_of(harness, ledger)
        assert desk.sync(TODAY).resolved == 0
        assert desk.submit(TODAY).sent == 1
        harness_has(harness, order)
        assert harness.orders_under(order.client_order_id) == 1


def a_sync_after_a_gap_books_what_was_missed(harness: Harness) -> None:
    """The way was closed while an order was filled: one sync brings ledger and books up to it."""
    with ledger_of(harness) as ledger:
        desk, order = desk_of(harness, ledger), approve(ledger, harness)
        desk.submit(TODAY)
        harness_has(harness, order)
        harness.lose_connection()
        harness.fill(order, order.quantity, price(harness))
        harness.regain_connection()
        settled(desk, ledger, order, OrderStatus.FILLED, order.quantity)
        assert len(fills_of(ledger)) == 1
        sound(ledger)


def a_cancelled_order_keeps_its_part(harness: Harness) -> None:
    """Cancelled by the desk after a part was filled: the part is booked, the rest is over."""
    with ledger_of(harness) as ledger:
        desk, order = partly_filled(harness, ledger)
        desk.cancel([order.client_order_id], TODAY, reason="conformance")
        settled(desk, ledger, order, OrderStatus.CANCELED, order.quantity * PART)
        sound(ledger)


# -- how ------------------------------------------------------------------------------------------------------------


@contextmanager
def ledger_of(harness: Harness) -> Iterator[Ledger]:
    ticks = itertools.count()
    ledger = sqlite_ledger(harness.folder / "ledger.db", lambda: START + timedelta(milliseconds=next(ticks)))
    try:
        yield ledger
    finally:
        ledger.close()


def desk_of(harness: Harness, ledger: Ledger) -> ExecutionDesk:
    return ExecutionDesk(ledger, harness.broker, lease_seconds=60, mode=lambda: ControlMode.NORMAL)


def approve(ledger: Ledger, harness: Harness) -> Order:
    """One approved order in the ledger, with the decision and the cycle it hangs on."""
    order = harness.order()
    intent = OrderIntent(
        order.client_order_id, "d1", "conformance", TODAY, order.symbol, Side.BUY, order.quantity, price(harness)
    )
    decision = RiskDecision(intent, Outcome.APPROVED, order.quantity, (), (), reduce_only=False)
    with ledger.write() as connection:
        now = ledger.now()
        connection.execute(
            cycles.insert().values(
                cycle_id="c1", strategy="conformance", mode="paper", session=TODAY, status="running",
                settings_hash="h", code_version="v", inputs={}, started_at=now,
            )
        )  # fmt: skip
        connection.execute(
            decisions.insert().values(
                decision_id="d1", cycle_id="c1", session=TODAY, symbol=order.symbol, action="BUY", reasons=[],
                current_quantity=0, target_quantity=order.quantity, details={},
            )
        )  # fmt: skip
        payload = {"digest": audit.decision_digest(connection, "c1")}
        audit.append(connection, "decisions:c1", "decisions", actor="t", at=now, payload=payload)
        verdicts.record(connection, decision, cycle_id="c1", at=now)
        order_log.create(
            connection, decision, order_type="limit", time_in_force="gtc", limit_price=order.limit_price, at=now
        )
    return order


def harness_has(harness: Harness, order: Order) -> None:
    wait_until(lambda: harness.orders_under(order.client_order_id) == 1)


def in_ledger(ledger: Ledger, order: Order) -> Order:
    with ledger.read() as connection:
        return order_log.get(connection, order.client_order_id)


def fills_of(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return list(connection.execute(select(fills.c.execution_id)).scalars())


def catch_up(desk: ExecutionDesk) -> None:
    """What the trading daemon does over and over."""
    if isinstance(desk.broker, RemoteBroker):
        desk.absorb(desk.broker.changes(0.02))
    desk.sync(LATER)


def booked(desk: ExecutionDesk, ledger: Ledger, order: Order, quantity: Decimal) -> None:
    def there() -> bool:
        catch_up(desk)
        return in_ledger(ledger, order).filled_quantity == quantity

    wait_until(there)


def settled(desk: ExecutionDesk, ledger: Ledger, order: Order, status: OrderStatus, quantity: Decimal) -> None:
    def there() -> bool:
        catch_up(desk)
        return in_ledger(ledger, order).status is status

    wait_until(there)
    assert in_ledger(ledger, order).filled_quantity == quantity
    with ledger.read() as connection:
        assert books.holding_of(connection, order.symbol).quantity == quantity
        books.require_balance(connection)


def sound(ledger: Ledger) -> None:
    assert verify_ledger(ledger).problems == ()
    assert audit.verify(ledger).problems == ()


DESK_RULES: tuple[Callable[[Harness], None], ...] = (
    an_approved_order_reaches_the_books,
    a_restart_in_the_middle_loses_and_repeats_nothing,
    a_half_sent_order_is_found_and_not_sent_again,
    an_order_that_never_left_is_sent_again,
    a_sync_after_a_gap_books_what_was_missed,
    a_cancelled_order_keeps_its_part,
)
