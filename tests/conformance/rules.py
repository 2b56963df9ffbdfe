"""What the desk relies on, one rule a function: it returns, fails, or says that the broker does not offer this."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.errors import BrokerError, BrokerUnavailableError
from quant_dagster.execution.broker import Execution, OrderReport, RemoteBroker, ReportedStatus
from quant_dagster.execution.orders import Order
from tests.conformance.brokers import TODAY, Harness, NotOfferedError
from tests.support.tws_gateway import wait_until

W, F, C = ReportedStatus.WORKING, ReportedStatus.FILLED, ReportedStatus.CANCELED
PART = Decimal("0.4")


def sent_twice_is_one_order(harness: Harness) -> None:
    """An order sent twice under one id is one order."""
    order = working(harness)
    harness.send(order)
    stands(harness, order, W)
    assert harness.orders_under(order.client_order_id) == 1


def sent_again_after_its_fill_is_one_order(harness: Harness) -> None:
    """An order sent again after it was filled is not traded again."""
    order = working(harness)
    harness.fill(order, order.quantity, price(harness))
    stands(harness, order, F)
    harness.send(order)
    assert stands(harness, order, F).filled_quantity == order.quantity
    assert harness.orders_under(order.client_order_id) == 1


def an_unknown_id_is_none(harness: Harness) -> None:
    """Of an id that was never sent, nothing is known: neither found, reported, executed nor cancelled."""
    name = harness.order("never").client_order_id
    assert harness.broker.find(name) is None
    assert harness.broker.reports([name]) == []
    assert harness.broker.executions([name]) == []
    assert harness.broker.cancel(name, TODAY) is None


def found_after_a_restart(harness: Harness) -> None:
    """A new process finds an order of the one before, by its id."""
    order = working(harness)
    harness.restart()
    assert stands(harness, order, W).filled_quantity == 0


def a_crash_before_the_answer_is_found(harness: Harness) -> None:
    """An order whose answer was never heard is found, and is not sent again."""
    order = harness.order()
    harness.send_unheard(order)
    harness.restart()
    assert stands(harness, order, W).filled_quantity == 0
    harness.send(order)
    assert harness.orders_under(order.client_order_id) == 1


def cancelled_before_a_fill(harness: Harness) -> None:
    """A working order can be cancelled, which is reported when it has happened."""
    order = working(harness)
    report = harness.broker.cancel(order.client_order_id, TODAY)
    assert report is not None and report.status in (W, C)
    assert stands(harness, order, C).filled_quantity == 0
    assert harness.broker.open_orders() == []


def cancelled_with_a_part_filled(harness: Harness) -> None:
    """Of an order cancelled after a part was filled, the part counts."""
    order = working(harness)
    harness.fill(order, order.quantity * PART, price(harness))
    executed(harness, order.quantity * PART)
    harness.broker.cancel(order.client_order_id, TODAY)
    assert stands(harness, order, C).filled_quantity == order.quantity * PART


def cancelled_too_late(harness: Harness) -> None:
    """An order that was filled stays filled when it is cancelled."""
    order = working(harness)
    harness.fill(order, order.quantity, price(harness))
    stands(harness, order, F)
    report = harness.broker.cancel(order.client_order_id, TODAY)
    assert report is not None and report.status is F
    assert stands(harness, order, F).filled_quantity == order.quantity


def partial_fills_add_up(harness: Harness) -> None:
    """Partial fills are told once each, under ids of their own, and add up; asked again they are the same."""
    order = working(harness)
    harness.fill(order, order.quantity * PART, price(harness))
    assert stands(harness, order, W).status is W
    harness.fill(order, order.quantity - order.quantity * PART, price(harness))
    stands(harness, order, F)
    found = executed(harness, order.quantity)
    assert len({one.execution_id for one in found}) == len(found) == 2
    assert [one.quantity for one in found] == [order.quantity * PART, order.quantity - order.quantity * PART]
    assert facts(harness.broker.executions([order.client_order_id])) == facts(found)


def amounts_are_exact(harness: Harness) -> None:
    """Quantities and prices are the decimals that were traded, with the order, side and session they belong to."""
    order = working(harness)
    harness.fill(order, order.quantity, price(harness))
    (one,) = executed(harness, order.quantity)
    assert isinstance(one.quantity, Decimal) and isinstance(one.price, Decimal)
    assert (one.quantity, one.price, one.side, one.symbol) == (
        order.quantity, price(harness), Side.BUY, order.symbol,
    )  # fmt: skip
    assert one.client_order_id == order.client_order_id and one.session >= TODAY and one.correction == 0


def commission_is_told(harness: Harness) -> None:
    """What an execution cost is told in the end."""
    order = working(harness)
    harness.fill(order, order.quantity, price(harness))
    executed(harness, order.quantity)
    wait_until(lambda: all(one.commission is not None for one in harness.broker.executions()))
    assert all((one.commission or 0) > 0 for one in harness.broker.executions())


def executions_of_an_earlier_process(harness: Harness) -> None:
    """Asked for everything, a new process is told of executions it never asked for."""
    order = working(harness)
    harness.fill(order, order.quantity, price(harness))
    before = executed(harness, order.quantity)
    after = harness.restart().executions()
    assert facts(after) == facts(before)


def trades_by_hand_are_told_as_nobodys(harness: Harness) -> None:
    """What somebody else orders and trades in the account is told after a refresh, and is not taken for ours."""
    quantity = harness.quantity * PART
    harness.trade_by_hand(quantity, price(harness))
    ours = working(harness)
    if isinstance(harness.broker, RemoteBroker):
        harness.broker.refresh()
    found = wait_until(harness.broker.executions)
    assert [one.quantity for one in found] == [quantity]
    assert found[0].client_order_id != ours.client_order_id
    orders = {one.client_order_id: one for one in harness.broker.open_orders()}
    assert len(orders) == 2 and orders[ours.client_order_id].filled_quantity == 0


def reports_of_many(harness: Harness) -> None:
    """Many orders are reported in one go, each as it stands; unknown ids are left out."""
    first, second = harness.prices
    orders = [working(harness, f"{number}", symbol=first) for number in range(3)]
    filled = working(harness, "other", symbol=second)
    harness.fill(filled, filled.quantity, harness.prices[second])
    stands(harness, filled, F)
    harness.broker.cancel(orders[0].client_order_id, TODAY)
    stands(harness, orders[0], C)
    names = [one.client_order_id for one in (*orders, filled)]
    reports = harness.broker.reports([*names, harness.order("never").client_order_id])
    assert {one.client_order_id: one.status for one in reports} == dict(zip(names, (C, W, W, F), strict=True))


def a_rejection_is_a_report(harness: Harness) -> None:
    """An order the venue refuses is reported as rejected, with the reason; it is no error."""
    order = harness.reject_next()
    report = harness.send(order)
    if report.status is ReportedStatus.SENT:
        report = stands(harness, order, ReportedStatus.REJECTED)
    assert report.status is ReportedStatus.REJECTED and report.reason
    assert harness.broker.open_orders() == []


def modified_in_place(harness: Harness) -> None:
    """A working order's quantity and limit can be changed, and it stays one order."""
    order = working(harness)
    smaller, lower = order.quantity * PART, price(harness) - 1
    if not harness.broker.capabilities.modifies:
        try:
            harness.broker.modify(order, quantity=smaller, limit_price=lower)
        except BrokerError as error:
            raise NotOfferedError(error.detail.split(":")[0]) from error
        raise AssertionError("it says that it modifies nothing, and takes a change")
    harness.broker.modify(order, quantity=smaller, limit_price=lower)

    def changed() -> bool:
        (there,) = harness.broker.open_orders()
        return (there.quantity, there.limit_price) == (smaller, lower)

    wait_until(changed)
    harness.fill(order, smaller, lower)
    assert stands(harness, order, F).filled_quantity == smaller
    assert harness.orders_under(order.client_order_id) == 1


