"""The execution sensor: approved orders become a fills run, once per set of orders and state of the market."""

import hashlib
from datetime import date
from typing import Any

import dagster as dg

from assets.trading import REPLAY_TAG
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.handover import handed_over
from quant_dagster.execution import order_log
from quant_dagster.execution.broker import RemoteBroker
from quant_dagster.execution.orders import Order, OrderStatus
from resources.desk import DeskResource


def execution_sensor(job: Any) -> dg.SensorDefinition:
    """Watches the ledger, not Dagster, for orders to send and orders that can fill."""

    @dg.sensor(
        job=job,
        name="execution_sensor",
        minimum_interval_seconds=30,
        description="Starts the fills job when orders are approved and unsent, or when bars have come in that working "
        "orders can meet; not where the trading daemon runs, whose work that is. Racing ticks converge: the run key is "
        "strategy, session and the set of orders.",
    )
    def sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
        trading = desk.open()
        if handed_over(trading):
            return dg.SkipReason("the trading daemon sends orders and collects fills")
        requests = run_requests(trading)
        if not requests:
            return dg.SkipReason("no approved order waits to be sent, and no working order can fill yet")
        return dg.SensorResult(run_requests=requests)

    return sensor


def run_requests(trading: TradingContext) -> list[dg.RunRequest]:
    """At most one run to send approved orders, and one to collect fills; none where the trading daemon does both.

    A simulated venue fills against the first session whose bars have come in. A remote broker fills by itself: its
    executions are collected once a session is over, and orders of a session that is not the newest are never sent.
    """
    trading.ledger.upgrade()
    if handed_over(trading):
        return []
    with trading.ledger.read() as connection:
        orders = order_log.with_status(connection, order_log.OPEN)
    if not orders:
        return []
    remote = isinstance(trading.broker, RemoteBroker)
    newest = trading.calendar.latest_completed(trading.now()) if remote else None
    unsent = [order for order in orders if order.status in (OrderStatus.APPROVED, OrderStatus.SUBMITTING)]
    if newest is not None:
        unsent = [order for order in unsent if order.session == newest]
        if not unsent:
            orders = [order for order in orders if order.status is not OrderStatus.APPROVED]
    if unsent:
        return [_request(trading, max(order.session for order in unsent), unsent, "send")]
    if not orders:
        return []
    oldest = min(order.session for order in orders)
    if newest is not None:
        return [_request(trading, newest, orders, "settle")] if newest > oldest else []
    days = trading.lake.read("bars", columns=["session"], symbols=trading.symbols, start=oldest, ordered=False)
    later = sorted(day for day in set(days["session"].to_list()) if day > oldest)
    return [_request(trading, later[0], orders, "settle")] if later else []


def _request(trading: TradingContext, session: date, orders: list[Order], phase: str) -> dg.RunRequest:
    ids = ",".join(sorted(f"{order.client_order_id}:{order.events}" for order in orders))
    digest = hashlib.sha256(ids.encode()).hexdigest()[:16]
    return dg.RunRequest(
        run_key=f"{trading.settings.strategy}:{session}:{digest}:{phase}",
        partition_key=session.isoformat(),
        tags={REPLAY_TAG: "true", "quant/orders": str(len(orders)), "quant/phase": phase},
    )
