"""The execution desk: crash at any point neither loses nor repeats an order, one executor at a time, modes obeyed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.broker import SessionBar
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.lease import broker_lease
from quant_dagster.execution.orders import OrderEvent, OrderEventKind, OrderStatus, client_order_id
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk.control import ControlMode, read_mode, set_mode
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import cycles, decisions, leases, order_events, orders
from tests.unit.execution.test_paper import MONDAY, TUESDAY, WEDNESDAY, real_bar


class Crash(BaseException):
    """The process dies here."""


def crash_on(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, when: str, call: int) -> None:
    """Die before or after the so-many-th call of a function."""
    original: Callable = getattr(owner, name)
    calls = 0

    def crashing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            raise Crash
        result = original(*args, **kwargs)
        if calls == call:
            raise Crash
        return result

    monkeypatch.setattr(owner, name, crashing)


def approve(ledger: Ledger, *, session: date = MONDAY, side: Side = Side.BUY, quantity: int | Decimal = 100) -> str:
    """Put one approved order into the ledger, with the decision and the cycle it hangs on."""
    order_id = client_order_id("s", session, "IBM", "rebalance")
    intent = OrderIntent(order_id, f"d{session}", "s", session, "IBM", side, Decimal(quantity), Decimal(200))
    decision = RiskDecision(intent, Outcome.APPROVED, Decimal(quantity), (), (), reduce_only=False)
    with ledger.write() as connection:
        now = ledger.now()
        connection.execute(
            cycles.insert().values(
                cycle_id=f"c{session}", strategy="s", mode="paper", session=session, status="running",
                settings_hash="h", code_version="v", inputs={}, started_at=now,
            )
        )  # fmt: skip
        connection.execute(
            decisions.insert().values(
                decision_id=f"d{session}", cycle_id=f"c{session}", session=session, symbol="IBM", action="BUY",
                reasons=[], current_quantity=0, target_quantity=quantity, details={},
            )
        )  # fmt: skip
        payload = {"digest": audit.decision_digest(connection, f"c{session}")}
        audit.append(connection, f"decisions:c{session}", "decisions", actor="t", at=now, payload=payload)
        verdicts.record(connection, decision, cycle_id=f"c{session}", at=now)
        order_log.create(connection, decision, order_type="market", time_in_force="day", at=now)
    return order_id


@pytest.fixture
def broker(tmp_path: Path) -> PaperBroker:
    return PaperBroker(tmp_path / "paper.db", ExecutionSettings(), volume_required=True)


def desk_of(ledger: Ledger, broker: PaperBroker) -> ExecutionDesk:
    """A desk that obeys the mode in the ledger."""
    return ExecutionDesk(ledger, broker, lease_seconds=60, mode=lambda: read_mode(ledger).mode)


@pytest.fixture
def desk(ledger: Ledger, broker: PaperBroker) -> ExecutionDesk:
    return desk_of(ledger, broker)


def bars(session: date) -> dict[str, SessionBar]:
    return {"IBM": real_bar(session)}


def kinds(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return list(connection.execute(select(order_events.c.kind).order_by(order_events.c.sequence)).scalars())


def sound(ledger: Ledger) -> bool:
    return verify_ledger(ledger).problems == () and audit.verify(ledger).problems == ()


def test_an_order_goes_from_approval_to_the_books(ledger: Ledger, desk: ExecutionDesk) -> None:
    approve(ledger)
    assert desk.submit(MONDAY).sent == 1
    assert desk.settle(TUESDAY, bars(TUESDAY)).fills == 1
    assert kinds(ledger) == ["approved", "submitting", "accepted", "filled"]
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 100
    assert sound(ledger)


def test_settling_again_changes_nothing(ledger: Ledger, desk: ExecutionDesk) -> None:
    approve(ledger)
    desk.submit(MONDAY)
    desk.settle(TUESDAY, bars(TUESDAY))
    before = kinds(ledger)
    for session in (TUESDAY, WEDNESDAY):
        assert desk.settle(session, bars(session)).fills == 0
    assert kinds(ledger) == before


POINTS = [
    (PaperBroker, "submit", "before"),
    (PaperBroker, "submit", "after"),
    (PaperBroker, "trade_session", "before"),
    (PaperBroker, "trade_session", "after"),
    (PaperBroker, "executions", "after"),
    (PaperBroker, "reports", "after"),
    (books, "book", "before"),
    (books, "book", "after"),
    (order_log, "record", "before"),
    (order_log, "record", "after"),
]


@pytest.mark.parametrize(("owner", "name", "when"), POINTS)
@pytest.mark.parametrize("call", [1, 2, 3])
def test_crash_at_any_point_ends_as_if_there_had_been_none(
    ledger: Ledger, desk: ExecutionDesk, monkeypatch: pytest.MonkeyPatch, owner, name: str, when: str, call: int
) -> None:
    approve(ledger)
    crash_on(monkeypatch, owner, name, when, call)

    def day() -> None:
        desk.submit(MONDAY)
        desk.settle(TUESDAY, bars(TUESDAY))

    try:
        day()
    except Crash:
        day()
    assert kinds(ledger) == ["approved", "submitting", "accepted", "filled"]
    assert sound(ledger)


def test_an_order_the_broker_has_seen_is_not_sent_again(ledger: Ledger, desk: ExecutionDesk, monkeypatch) -> None:
    approve(ledger)
    submitted = []
    original = PaperBroker.submit

    def lost_answer(self, order, number=""):
        submitted.append(order.client_order_id)
        original(self, order, number)
        raise Crash

    monkeypatch.setattr(PaperBroker, "submit", lost_answer)
    with pytest.raises(Crash):
        desk.submit(MONDAY)
    assert desk.submit(MONDAY).sent == 0
    assert len(submitted) == 1
    with ledger.read() as connection:
        assert order_log.with_status(connection, [OrderStatus.ACCEPTED])


@pytest.mark.parametrize("mode", [ControlMode.PAUSE, ControlMode.REDUCE, ControlMode.EMERGENCY])
def test_a_mode_set_after_approval_withdraws_the_order(ledger: Ledger, desk: ExecutionDesk, mode: ControlMode) -> None:
    order_id = approve(ledger)
    set_mode(ledger, mode, person="ada", reason="test")
    assert desk.submit(MONDAY).sent == 0
    with ledger.read() as connection:
        assert order_log.get(connection, order_id).status is OrderStatus.CANCELED


def test_an_order_that_shrinks_a_position_goes_out_in_reduce(ledger: Ledger, desk: ExecutionDesk) -> None:
    approve(ledger)
    desk.submit(MONDAY)
    desk.settle(TUESDAY, bars(TUESDAY))
    approve(ledger, session=TUESDAY, side=Side.SELL, quantity=60)
    set_mode(ledger, ControlMode.REDUCE, person="ada", reason="test")
    assert desk.submit(TUESDAY).sent == 1


def test_an_unbalanced_ledger_stops_trading(ledger: Ledger, desk: ExecutionDesk) -> None:
    from quant_dagster.errors import BooksError
    from quant_dagster.storage.ledger_tables import postings

    approve(ledger)
    desk.submit(MONDAY)
    desk.settle(TUESDAY, bars(TUESDAY))
    with ledger.write() as connection:
        connection.execute(postings.update().where(postings.c.account == "cash").values(amount=Decimal(1)))
    with pytest.raises(BooksError, match="off by"):
        desk.settle(WEDNESDAY, bars(WEDNESDAY))


def test_one_executor_at_a_time(ledger: Ledger) -> None:
    def second() -> None:
        with broker_lease(ledger, "paper", 60):
            pass

    with broker_lease(ledger, "paper", 60), pytest.raises(OrderError, match="one executor at a time"):
        second()
    second()


def test_the_lease_of_a_dead_process_is_taken_over_at_once(ledger: Ledger) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    expires = ledger.now() + timedelta(hours=1)
    with ledger.write() as connection:
        holder = f"{socket.gethostname()}:{child}:x"
        connection.execute(leases.insert().values(name="paper", holder=holder, expires_at=expires))
    with broker_lease(ledger, "paper", 60):
        pass


def test_a_lease_of_another_machine_runs_out(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.execute(
            leases.insert().values(name="paper", holder="elsewhere:1:x", expires_at=ledger.now() + timedelta(seconds=3))
        )
    with pytest.raises(OrderError, match="elsewhere"), broker_lease(ledger, "paper", 60):
        pass
    with broker_lease(ledger, "paper", 60, wait=5):
        pass


def test_a_rejected_order_cannot_be_created(ledger: Ledger) -> None:
    intent = OrderIntent("o", "d", "s", MONDAY, "IBM", Side.BUY, Decimal(1), Decimal(1))
    refused = RiskDecision(intent, Outcome.REJECTED, Decimal(0), (), ("cvar_breach",), reduce_only=False)
    with pytest.raises(OrderError, match="rejected by the risk gate"), ledger.write() as connection:
        order_log.create(connection, refused, order_type="market", time_in_force="day", at=ledger.now())


def test_an_order_made_twice_is_one_order(ledger: Ledger) -> None:
    order_id = approve(ledger)
    intent = OrderIntent(order_id, f"d{MONDAY}", "s", MONDAY, "IBM", Side.BUY, Decimal(5), Decimal(200))
    with ledger.write() as connection:
        again = RiskDecision(intent, Outcome.APPROVED, Decimal(5), (), (), reduce_only=False)
        assert order_log.create(connection, again, order_type="market", time_in_force="day", at=ledger.now()) is None
        assert connection.execute(select(orders.c.quantity)).scalars().all() == [100]


def test_a_projection_changed_by_hand_is_found(ledger: Ledger, desk: ExecutionDesk) -> None:
    approve(ledger)
    with ledger.write() as connection:
        connection.execute(orders.update().values(status="filled"))
        assert "its events say" in order_log.problems(connection)[0]


def test_a_fill_changed_by_hand_is_found_by_the_audit(ledger: Ledger, desk: ExecutionDesk) -> None:
    approve(ledger)
    desk.submit(MONDAY)
    desk.settle(TUESDAY, bars(TUESDAY))
    from quant_dagster.storage.ledger_tables import fills

    with ledger.write() as connection:
        connection.execute(fills.update().values(price=Decimal(1)))
    assert any("differs from what audit row" in problem for problem in audit.verify(ledger).problems)


def test_an_order_the_broker_rejects_ends_there(ledger: Ledger, desk: ExecutionDesk) -> None:
    order_id = approve(ledger, quantity=Decimal("0.5"))
    desk.submit(MONDAY)
    with ledger.read() as connection:
        assert order_log.get(connection, order_id).status is OrderStatus.REJECTED
    assert kinds(ledger) == ["approved", "submitting", "rejected"]
    assert desk.settle(TUESDAY, bars(TUESDAY)).fills == 0


def test_a_day_order_that_meets_no_bar_expires(ledger: Ledger, desk: ExecutionDesk) -> None:
    approve(ledger)
    desk.submit(MONDAY)
    done = desk.settle(TUESDAY, {})
    assert (done.fills, done.expired) == (0, 1)
    assert kinds(ledger) == ["approved", "submitting", "accepted", "expired"]
    assert desk.settle(TUESDAY, bars(TUESDAY)).fills == 0, "an expired order is not filled later"
    assert sound(ledger)


def test_a_part_filled_order_is_booked_for_its_part_and_expires(ledger: Ledger, desk: ExecutionDesk) -> None:
    bar = real_bar(TUESDAY)
    cap = int(bar.volume * ExecutionSettings().participation_cap)
    approve(ledger, quantity=cap + 10)
    with ledger.read() as connection:
        (working,) = order_log.with_status(connection, order_log.OPEN)
        assert working.remaining == cap + 10
    desk.submit(MONDAY)
    done = desk.settle(TUESDAY, {"IBM": bar})
    assert (done.fills, done.expired) == (1, 1)
    assert kinds(ledger) == ["approved", "submitting", "accepted", "partially_filled", "expired"]
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == cap
        assert order_log.with_status(connection, order_log.OPEN) == []
    assert sound(ledger)


@pytest.mark.parametrize(
    "change", ["outcome = 'rejected'", "approved_quantity = 1", "symbol = 'AAPL'", "event_id = 'x'"]
)
def test_an_order_without_its_approval_is_never_sent(ledger: Ledger, desk: ExecutionDesk, change: str) -> None:
    order_id = approve(ledger)
    with ledger.write() as connection:
        connection.exec_driver_sql(f"UPDATE risk_events SET {change}")
    with pytest.raises(OrderError, match="has no approval of the risk gate in the ledger: it is not sent"):
        desk.submit(MONDAY)
    assert desk.broker.find(order_id) is None
    (problem,) = verify_ledger(ledger).problems
    assert "has no approval of the risk gate" in problem


def test_the_mode_is_asked_again_before_each_order(ledger: Ledger, broker: PaperBroker) -> None:
    approve(ledger)
    desk = ExecutionDesk(ledger, broker, lease_seconds=60, mode=lambda: ControlMode.PAUSE)
    assert desk.submit(MONDAY).sent == 0
    assert kinds(ledger) == ["approved", "canceled"]


def cancelled(ledger: Ledger, desk: ExecutionDesk, order_id: str) -> tuple[int, list[str]]:
    return desk.cancel([order_id], TUESDAY, reason="test"), kinds(ledger)


def test_an_order_that_was_not_sent_is_withdrawn(ledger: Ledger, desk: ExecutionDesk) -> None:
    assert cancelled(ledger, desk, approve(ledger)) == (1, ["approved", "canceled"])
    assert desk.submit(MONDAY).sent == 0
    assert sound(ledger)


def test_a_working_order_is_cancelled_at_the_broker(ledger: Ledger, desk: ExecutionDesk) -> None:
    order_id = approve(ledger)
    desk.submit(MONDAY)
    done = cancelled(ledger, desk, order_id)
    assert done == (1, ["approved", "submitting", "accepted", "pending_cancel", "canceled"])
    assert cancelled(ledger, desk, order_id)[0] == 0, "once"
    assert desk.settle(TUESDAY, bars(TUESDAY)).fills == 0
    assert sound(ledger)


def test_an_order_that_filled_before_it_was_cancelled_stays_filled(ledger: Ledger, desk: ExecutionDesk) -> None:
    order_id = approve(ledger)
    desk.submit(MONDAY)
    desk.broker.trade_session(TUESDAY, bars(TUESDAY))
    assert cancelled(ledger, desk, order_id)[0] == 0
    assert desk.settle(TUESDAY, bars(TUESDAY)).fills == 1
    assert kinds(ledger)[-2:] == ["pending_cancel", "filled"]
    assert sound(ledger)


def test_an_order_the_broker_has_but_the_ledger_does_not_know_of_is_cancelled_too(
    ledger: Ledger, desk: ExecutionDesk
) -> None:
    order_id = approve(ledger)
    with ledger.write() as connection:
        event = OrderEvent(order_id, OrderEventKind.SUBMITTING, MONDAY, {})
        order_log.record(connection, event, actor="desk", at=ledger.now())
        order = order_log.get(connection, order_id)
    desk.broker.submit(order)
    assert cancelled(ledger, desk, order_id)[0] == 1
    assert kinds(ledger)[-3:] == ["accepted", "pending_cancel", "canceled"]


def test_an_event_of_an_unknown_order_is_an_error(ledger: Ledger) -> None:
    with ledger.read() as connection, pytest.raises(OrderError, match="no order nobody"):
        order_log.get(connection, "nobody")