def open_orders_are_named(harness: Harness) -> None:
    """Our working orders are listed under their ids, with side, quantities, type and limit."""
    order = working(harness)
    harness.fill(order, order.quantity * PART, price(harness))
    executed(harness, order.quantity * PART)
    (there,) = harness.broker.open_orders()
    assert (there.client_order_id, there.symbol, there.side) == (order.client_order_id, order.symbol, order.side)
    assert (there.quantity, there.filled_quantity) == (order.quantity, order.quantity * PART)
    assert (there.order_type, there.limit_price) == ("limit", order.limit_price)
    assert there.broker_order_id


def positions_are_the_executions(harness: Harness) -> None:
    """The account holds what was executed, sales taken off, and its cash changed by what that cost."""
    before = harness.broker.account()
    bought = working(harness)
    harness.fill(bought, bought.quantity, price(harness))
    stands(harness, bought, F)
    sold = working(harness, "sale", side=Side.SELL, quantity=bought.quantity * PART)
    harness.fill(sold, sold.quantity, price(harness))
    stands(harness, sold, F)
    executed(harness, bought.quantity + sold.quantity)
    wait_until(lambda: all(one.commission is not None for one in harness.broker.executions()))
    found = harness.broker.executions()
    account = harness.broker.account()
    held = sum((one.side.sign * one.quantity for one in found), Decimal(0))
    spent = sum((one.side.sign * one.quantity * one.price + (one.commission or 0) for one in found), Decimal(0))
    assert {name: amount for name, amount in account.positions.items() if amount} == {bought.symbol: held}
    assert before.cash[account.currency] - account.cash[account.currency] == spent


