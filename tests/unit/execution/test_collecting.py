"""What a broker may say late, twice, by halves or not at all, and what the ledger makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal

import pytest

from quant_dagster.accounting import books
from quant_dagster.errors import OrderError
from quant_dagster.execution import foreign, order_log
from quant_dagster.execution.broker import (
    Broker,
    BrokerOrder,
    Changes,
    LinkState,
    OrderReport,
    ReportedStatus,
)
from quant_dagster.execution.desk import ExecutionDesk, Settlement
from quant_dagster.execution.orders import Order, OrderEventKind, OrderStatus
from quant_dagster.execution.pricing import MarketPricing, Pricing, Quote
from quant_dagster.storage.ledger import Ledger
from tests.unit.execution.test_desk import approve, kinds, sound
from tests.unit.execution.test_paper import MONDAY, TUESDAY
from tests.unit.execution.told_broker import (
    SENT_AT,
    ToldBroker,
    accepted,
    at_broker,
    desk_of,
    execution,
    half_sent,
    report,
    status_of,
)


@pytest.fixture
def broker() -> ToldBroker:
    told = ToldBroker()
    as_broker: Broker = told
    assert as_broker.name == "told"
    return told


@pytest.fixture
def desk(ledger: Ledger, broker: ToldBroker) -> ExecutionDesk:
    return desk_of(ledger, broker)


# -- ends ----------------------------------------------------------------------------------------------------------


def test_an_end_that_is_told_twice_is_one_end(ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk) -> None:
    order_id = accepted(ledger, desk)
    broker.said = [report(order_id, ReportedStatus.EXPIRED)] * 2
    assert desk.settle(TUESDAY, {}) == Settlement(sent=0, fills=0, expired=1, rejected=0)
    assert desk.absorb(Changes(tuple(broker.said), (), ())).closed == 0
    assert kinds(ledger)[-2:] == ["accepted", "expired"]


def test_an_end_of_an_order_nobody_knows_and_of_a_later_session_changes_nothing(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    broker.said = [report(order_id, ReportedStatus.CANCELED)]
    assert desk.absorb(Changes((report("q-never", ReportedStatus.CANCELED),), (), ())).closed == 0
    assert desk.settle(MONDAY, {}) == Settlement(), "it is told of Tuesday"
    assert status_of(ledger, order_id) is OrderStatus.ACCEPTED


def test_an_end_waits_for_the_fills_it_speaks_of(ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk) -> None:
    order_id = accepted(ledger, desk)
    ended = report(order_id, ReportedStatus.CANCELED, filled=40)
    assert desk.absorb(Changes((ended,), (), ())).closed == 0
    assert desk.absorb(Changes((ended,), (execution(order_id, 40),), ())).closed == 1
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 40
    assert sound(ledger)


def test_what_the_broker_calls_filled_and_tells_less_of_was_taken_back(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    broker.executed = [execution(order_id, 60)]
    broker.said = [report(order_id, ReportedStatus.FILLED, filled=100)]
    assert desk.sync(TUESDAY).closed == 1
    assert status_of(ledger, order_id) is OrderStatus.CANCELED
    broker.executed.append(execution(order_id, 40, "e2"))
    desk.sync(TUESDAY)
    with ledger.read() as connection:
        assert books.holding_of(connection, "IBM").quantity == 100, "a fill that is told after all is booked"
    assert sound(ledger)


def test_a_fill_between_two_questions_is_no_fill_that_was_taken_back(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    broker.said = [report(order_id, ReportedStatus.FILLED, filled=100)]
    broker.meanwhile = lambda: broker.executed.append(execution(order_id))  # after executions were asked for
    assert desk.sync(TUESDAY).closed == 0
    assert status_of(ledger, order_id) is OrderStatus.ACCEPTED
    broker.meanwhile = lambda: None
    assert desk.sync(TUESDAY).booked.new == 1
    assert status_of(ledger, order_id) is OrderStatus.FILLED


class SlowToTell(ToldBroker):
    """A remote broker that says "filled" before it tells what was, and tells it when it is asked anew."""

    def refresh(self) -> None:
        self.asked.append(("refresh", ""))
        self.meanwhile()

    def open(self) -> None: ...

    def close(self) -> None: ...

    def ping(self, seconds: float) -> None: ...

    def link(self) -> LinkState:
        return LinkState.UP

    def changes(self, seconds: float) -> Changes:
        return Changes()

    def market_time(self) -> datetime:
        return SENT_AT

    def open_orders(self) -> list[BrokerOrder]:
        return self.working


def test_a_remote_broker_is_asked_anew_before_a_fill_counts_as_taken_back(ledger: Ledger) -> None:
    broker = SlowToTell()
    desk = desk_of(ledger, broker)
    order_id = accepted(ledger, desk)
    broker.said = [report(order_id, ReportedStatus.FILLED, filled=100)]
    broker.meanwhile = lambda: broker.executed.append(execution(order_id))
    assert desk.sync(TUESDAY).closed == 0 and ("refresh", "") in broker.asked
    assert status_of(ledger, order_id) is OrderStatus.ACCEPTED
    broker.meanwhile = lambda: None
    assert desk.sync(TUESDAY).booked.new == 1
    assert status_of(ledger, order_id) is OrderStatus.FILLED and sound(ledger)


# -- silence -------------------------------------------------------------------------------------------------------


def test_a_half_sent_day_order_is_over_with_its_day_and_not_before(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = half_sent(ledger, broker, desk)
    assert desk.sync(MONDAY).resolved == 0
    assert status_of(ledger, order_id) is OrderStatus.SUBMITTING
    assert desk.sync(TUESDAY).resolved == 1
    assert status_of(ledger, order_id) is OrderStatus.EXPIRED
    assert desk.submit(TUESDAY).sent == 0


def test_a_working_day_order_the_broker_forgot_is_over_with_its_day(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    assert desk.sync(MONDAY).closed == 0
    assert desk.sync(TUESDAY).closed == 1
    assert status_of(ledger, order_id) is OrderStatus.EXPIRED


def test_an_order_sent_nobody_knows_when_is_not_ended_by_silence(ledger: Ledger, broker: ToldBroker) -> None:
    desk = desk_of(ledger, broker, pricing=lambda order: Pricing())
    order_id = accepted(ledger, desk)
    assert desk.sync(TUESDAY).closed == 0
    assert status_of(ledger, order_id) is OrderStatus.ACCEPTED


def test_a_cancelled_order_that_never_reached_the_broker_is_over(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = half_sent(ledger, broker, desk)
    assert desk.cancel([order_id], MONDAY, reason="test") == 0, "it may be on its way"
    assert broker.asked[-1] == ("cancel", order_id)
    assert status_of(ledger, order_id) is OrderStatus.PENDING_CANCEL
    assert desk.cancel([order_id], MONDAY, reason="again") == 0
    assert kinds(ledger).count("pending_cancel") == 1
    assert desk.sync(MONDAY).closed == 1
    assert status_of(ledger, order_id) is OrderStatus.CANCELED


def test_a_cancellation_asked_for_again_is_asked_again_and_written_down_once(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    broker.said = [report(order_id)]
    for _ in range(2):
        assert desk.cancel([order_id], TUESDAY, reason="test") == 0
    assert broker.asked.count(("cancel", order_id)) == 2
    assert kinds(ledger).count("pending_cancel") == 1
    assert desk.sync(MONDAY).closed == 0, "the broker has it, and has not cancelled it"


def test_everything_of_ours_is_cancelled_at_the_broker_but_protective_stops(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    broker.working = [at_broker("q1"), at_broker("q2", order_type="stop"), at_broker("")]
    assert desk.cancel_at_broker(TUESDAY) == 1
    assert broker.asked == [("cancel", "q1")]


# -- changes -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_changed_is_not_asked_for(ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk) -> None:
    order_id = accepted(ledger, desk)
    desk.absorb(Changes((), (execution(order_id, 40),), ()))
    for quantity in (40, 101):
        with pytest.raises(OrderError, match=f"cannot become {quantity}"):
            desk.modify(order_id, TUESDAY, quantity=Decimal(quantity), limit_price=None)
    broker.capabilities = replace(broker.capabilities, modifies=False)
    with pytest.raises(OrderError, match="changes no orders"):
        desk.modify(order_id, TUESDAY, quantity=Decimal(80), limit_price=None)
    assert ("modify", order_id) not in broker.asked


def test_a_change_has_come_about_when_the_broker_works_the_order_so(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    changed = desk.modify(order_id, TUESDAY, quantity=Decimal(80), limit_price=None)
    assert changed.status is OrderStatus.PENDING_REPLACE, "the broker does not list it: nothing is concluded"
    broker.working = [at_broker(order_id, 80)]
    desk.absorb(Changes((), (), ()))
    with ledger.read() as connection:
        order = order_log.get(connection, order_id)
    assert (order.status, order.quantity) == (OrderStatus.ACCEPTED, 80)
    assert kinds(ledger)[-1] == "replaced"


def test_an_order_that_filled_while_its_change_was_looked_for_is_filled(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = accepted(ledger, desk)
    broker.working = [at_broker(order_id, 80)]

    def fills() -> None:
        broker.meanwhile = lambda: None
        desk.collector.enter([execution(order_id)])

    broker.meanwhile = fills
    changed = desk.modify(order_id, TUESDAY, quantity=Decimal(80), limit_price=None)
    assert changed.filled_quantity == 100
    assert changed.is_final
    assert sound(ledger)


# -- first words ---------------------------------------------------------------------------------------------------


def test_a_fill_that_overtook_the_first_word_is_not_undone_by_it(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    def filled_at_once(order: Order) -> OrderReport:
        desk.collector.enter([execution(order.client_order_id)])
        return report(order.client_order_id, broker_order_id="8")

    broker.first_word = filled_at_once
    order_id = approve(ledger)
    desk.submit(MONDAY)
    assert kinds(ledger) == ["approved", "submitting", "filled"]
    with ledger.read() as connection:
        assert order_log.get(connection, order_id).broker_order_id == "7", "what is over gets no new number"
    assert sound(ledger)


def test_a_fill_that_overtook_the_first_words_on_many_is_not_undone_by_them(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    order_id = half_sent(ledger, broker, desk)
    with ledger.read() as connection:
        order = order_log.get(connection, order_id)
    with desk.collector.at_once():
        desk.collector.acknowledge(order, report(order_id))
        desk.collector.acknowledge(order, report(order_id, ReportedStatus.SENT))
        assert status_of(ledger, order_id) is OrderStatus.SUBMITTING, "nothing is written down before the end"
        desk.collector.enter([execution(order_id)])
    assert kinds(ledger) == ["approved", "submitting", "filled"]


def test_the_broker_s_own_number_replaces_the_one_that_was_given_out(
    ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk
) -> None:
    broker.first_word = lambda order: report(order.client_order_id, broker_order_id="8")
    order_id = accepted(ledger, desk)
    with ledger.read() as connection:
        order = order_log.get(connection, order_id)
    assert (order.broker_order_id, order.sent_at) == ("8", SENT_AT)
    assert kinds(ledger) == ["approved", "submitting", "submitting", "accepted"]


def test_an_order_that_is_over_here_and_works_there_is_kept_for_a_person_even_where_lost_ones_are_taken_up(
    ledger: Ledger, broker: ToldBroker
) -> None:
    desk = desk_of(ledger, broker, orphans="adopt")
    order_id = accepted(ledger, desk)
    desk.absorb(Changes((report(order_id, ReportedStatus.CANCELED),), (), ()))
    broker.working = [at_broker(order_id)]
    assert desk.sync(MONDAY).orphans == 1
    assert status_of(ledger, order_id) is OrderStatus.CANCELED
    with ledger.read() as connection:
        (kept,) = foreign.unresolved(connection)
    assert kept["detail"]["reason"] == "it is closed in the ledger"


# -- prices --------------------------------------------------------------------------------------------------------


def priced(order: Order, quote: Quote | None, collar: float = 0.05) -> Pricing:
    return MarketPricing(
        lambda symbol: quote, lambda symbol: Decimal("0.01"), offset=0.001, collar=collar, now=lambda: SENT_AT
    )(order)


def test_an_order_goes_out_at_the_market_s_price_or_not_at_all(ledger: Ledger) -> None:
    order_id = approve(ledger)  # a market order, decided on at 200
    with ledger.read() as connection:
        market = order_log.get(connection, order_id)
    limit = replace(market, order_type="limit")
    assert priced(market, Quote(Decimal(199), Decimal(203))) == Pricing(None, Decimal(201), SENT_AT)
    assert priced(limit, Quote(last=Decimal(202))).limit_price == Decimal("202.20")
    assert priced(limit, Quote(bid=Decimal(199))).limit_price == Decimal("200.20"), "no middle: the decision price"
    assert priced(replace(limit, limit_price=Decimal(190)), None) == Pricing(Decimal(190), None, SENT_AT)
    assert "price_collar" in priced(market, Quote(last=Decimal(211))).refused


def test_an_order_that_moved_too_far_is_withdrawn_and_never_sent(ledger: Ledger, broker: ToldBroker) -> None:
    pricing = MarketPricing(
        lambda symbol: Quote(last=Decimal(250)), lambda symbol: Decimal("0.01"), offset=0.001, collar=0.05,
        now=lambda: SENT_AT,
    )  # fmt: skip
    desk, order_id = desk_of(ledger, broker, pricing=pricing), approve(ledger)
    assert desk.submit(MONDAY).sent == 0
    assert (status_of(ledger, order_id), broker.asked) == (OrderStatus.CANCELED, [])


def test_an_event_that_never_was_is_named(ledger: Ledger) -> None:
    order_id = approve(ledger)
    with ledger.read() as connection:
        with pytest.raises(OrderError, match=f"order {order_id} has no event pending_replace"):
            order_log.newest_event(connection, order_id, OrderEventKind.PENDING_REPLACE)
        with pytest.raises(OrderError, match=r"order nobody has no event$"):
            order_log.newest_event(connection, "nobody")
