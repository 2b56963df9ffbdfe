"""Parent orders in the ledger, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest
from sqlalchemy import select

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.due import due, finished, sliced, started
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import (
    Algorithm,
    ParentEvent,
    ParentEventKind,
    ParentOrder,
    ParentState,
    child_order_id,
)
from quant_dagster.execution.algorithms.progress import ChildProgress, Slice
from quant_dagster.execution.algorithms.volume_curve import CurveSource, VolumeCurve
from quant_dagster.execution.orders import OrderEvent, OrderEventKind
from quant_dagster.observability import audit
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.settings import AlgorithmSettings
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import audit_log, parent_events, parent_orders
from quant_dagster.storage.types import canonical_json
from tests.unit.execution.algorithms.parents_at_work import COSTS, OPEN, SESSION, minutes, view


class Crash(BaseException):
    """The process dies here."""


CURVE = VolumeCurve((0.30000001, 0.1, 0.19999999, 0.4), CurveSource.SYMBOL, 20)


def verdict(
    name: str = "p1", quantity: int = 400, outcome: Outcome = Outcome.APPROVED, stop: int | None = None
) -> RiskDecision:
    intent = OrderIntent(
        name, None, "s", SESSION, "IBM", Side.BUY, Decimal(quantity), Decimal(100),
        stop_price=None if stop is None else Decimal(stop),
    )  # fmt: skip
    return RiskDecision(intent, outcome, Decimal(quantity), (), ("why",), reduce_only=False)


def parameters(algorithm: Algorithm = Algorithm.VWAP) -> Parameters:
    settings = AlgorithmSettings(slices=4, least_slice_value=0, minutes=390)
    return Parameters.chosen(algorithm, settings, lot=Decimal(1), curve=CURVE, impact=COSTS)


def create(ledger: Ledger, decision: RiskDecision, algorithm: Algorithm = Algorithm.VWAP) -> ParentOrder | None:
    with ledger.write() as connection:
        return parent_log.create(
            connection, decision, algorithm=algorithm, parameters=parameters(algorithm), at=ledger.now()
        )


def record(ledger: Ledger, event: ParentEvent) -> ParentOrder:
    with ledger.write() as connection:
        return parent_log.record(connection, event, actor="daemon", at=ledger.now())


def start(ledger: Ledger, parent: ParentOrder) -> ParentOrder:
    event = started(parent, view(price=99), OPEN)
    assert event is not None
    return record(ledger, event)


def slice_now(ledger: Ledger, now: datetime) -> Slice | None:
    """Ask what is due, announce it and make its order, in one transaction, as the daemon does."""
    with ledger.write() as connection:
        parent = parent_log.get(connection, "p1")
        progress = parent_log.progress(connection, parent)
        one = due(parent, progress, now, view())
        if one is not None:
            parent_log.record(connection, sliced(parent, progress, one), actor="daemon", at=now)
            make_child(connection, parent, one, now)
        return one


def make_child(connection, parent: ParentOrder, one: Slice, now: datetime) -> None:
    intent = OrderIntent(
        child_order_id(parent, one.number), None, parent.strategy, parent.session, parent.symbol, parent.side,
        one.quantity, parent.decision_price,
    )  # fmt: skip
    decision = RiskDecision(intent, Outcome.APPROVED, one.quantity, (), (), reduce_only=False)
    order_log.create(
        connection, decision, order_type="limit", time_in_force="day", at=now, limit_price=Decimal(100),
        parent_id=parent.parent_id,
    )  # fmt: skip


def happen(ledger: Ledger, number: int, *kinds: OrderEventKind, **payload: str) -> None:
    with ledger.write() as connection:
        parent = parent_log.get(connection, "p1")
        for kind in kinds:
            event = OrderEvent(child_order_id(parent, number), kind, SESSION, dict(payload))
            order_log.record(connection, event, actor="broker", at=ledger.now())


def found(ledger: Ledger) -> list[str]:
    with ledger.read() as connection:
        return parent_log.problems(connection)


def test_an_order_is_worked_from_approval_to_its_end(ledger: Ledger) -> None:
    parent = create(ledger, verdict())
    assert parent is not None and parent.state is ParentState.APPROVED
    start(ledger, parent)
    sending = (OrderEventKind.SUBMITTING, OrderEventKind.ACCEPTED)
    sizes = []
    for number, minute in enumerate((0, 97.5, 195, 292.5), start=1):
        one = slice_now(ledger, minutes(minute))
        assert one is not None and one.number == number
        sizes.append(one.quantity)
        happen(ledger, number, *sending)
        filled = one.quantity if number != 2 else Decimal(15)
        kind = OrderEventKind.FILLED if number != 2 else OrderEventKind.PARTIALLY_FILLED
        happen(ledger, number, kind, quantity=str(filled), price="100")
        if number == 2:
            happen(ledger, 2, OrderEventKind.EXPIRED)
    assert sizes == [120, 40, 80 + 25, 160]
    with ledger.read() as connection:
        parent = parent_log.get(connection, "p1")
        progress = parent_log.progress(connection, parent)
        assert [order.parent_id for order in parent_log.children(connection, "p1")] == ["p1"] * 4
        assert parent_log.with_state(connection) == [parent]
    assert [child.number for child in progress.children] == [1, 2, 3, 4]
    assert progress.children[1] == ChildProgress(2, Decimal(40), Decimal(15), False, minutes(97.5))
    ending = finished(parent, progress, minutes(300))
    assert ending is not None and ending.kind is ParentEventKind.COMPLETED
    assert record(ledger, ending).state is ParentState.DONE
    assert found(ledger) == []
    with ledger.read() as connection:
        assert parent_log.with_state(connection) == []
        assert parent_log.with_state(connection, [ParentState.DONE], until=SESSION) == [
            parent_log.get(connection, "p1")
        ]  # fmt: skip


def test_an_order_that_exists_is_not_made_again(ledger: Ledger) -> None:
    assert create(ledger, verdict()) is not None
    assert create(ledger, verdict()) is None
    with ledger.read() as connection:
        assert len(connection.execute(select(parent_events)).all()) == 1


def test_what_is_read_back_is_what_was_made(ledger: Ledger) -> None:
    for algorithm in Algorithm:
        made = create(ledger, verdict(f"p-{algorithm}"), algorithm)
        assert made is not None
        with ledger.read() as connection:
            assert parent_log.get(connection, made.parent_id) == made
        assert Parameters.of(algorithm, made.parameters) == parameters(algorithm)


def test_a_rejected_decision_makes_no_order(ledger: Ledger) -> None:
    with pytest.raises(OrderError, match="rejected by the risk gate"):
        create(ledger, verdict(outcome=Outcome.REJECTED))


def test_an_order_that_waits_for_a_stop_price_is_not_worked_in_slices(ledger: Ledger) -> None:
    with pytest.raises(OrderError, match="send it whole"):
        create(ledger, verdict(stop=90))


def test_an_unknown_order_is_an_error(ledger: Ledger) -> None:
    with ledger.read() as connection, pytest.raises(OrderError, match="no parent order nobody"):
        parent_log.get(connection, "nobody")


def test_an_illegal_event_records_nothing(ledger: Ledger) -> None:
    create(ledger, verdict())
    with pytest.raises(OrderError, match="cannot happen"):
        record(ledger, ParentEvent("p1", ParentEventKind.PAUSED, {}))
    with ledger.read() as connection:
        assert parent_log.get(connection, "p1").events == 1


def test_a_slice_announced_on_a_stale_view_is_refused(ledger: Ledger) -> None:
    """Two that asked before either recorded: the second one's slice is refused, whatever it is."""
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    with ledger.read() as connection:
        parent = parent_log.get(connection, "p1")
        stale = parent_log.progress(connection, parent)
    one = due(parent, stale, OPEN, view())
    assert one is not None
    assert slice_now(ledger, OPEN) == one
    for number in (1, 2):
        with pytest.raises(OrderError, match="ask again"):
            record(ledger, sliced(parent, stale, Slice(number, OPEN, one.quantity)))
    assert slice_now(ledger, OPEN) is None
    assert found(ledger) == []