def unreachable_says_so(harness: Harness) -> None:
    """With the way closed every question raises, nothing is concluded, and afterwards all is as it was."""
    order = working(harness)
    harness.lose_connection()
    name, broker = order.client_order_id, harness.broker
    assert isinstance(broker, RemoteBroker)
    for ask in (lambda: broker.find(name), lambda: broker.find(harness.order("never").client_order_id),
                lambda: broker.reports([name]), broker.executions, broker.open_orders, broker.account,
                lambda: broker.cancel(name, TODAY), lambda: broker.ping(1), broker.refresh, broker.open):  # fmt: skip
        assert unavailable(ask), ask
    broker.changes(0.01)
    assert unavailable(lambda: harness.send(harness.order("while away")))
    harness.regain_connection()
    assert stands(harness, order, W).filled_quantity == 0
    assert harness.broker.find(harness.order("while away").client_order_id) is None


def filled_while_away(harness: Harness) -> None:
    """What was filled while the way was closed is told when it is open again."""
    order = working(harness)
    harness.lose_connection()
    harness.fill(order, order.quantity, price(harness))
    harness.regain_connection()
    assert stands(harness, order, F).filled_quantity == order.quantity
    executed(harness, order.quantity)


def changes_are_handed_over_once(harness: Harness) -> None:
    """News comes of its own accord, every execution and end of an order once."""
    if not isinstance(harness.broker, RemoteBroker):
        raise NotOfferedError("it says nothing of its own accord: it is asked")
    broker = harness.broker
    order = working(harness)
    broker.changes(0.05)
    harness.fill(order, order.quantity * PART, price(harness))
    harness.fill(order, order.quantity - order.quantity * PART, price(harness))
    heard: list[Execution] = []
    reports: list[OrderReport] = []

    def all_told() -> bool:
        news = broker.changes(0.05)
        heard.extend(news.executions)
        reports.extend(news.reports)
        whole = {one.execution_id: one for one in heard}
        return (
            sum(one.quantity for one in whole.values()) == order.quantity
            and all(one.commission is not None for one in whole.values())
            and any(one.status is F for one in reports)
        )

    wait_until(all_told)
    quiet = broker.changes(0.1)
    assert (quiet.executions, quiet.reports) == ((), ())
    # An execution may come once without and once with its commission, never twice the same.
    assert len(heard) == len({(one.execution_id, one.commission) for one in heard})
    assert len({one.execution_id for one in heard}) == 2


def advertised_types_are_taken(harness: Harness) -> None:
    """Every order type that is advertised is taken; market orders may trade at once."""
    bought = working(harness, "to sell")
    harness.fill(bought, bought.quantity, price(harness))
    stands(harness, bought, F)
    below = price(harness) * Decimal("0.9")
    terms = {"market": {"limit_price": None}, "limit": {}, "stop": {"limit_price": None, "stop_price": below}}
    part = harness.quantity * PART
    for kind in sorted(harness.broker.capabilities.order_types):
        order = harness.order(kind, order_type=kind, side=Side.SELL, quantity=part / 2, **terms[kind])
        harness.send(order)
        assert stands(harness, order, W, F).status in (W, F), kind
    assert harness.broker.capabilities.remote == isinstance(harness.broker, RemoteBroker)


# -- how ------------------------------------------------------------------------------------------------------------


def price(harness: Harness) -> Decimal:
    return harness.prices[harness.symbol]


def working(harness: Harness, intent: str = "one", **changed: object) -> Order:
    """An order that the venue has."""
    order = harness.order(intent, **changed)
    assert harness.send(order).status in (ReportedStatus.SENT, W)
    stands(harness, order, W)
    return order


def stands(harness: Harness, order: Order, *statuses: ReportedStatus) -> OrderReport:
    """Where an order stands, once it stands there."""

    def there() -> OrderReport | None:
        report = harness.broker.find(order.client_order_id)
        return report if report is not None and report.status in statuses else None

    found: OrderReport = wait_until(there)
    return found


def executed(harness: Harness, quantity: Decimal) -> list[Execution]:
    """All executions, once they add up."""

    def whole() -> list[Execution] | None:
        found = harness.broker.executions()
        return found if sum(one.quantity for one in found) == quantity else None

    found: list[Execution] = wait_until(whole)
    return found


def facts(executions: list[Execution]) -> list[tuple[object, ...]]:
    """What may never change; commissions come later."""
    return [(one.execution_id, one.client_order_id, one.quantity, one.price, one.executed_at) for one in executions]


def unavailable(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except BrokerUnavailableError:
        return True
    return False


BROKER_RULES: tuple[Callable[[Harness], None], ...] = (
    sent_twice_is_one_order,
    sent_again_after_its_fill_is_one_order,
    an_unknown_id_is_none,
    found_after_a_restart,
    a_crash_before_the_answer_is_found,
    cancelled_before_a_fill,
    cancelled_with_a_part_filled,
    cancelled_too_late,
    partial_fills_add_up,
    amounts_are_exact,
    commission_is_told,
    executions_of_an_earlier_process,
    trades_by_hand_are_told_as_nobodys,
    reports_of_many,
    a_rejection_is_a_report,
    modified_in_place,
    open_orders_are_named,
    positions_are_the_executions,
    unreachable_says_so,
    filled_while_away,
    changes_are_handed_over_once,
    advertised_types_are_taken,
)
