"""Parent orders at work on a real ledger: caught up, paused, resumed, cancelled, and what is left at their end.

The session is the last of a replay, so the gate has the account, the market and the limits it had that evening.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import select

from quant_dagster.accounting.books import Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.slicing import Sliced, Slicer, cancelled_slices, set_parent
from quant_dagster.errors import BrokerError, BrokerUnavailableError, OrderError
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import (
    Algorithm,
    ParentEventKind,
    ParentOrder,
    ParentState,
    child_order_id,
)
from quant_dagster.execution.algorithms.progress import MarketView
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, client_order_id
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.resilience.breaker_state import BreakerStatus, force
from quant_dagster.risk.gate import OrderIntent, Outcome, RiskDecision
from quant_dagster.settings import AlgorithmSettings, load_settings
from quant_dagster.storage.ledger_tables import audit_log, risk_events

BEFORE, DECIDED, TRADING = date(2022, 12, 27), date(2022, 12, 28), date(2022, 12, 29)
OPEN, CLOSE = datetime(2022, 12, 29, 14, 30, tzinfo=UTC), datetime(2022, 12, 29, 21, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
SENT = (OrderEventKind.SUBMITTING, OrderEventKind.ACCEPTED)


class Morning:
    """The desk on the morning after a replay's last session, with an algorithm's orders to work."""

    def __init__(self) -> None:
        self.context = TradingContext(load_settings())
        self.ledger = self.context.ledger
        self.market = MarketView(OPEN, CLOSE, last_price=Decimal("63.50"))
        self.slicer = Slicer(self.context, DECIDED, TRADING, lambda parent: self.market)

    def approve(self, name: str = "one", quantity: int = 40, session: date = DECIDED) -> str:
        """KO, to be bought in four equal slices, one an hour."""
        parent_id = client_order_id("test", session, "KO", name)
        intent = OrderIntent(parent_id, None, "test", session, "KO", Side.BUY, Decimal(quantity), Decimal("63.50"))
        verdict = RiskDecision(intent, Outcome.APPROVED, Decimal(quantity), (), (), reduce_only=False)
        chosen = AlgorithmSettings(slices=4, minutes=240, least_slice_value=0)  # type: ignore[call-arg]
        parameters = Parameters.chosen(Algorithm.TWAP, chosen, lot=Decimal(1))
        with self.ledger.write() as connection:
            at = self.ledger.now()
            parent_log.create(connection, verdict, algorithm=Algorithm.TWAP, parameters=parameters, at=at)
        return parent_id

    def work(self, hours: float = 0) -> Sliced:
        """One pass, so many hours after the open."""
        return self.slicer.work(OPEN + hours * HOUR)

    def begin(self, parent_id: str) -> str:
        """Start an order and make its first slice; the slice's id."""
        assert self.work().made == 0
        assert self.work().made == 1
        return self.slices(parent_id)[0].client_order_id

    def parent(self, parent_id: str) -> ParentOrder:
        with self.ledger.read() as connection:
            return parent_log.get(connection, parent_id)

    def slices(self, parent_id: str) -> list[Order]:
        """The oldest first."""
        with self.ledger.read() as connection:
            return sorted(parent_log.children(connection, parent_id), key=lambda one: one.created_at)

    def happen(self, order_id: str, *kinds: OrderEventKind, **payload: str) -> None:
        """What the desk and the broker did to a slice."""
        with self.ledger.write() as connection:
            for kind in kinds:
                event = OrderEvent(order_id, kind, TRADING, dict(payload))
                order_log.record(connection, event, actor="broker", at=self.ledger.now())

    def fill(self, order_id: str, quantity: int) -> None:
        whole = self.quantity(order_id) == quantity
        kind = OrderEventKind.FILLED if whole else OrderEventKind.PARTIALLY_FILLED
        self.happen(order_id, *SENT)
        self.happen(order_id, kind, quantity=str(quantity), price="63.5")

    def quantity(self, order_id: str) -> Decimal:
        with self.ledger.read() as connection:
            return order_log.get(connection, order_id).quantity

    def broker_breaker(self, state: BreakerStatus) -> None:
        force(self.ledger, "broker:paper", state, "ann", "the line is bad", self.ledger.now())


@pytest.fixture
def morning(replayed_home: Path) -> Morning:
    return Morning()