def test_a_number_is_not_used_again_for_a_slice_that_got_nothing(ledger: Ledger) -> None:
    parent = start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    one = slice_now(ledger, OPEN)
    assert one is not None
    happen(ledger, 1, OrderEventKind.CANCELED)
    with ledger.read() as connection:
        event = sliced(parent, parent_log.progress(connection, parent), one)
    with pytest.raises(OrderError, match="ask again"):
        record(ledger, event)


def test_a_slice_under_an_id_that_is_not_its_own_is_refused(ledger: Ledger) -> None:
    parent = start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    with ledger.read() as connection:
        event = sliced(parent, parent_log.progress(connection, parent), Slice(1, OPEN, Decimal(10)))
    with pytest.raises(OrderError, match="ask again"):
        record(ledger, replace(event, payload=event.payload | {"client_order_id": "q0"}))


def test_a_crash_between_slices_loses_and_repeats_nothing(ledger: Ledger) -> None:
    """The process dies in the transaction that makes a slice; another asks again and gets the same one."""
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]

    asked = []

    def die_before_it_is_written() -> None:
        with ledger.write() as connection:
            parent = parent_log.get(connection, "p1")
            progress = parent_log.progress(connection, parent)
            one = due(parent, progress, OPEN, view())
            assert one is not None
            asked.append(one)
            parent_log.record(connection, sliced(parent, progress, one), actor="daemon", at=OPEN)
            make_child(connection, parent, one, OPEN)
            raise Crash

    with pytest.raises(Crash):
        die_before_it_is_written()
    assert [slice_now(ledger, OPEN)] == asked
    assert slice_now(ledger, OPEN) is None
    assert found(ledger) == []


