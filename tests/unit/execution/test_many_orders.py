"""Many orders for a venue that takes them in one transaction: a crash anywhere neither loses nor repeats one."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.broker import BatchingVenue
from quant_dagster.execution.brokers.paper import PaperBroker
from quant_dagster.execution.collecting import Collector
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.orders import OrderStatus, client_order_id
from quant_dagster.risk.control import ControlMode, read_mode
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.settings import ExecutionSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import order_events, risk_events
from tests.unit.execution.test_desk import Crash, crash_on, sound
from tests.unit.execution.test_paper import MONDAY, TUESDAY, real_bar

COUNT = 4


def approve(ledger: Ledger) -> list[str]:
    made = []
    with ledger.write() as connection:
        now = ledger.now()
        for number in range(COUNT):
            order_id = client_order_id("s", MONDAY, "IBM", str(number))
            intent = OrderIntent(order_id, None, "s", MONDAY, "IBM", Side.BUY, Decimal(10), Decimal(200),
                                 origin=Origin.COMMAND)  # fmt: skip
            verdict = RiskDecision(intent, Outcome.APPROVED, Decimal(10), (), (), reduce_only=False)
            verdicts.record(connection, verdict, cycle_id=None, at=now)
            order_log.create(connection, verdict, order_type="market", time_in_force="day", at=now)
            made.append(order_id)
    return sorted(made)


@pytest.fixture
def broker(tmp_path: Path) -> PaperBroker:
    return PaperBroker(tmp_path / "paper.db", ExecutionSettings(), volume_required=True)


@pytest.fixture
def desk(ledger: Ledger, broker: PaperBroker) -> ExecutionDesk:
    return ExecutionDesk(ledger, broker, lease_seconds=60, mode=lambda: read_mode(ledger).mode)


def day(desk: ExecutionDesk) -> None:
    desk.submit(MONDAY)
    desk.settle(TUESDAY, {"IBM": real_bar(TUESDAY)})


POINTS = [
    (PaperBroker, "submit", "before"),
    (PaperBroker, "submit", "after"),
    (PaperBroker, "find", "after"),
    (Collector, "_acknowledge_all", "before"),
    (Collector, "_acknowledge_all", "after"),
    (order_log.Recorder, "flush", "before"),
    (order_log.Recorder, "flush", "after"),
    (order_log, "record", "before"),
    (order_log, "record", "after"),
]


@pytest.mark.parametrize(("owner", "name", "when"), POINTS)
@pytest.mark.parametrize("call", [1, 3])
def test_a_crash_among_many_orders_ends_as_if_there_had_been_none(
    ledger: Ledger, desk: ExecutionDesk, broker: PaperBroker, monkeypatch: pytest.MonkeyPatch, owner, name: str,
    when: str, call: int,
) -> None:  # fmt: skip
    made = approve(ledger)
    crash_on(monkeypatch, owner, name, when, call)
    try:
        day(desk)
    except Crash:
        day(desk)
    with ledger.read() as connection:
        kinds = Counter(connection.execute(select(order_events.c.kind)).scalars())
        held = books.holding_of(connection, "IBM").quantity
    assert kinds == dict.fromkeys(("approved", "submitting", "accepted", "filled"), COUNT)
    assert held == 10 * COUNT
    assert [one.client_order_id for one in broker.executions()] == made
    assert sound(ledger)


def test_no_order_counts_as_accepted_before_the_venue_has_it(
    ledger: Ledger, desk: ExecutionDesk, broker: PaperBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = approve(ledger)
    seen = []

    def spying(order, number=""):
        with ledger.read() as connection:
            seen.append([order_log.get(connection, one).status for one in made])
        return original(order, number)

    original = broker.submit
    monkeypatch.setattr(broker, "submit", spying)
    desk.submit(MONDAY)
    for place, statuses in enumerate(seen):
        assert statuses == [OrderStatus.SUBMITTING] * (place + 1) + [OrderStatus.APPROVED] * (COUNT - place - 1)
    with ledger.read() as connection:
        assert {order_log.get(connection, one).status for one in made} == {OrderStatus.ACCEPTED}


def test_an_order_without_its_approval_among_many_stops_the_rest_and_all_is_resolved_later(
    ledger: Ledger, desk: ExecutionDesk, broker: PaperBroker
) -> None:
    made = approve(ledger)
    changed = risk_events.c.event_id == f"risk:{made[2]}"
    with ledger.write() as connection:
        connection.execute(risk_events.update().where(changed).values(outcome="unknown"))
    with pytest.raises(OrderError, match="no approval of the risk gate"):
        desk.submit(MONDAY)
    assert broker.open_orders() == []
    with ledger.write() as connection:
        connection.execute(risk_events.update().where(changed).values(outcome=Outcome.APPROVED.value))
    day(desk)
    assert [one.client_order_id for one in broker.executions()] == made
    assert sound(ledger)


def test_the_mode_is_asked_before_each_of_many_orders(ledger: Ledger, broker: PaperBroker) -> None:
    approve(ledger)
    modes = iter([ControlMode.NORMAL, ControlMode.NORMAL, ControlMode.PAUSE, ControlMode.PAUSE])
    desk = ExecutionDesk(ledger, broker, lease_seconds=60, mode=lambda: next(modes))
    assert isinstance(broker, BatchingVenue)
    assert desk.submit(MONDAY).sent == 2
    assert len(broker.open_orders()) == 2
    assert sound(ledger)


def test_what_was_done_together_is_on_the_book_whole_or_not_at_all(ledger: Ledger, broker: PaperBroker) -> None:
    first, second = approve(ledger)[:2]
    with ledger.read() as connection:
        orders = [order_log.get(connection, one) for one in (first, second)]

    def half() -> None:
        with broker.together():
            broker.submit(orders[0])
            assert broker.find(first) is not None
            raise Crash

    with pytest.raises(Crash):
        half()
    assert broker.find(first) is None
    with broker.together():
        broker.submit(orders[0])
        broker.submit(orders[1])
    assert len(broker.open_orders()) == 2