def test_an_order_starts_with_its_session_and_its_first_slice_passes_the_gate(morning: Morning) -> None:
    parent_id = morning.approve()
    assert morning.work(-0.5) == Sliced(), "the market is not open"
    assert morning.work().said == (f"twap buy 40 KO ({parent_id}) starts",)
    assert morning.parent(parent_id).arrival_price == Decimal("63.5")
    assert morning.work() == Sliced(made=1)
    assert morning.work() == Sliced(), "asked again it is made once"
    (one,) = morning.slices(parent_id)
    assert (one.quantity, one.side, one.status, one.order_type) == (10, "buy", "approved", "market")
    with morning.ledger.read() as connection:
        query = select(risk_events).where(risk_events.c.origin == "algorithm")
        checked = connection.execute(query).mappings().one()
    assert (checked["outcome"], checked["symbol"], checked["cycle_id"]) == ("approved", "KO", None)


def test_what_was_missed_is_caught_up_and_the_slice_before_is_to_be_cancelled(morning: Morning) -> None:
    parent_id = morning.approve()
    first = morning.begin(parent_id)
    morning.fill(first, 4)
    done = morning.work(2.1)
    assert done == Sliced(made=1, cancel=(first,))
    assert [one.quantity for one in morning.slices(parent_id)] == [10, 20], "what the first may still fill is its own"
    morning.happen(first, OrderEventKind.CANCELED)
    second = morning.slices(parent_id)[1].client_order_id
    assert morning.work(3.1) == Sliced(cancel=(second,)), "the last takes what is left: it waits for the one before"
    morning.fill(second, 20)
    assert morning.work(3.1) == Sliced(made=1)
    assert [one.quantity for one in morning.slices(parent_id)] == [10, 20, 16]


def test_an_order_that_is_filled_whole_is_over(morning: Morning) -> None:
    parent_id = morning.approve()
    morning.fill(morning.begin(parent_id), 10)
    assert morning.work(3).made == 1
    morning.fill(morning.slices(parent_id)[1].client_order_id, 30)
    done = morning.work(3)
    assert (done.ended, done.said) == (1, (f"twap buy 40 KO ({parent_id}) is over: 40 of 40 filled in 2 slices",))
    assert morning.parent(parent_id).state is ParentState.DONE
    assert morning.work(3) == Sliced()


def test_at_its_end_what_works_is_to_be_cancelled_and_what_is_not_filled_stays_undone(morning: Morning) -> None:
    parent_id = morning.approve()
    first = morning.begin(parent_id)
    morning.fill(first, 4)
    assert morning.work(4) == Sliced(cancel=(first,)), "not over while a slice may still fill"
    morning.happen(first, OrderEventKind.CANCELED)
    done = morning.work(4)
    assert (done.made, done.ended) == (0, 1)
    assert done.said == (f"twap buy 40 KO ({parent_id}) is over: 4 of 40 filled in 1 slices",)


def test_a_slice_the_gate_refuses_pauses_its_order_until_a_person_resumes_it(morning: Morning) -> None:
    parent_id = morning.approve()
    morning.fill(morning.begin(parent_id), 10)
    morning.broker_breaker(BreakerStatus.OPEN)
    done = morning.work(1)
    assert done.made == 0
    (said,) = done.said
    assert "the risk gate refused slice 2 (breaker_open)" in said and f"'quant order resume {parent_id}'" in said
    assert morning.parent(parent_id).state is ParentState.PAUSED
    with morning.ledger.read() as connection:
        words = connection.execute(select(audit_log.c.payload).where(audit_log.c.action == "slice_refused"))
        assert words.scalar_one() == '{"number":2,"quantity":"10","reasons":["breaker_open"]}'
    morning.broker_breaker(BreakerStatus.CLOSED)
    assert morning.work(1.5) == Sliced(), "nobody has said that it may go on"
    assert len(morning.slices(parent_id)) == 1
    resumed = set_parent(morning.context, parent_id, ParentEventKind.RESUMED, actor="ann", reason="the line is back")
    assert resumed.state is ParentState.WORKING
    assert morning.work(2.5) == Sliced(made=1)
    assert [one.quantity for one in morning.slices(parent_id)] == [10, 20], "what the pause missed is in the next"


def test_a_second_refusal_is_written_down_beside_the_first(morning: Morning) -> None:
    parent_id = morning.approve()
    assert morning.work().made == 0
    morning.broker_breaker(BreakerStatus.OPEN)
    for _ in range(2):
        assert "is paused" in morning.work().said[0]
        set_parent(morning.context, parent_id, ParentEventKind.RESUMED, actor="ann", reason="again")
    with morning.ledger.read() as connection:
        words = connection.execute(select(audit_log.c.event_key).where(audit_log.c.action == "slice_refused")).all()
    assert len(words) == 2
    assert morning.slices(parent_id) == []
    assert audit.verify(morning.ledger).problems == () and verify_ledger(morning.ledger).problems == ()