def test_a_child_that_is_none_of_its_slices_stops_slicing(ledger: Ledger) -> None:
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    with ledger.write() as connection:
        parent = parent_log.get(connection, "p1")
        make_child(connection, parent, Slice(999, OPEN, Decimal(1)), OPEN)
    with pytest.raises(OrderError, match="no slices of it"):
        slice_now(ledger, OPEN)
    assert ["not announced" in problem for problem in found(ledger)] == [True]


def test_every_event_is_in_the_audit_log(ledger: Ledger) -> None:
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    slice_now(ledger, OPEN)
    with ledger.read() as connection:
        audited = {
            row.event_key: row.payload
            for row in connection.execute(select(audit_log))
            if row.event_key.startswith("parent:")
        }
        events = connection.execute(select(parent_events)).mappings().all()
    assert audited == {
        f"parent:p1:{event['sequence']}": canonical_json(parent_log.event_payload(dict(event))) for event in events
    }
    assert sorted(audited) == ["parent:p1:1", "parent:p1:2", "parent:p1:3"]
    assert not [problem for problem in audit.verify(ledger).problems if "parent" in problem]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"state": "paused"}, "the row says"),
        ({"ends_at": minutes(391)}, "the row says"),
        ({"events": 7}, "the row says"),
        ({"quantity": Decimal(4000)}, "not those that were approved"),
        ({"parameters": parameters(Algorithm.TWAP).as_json()}, "not those that were approved"),
        ({"algorithm": "twap"}, "not those that were approved"),
        ({"state": "asleep"}, "cannot be read"),
    ],
)
def test_a_row_that_was_changed_behind_its_events_is_found(ledger: Ledger, change: dict, says: str) -> None:
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    slice_now(ledger, OPEN)
    assert found(ledger) == []
    with ledger.write() as connection:
        connection.execute(parent_orders.update().values(**change))
    assert any(says in problem for problem in found(ledger))


def test_an_event_that_was_removed_is_found(ledger: Ledger) -> None:
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    slice_now(ledger, OPEN)
    with ledger.write() as connection:
        connection.execute(parent_events.delete().where(parent_events.c.sequence == 3))
    assert any("the row says" in problem for problem in found(ledger))
    assert any("not announced" in problem for problem in found(ledger))


def test_events_that_are_not_numbered_one_after_the_other_are_found(ledger: Ledger) -> None:
    start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    slice_now(ledger, OPEN)
    with ledger.write() as connection:
        connection.execute(parent_events.update().where(parent_events.c.sequence == 3).values(sequence=4))
    assert any("one after the other" in problem for problem in found(ledger))


def test_a_slice_that_was_announced_and_is_not_there_is_found(ledger: Ledger) -> None:
    parent = start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    with ledger.read() as connection:
        event = sliced(parent, parent_log.progress(connection, parent), Slice(1, OPEN, Decimal(10)))
    record(ledger, event)
    assert any("no such order" in problem for problem in found(ledger))


def test_a_slice_of_another_size_than_announced_is_found(ledger: Ledger) -> None:
    parent = start(ledger, create(ledger, verdict()))  # type: ignore[arg-type]
    with ledger.write() as connection:
        one = Slice(1, OPEN, Decimal(10))
        event = sliced(parent, parent_log.progress(connection, parent), one)
        parent_log.record(connection, event, actor="daemon", at=OPEN)
        make_child(connection, parent, replace(one, quantity=Decimal(11)), OPEN)
    assert any("not what was announced" in problem for problem in found(ledger))
