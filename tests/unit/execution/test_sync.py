"""What the broker knows and the ledger does not: found by asking, kept apart, adopted or cancelled, never guessed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution import foreign, order_log
from quant_dagster.execution.booking import book_executions
from quant_dagster.execution.broker import Execution
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.lease import broker_lease, renew_lease
from quant_dagster.execution.orders import OrderStatus
from quant_dagster.market_data import quarantine
from quant_dagster.risk.control import read_mode
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import leases
from tests.unit.execution.test_desk import approve, bars, desk_of, kinds, sound
from tests.unit.execution.test_paper import MONDAY, TUESDAY


@pytest.fixture
def broker(tmp_path: Path) -> PaperBroker:
    return PaperBroker(tmp_path / "paper.db", ExecutionSettings(), volume_required=True)


def desk_with(ledger: Ledger, broker: PaperBroker, orphans: str) -> ExecutionDesk:
    return ExecutionDesk(ledger, broker, lease_seconds=60, mode=lambda: read_mode(ledger).mode, orphans=orphans)


def lost_order(ledger: Ledger, broker: PaperBroker, order_id: str = "q1") -> None:
    """An order under an id of ours that works at the broker and that the ledger does not have."""
    approve(ledger)
    with ledger.read() as connection:
        (known,) = order_log.with_status(connection, (OrderStatus.APPROVED,))
    broker.submit(replace(known, client_order_id=order_id))


def execution(order_id: str, **changes) -> Execution:
    one = Execution("e1", order_id, "IBM", Side.BUY, Decimal(100), Decimal(200), TUESDAY, Decimal(1))
    return replace(one, **changes)


def test_an_order_of_nobody_is_kept_once_and_locks_its_symbol(ledger: Ledger, broker: PaperBroker) -> None:
    lost_order(ledger, broker)
    desk = desk_of(ledger, broker)
    assert desk.sync(TUESDAY).orphans == 1
    assert desk.sync(TUESDAY).orphans == 0
    with ledger.read() as connection:
        (one,) = foreign.unresolved(connection)
        assert "q1" in quarantine.active(connection, TUESDAY)["IBM"]
    assert (one["kind"], one["reference"], one["quantity"]) == ("order", "q1", 100)
    assert broker.find("q1").status == "working"


def test_by_policy_it_is_cancelled(ledger: Ledger, broker: PaperBroker) -> None:
    lost_order(ledger, broker)
    desk_with(ledger, broker, "cancel").sync(TUESDAY)
    assert broker.find("q1").status == "canceled"
    with ledger.read() as connection:
        assert foreign.unresolved(connection) == []


def test_by_policy_it_is_taken_up_and_its_fills_are_booked(ledger: Ledger, broker: PaperBroker) -> None:
    lost_order(ledger, broker)
    desk = desk_with(ledger, broker, "adopt")
    desk.sync(MONDAY)
    with ledger.read() as connection:
        adopted = order_log.get(connection, "q1")
    assert (adopted.status, adopted.quantity, adopted.origin) == ("accepted", 100, "command")
    desk.settle(TUESDAY, bars(TUESDAY))
    with ledger.read() as connection:
        assert order_log.get(connection, "q1").status == "filled"
        assert books.holding_of(connection, "IBM").quantity == 200  # the approved one and the adopted one
    assert sound(ledger)


def test_an_execution_of_nobody_is_kept_and_not_booked(ledger: Ledger, broker: PaperBroker) -> None:
    approve(ledger)
    assert book_executions(ledger, broker.name, [execution("by hand"), execution("by hand")]).unknown == 2
    with ledger.read() as connection:
        (one,) = foreign.unresolved(connection)
        assert books.holding_of(connection, "IBM").quantity == 0
    assert (one["kind"], one["reference"], one["price"]) == ("execution", "e1", 200)


def test_an_execution_that_contradicts_its_order_is_not_booked(ledger: Ledger, broker: PaperBroker) -> None:
    order_id = approve(ledger)
    assert book_executions(ledger, broker.name, [execution(order_id, side=Side.SELL)]).unknown == 1
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 0
        assert "is to buy IBM" in foreign.unresolved(connection)[0]["detail"]["reason"]


def test_what_a_person_decided_on_is_over_and_its_lock_stays(ledger: Ledger, broker: PaperBroker) -> None:
    approve(ledger)
    book_executions(ledger, broker.name, [execution("by hand")])
    with ledger.write() as connection:
        at = ledger.now()
        foreign.resolve(connection, "paper", "execution", "e1", state="dismissed", actor="ann", at=at)
        assert foreign.unresolved(connection) == []
        assert "IBM" in quarantine.active(connection, TUESDAY)
        with pytest.raises(OrderError, match="no execution e1 in quarantine"):
            foreign.resolve(connection, "paper", "execution", "e1", state="dismissed", actor="ann", at=at)


def test_a_fill_of_an_order_that_a_restored_ledger_does_not_know_it_sent_is_booked(
    ledger: Ledger, broker: PaperBroker
) -> None:
    order_id = approve(ledger)
    assert book_executions(ledger, broker.name, [execution(order_id)]).new == 1
    assert kinds(ledger) == ["approved", "submitting", "filled"]
    assert sound(ledger)


def test_more_than_was_ordered_is_booked_and_locks_the_symbol(ledger: Ledger, broker: PaperBroker) -> None:
    order_id = approve(ledger)
    book_executions(ledger, broker.name, [execution(order_id, quantity=Decimal(130))])
    assert kinds(ledger)[-1] == "overfilled"
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 130
        assert "130 filled of 100" in quarantine.active(connection, TUESDAY)["IBM"]
    assert sound(ledger)


def test_a_correction_before_its_original_counts_and_the_original_does_not(ledger: Ledger, broker: PaperBroker) -> None:
    order_id = approve(ledger)
    corrected = execution(order_id, correction=1, price=Decimal(199))
    assert book_executions(ledger, broker.name, [corrected]).new == 1
    assert book_executions(ledger, broker.name, [execution(order_id)]).new == 0
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").cost == 19900
    assert sound(ledger)


def test_a_bust_takes_back_and_a_commission_told_later_is_booked_once(ledger: Ledger, broker: PaperBroker) -> None:
    order_id = approve(ledger)
    book_executions(ledger, broker.name, [execution(order_id, commission=None)])
    assert book_executions(ledger, broker.name, [execution(order_id), execution(order_id)]).commissions == 1
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").commission == 1
    busted = execution(order_id, correction=1, quantity=Decimal(0), commission=Decimal(0))
    assert book_executions(ledger, broker.name, [busted]).corrected == 1
    with ledger.read() as connection:
        assert order_log.get(connection, order_id).status == "canceled"
        assert books.balances(connection).cash == 0
    assert sound(ledger)


def test_orders_of_past_sessions_that_were_never_sent_expire(ledger: Ledger, broker: PaperBroker) -> None:
    order_id = approve(ledger)
    desk = desk_of(ledger, broker)
    assert desk.expire_unsent(MONDAY) == []
    (stale,) = desk.expire_unsent(TUESDAY)
    assert stale.client_order_id == order_id
    assert desk.submit(TUESDAY).sent == 0
    with ledger.read() as connection:
        assert order_log.get(connection, order_id).status == "expired"


def test_a_holder_whose_lease_was_taken_sends_nothing(ledger: Ledger, broker: PaperBroker) -> None:
    approve(ledger)
    desk = desk_of(ledger, broker)
    with desk.leased():
        with ledger.write() as connection:
            connection.execute(leases.update().values(holder="another:1:x"))
        with pytest.raises(OrderError, match="held by another:1:x"):
            desk.submit(MONDAY)
    assert broker.open_orders() == []
    assert kinds(ledger) == ["approved"]


def test_a_lease_that_ran_out_cannot_be_renewed_over_another_s(ledger: Ledger) -> None:
    with broker_lease(ledger, "paper", 60) as holder:
        renew_lease(ledger, "paper", holder, 60)
        with ledger.write() as connection:
            until = ledger.now() + timedelta(hours=1)
            connection.execute(leases.update().values(holder="another:1:x", expires_at=until))
        with pytest.raises(OrderError, match="no longer held"):
            renew_lease(ledger, "paper", holder, 60)