def test_a_paused_order_makes_nothing_and_its_slice_goes_on_working(morning: Morning) -> None:
    parent_id = morning.approve()
    first = morning.begin(parent_id)
    set_parent(morning.context, parent_id, ParentEventKind.PAUSED, actor="ann", reason="news")
    assert morning.work(2) == Sliced()
    morning.fill(first, 10)
    assert morning.work(3) == Sliced()
    assert morning.work(4).ended == 1, "its time is over, paused or not"
    with pytest.raises(OrderError, match="'resumed' cannot happen to it"):
        set_parent(morning.context, parent_id, ParentEventKind.RESUMED, actor="ann", reason="too late")


def test_slices_of_a_cancelled_order_are_named_until_they_are_over_and_others_never(morning: Morning) -> None:
    cancelled, kept = morning.approve("cancelled"), morning.approve("kept")
    assert morning.work().made == 0
    assert morning.work().made == 2
    (working,) = morning.slices(cancelled)
    with morning.ledger.read() as connection:
        whole = [one for one in order_log.with_status(connection, order_log.OPEN) if one.parent_id is None]
        assert whole, "an order that nobody slices works beside them"
        assert cancelled_slices(connection) == ()
    set_parent(morning.context, cancelled, ParentEventKind.CANCELLED, actor="ann", reason="second thoughts")
    with morning.ledger.read() as connection:
        assert cancelled_slices(connection) == (working.client_order_id,)
    assert morning.work(1).made == 1, "the other goes on alone"
    morning.happen(working.client_order_id, *SENT)
    morning.happen(working.client_order_id, OrderEventKind.CANCELED)
    with morning.ledger.read() as connection:
        assert cancelled_slices(connection) == ()
    assert morning.parent(kept).state is ParentState.WORKING


def test_an_order_whose_session_passed_is_cancelled_once_its_slices_are_over(morning: Morning) -> None:
    late, early = morning.approve("late", session=BEFORE), morning.approve("early", session=TRADING)
    yesterday = Slicer(morning.context, BEFORE, DECIDED, lambda parent: MarketView(OPEN - 24 * HOUR, CLOSE - 24 * HOUR))
    assert yesterday.work(OPEN - 24 * HOUR).said[0].endswith("starts")
    assert yesterday.work(OPEN - 24 * HOUR).made == 1
    (left,) = morning.slices(late)
    assert left.client_order_id == child_order_id(morning.parent(late), 1)
    assert morning.work() == Sliced(cancel=(left.client_order_id,)), "no second order while the first may fill"
    morning.happen(left.client_order_id, *SENT)
    morning.happen(left.client_order_id, OrderEventKind.CANCELED)
    done = morning.work()
    assert (done.ended, done.said) == (1, (f"twap buy 40 KO ({late}) is cancelled: its session passed",))
    assert morning.parent(late).state is ParentState.CANCELLED
    assert morning.parent(early).state is ParentState.APPROVED, "its day has not come"


def test_a_word_on_an_order_that_is_not_there_is_refused(morning: Morning) -> None:
    with pytest.raises(OrderError, match="nobody"):
        set_parent(morning.context, "nobody", ParentEventKind.PAUSED, actor="ann", reason="news")


def test_an_order_whose_market_cannot_be_told_ends_or_stops_and_the_others_go_on(morning: Morning) -> None:
    """Without that, one symbol the broker does not know would keep every other order from being sent."""
    lost, kept = morning.approve("lost"), morning.approve("kept")
    unknown: set[str] = {lost}

    def market(parent: ParentOrder) -> MarketView:
        if parent.parent_id in unknown:
            raise BrokerError("ibkr", "200: no such security")
        return morning.market

    morning.slicer = Slicer(morning.context, DECIDED, TRADING, market)
    done = morning.work()
    assert morning.parent(lost).state is ParentState.CANCELLED and "no such security" in " ".join(done.said)
    assert morning.work().made == 1 and morning.parent(kept).state is ParentState.WORKING
    unknown.add(kept)
    assert "is paused: its market cannot be told" in " ".join(morning.work(1).said)
    assert morning.parent(kept).state is ParentState.PAUSED and morning.work(1) == Sliced(), "said once"
    unknown.clear()
    set_parent(morning.context, kept, ParentEventKind.RESUMED, actor="ann", reason="the market is back")
    assert morning.work(1).made == 1
    assert verify_ledger(morning.ledger).sound


def test_a_broker_that_is_away_ends_no_order(morning: Morning) -> None:
    parent_id = morning.approve()

    def away(parent: ParentOrder) -> MarketView:
        raise BrokerUnavailableError("ibkr", "the line is down")

    with pytest.raises(BrokerUnavailableError):
        Slicer(morning.context, DECIDED, TRADING, away).work(OPEN)
    assert morning.parent(parent_id).state is ParentState.APPROVED
