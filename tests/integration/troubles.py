"""``python -m tests.integration.troubles``: what a person sees of each trouble with a gateway, said by the real daemon.

The gateway is away for ten minutes (of the connection's own clock, which runs fast here), resets for the day, has the
client id in use, a read-only login, a margin rejection, and a closed market.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from quant_dagster.execution import order_log
from quant_dagster.execution.gateway.gateway import Gateway
from tests.support.daemon import CASH, DURING, PRICES, DaemonScene, wait_for

Trouble = Callable[[Gateway, DaemonScene], list[str]]


def away_for_ten_minutes(gateway: Gateway, scene: DaemonScene) -> list[str]:
    """Tries wait 1, 2, 4 … 60 s; a fill of the gap is booked before anything is sent."""
    order_id = scene.approve("AAPL", 300)
    daemon = scene.start()
    scene.until(order_id, "accepted")
    clock = _Clock()
    daemon.connection._clock = clock
    daemon.connection._connected_at = daemon.connection._next_ping = clock.now
    gateway.refuse_connections(True)
    gateway.disconnect_all()
    gateway.fill(order_id, Decimal(300), Decimal("170.00"))
    scene.heard("ibkr reconnecting")
    began = clock.now
    while clock.now < began + 600:
        tries = daemon.connection.attempt
        clock.now += daemon.connection.seconds_to_next_try + 0.01
        wait_for(lambda tries=tries: daemon.connection.attempt > tries, "the next try")
    gateway.refuse_connections(False)
    clock.now += 70
    stands = _stands(scene, order_id, "filled")
    scene.heard("synced")
    return [stands]


def daily_reset(gateway: Gateway, scene: DaemonScene) -> list[str]:
    """The gateway forgets the day; nothing is sent again."""
    order_id = scene.approve("AAPL", 300)
    scene.start()
    scene.until(order_id, "accepted")
    gateway.fill(order_id, Decimal(300), Decimal("170.00"))
    scene.until(order_id, "filled")
    gateway.daily_reset(back_after=0.5)
    wait_for(lambda: sum("ibkr connected" in line for line in scene.lines) >= 2, "connected again", 30)
    return [_stands(scene, order_id, "filled"), f"orders at the broker: {len(gateway.orders())}"]


def wrong_client_id(gateway: Gateway, scene: DaemonScene) -> list[str]:
    """Another program uses the same client id."""
    with tempfile.TemporaryDirectory() as other, DaemonScene(Path(other), gateway) as first:
        first.start()
        first.heard("ibkr connected")
        scene.start()
        scene.heard("client id")
    return []


def read_only(gateway: Gateway, scene: DaemonScene) -> list[str]:
    """The login may look and not trade."""
    gateway.read_only(True)
    order_id = scene.approve("AAPL", 300)
    scene.start()
    return [_stands(scene, order_id, "rejected")]


def margin(gateway: Gateway, scene: DaemonScene) -> list[str]:
    """Error 201."""
    gateway.reject_next(201, "Order rejected - reason:The available funds are not sufficient for this order")
    order_id = scene.approve("AAPL", 300)
    scene.start()
    return [_stands(scene, order_id, "rejected")]


def market_closed(gateway: Gateway, scene: DaemonScene) -> list[str]:
    """Before the open orders wait; at the open they go out."""
    order_id = scene.approve("AAPL", 300)
    scene.start()
    scene.heard("market is closed")
    before = scene.order(order_id).status
    gateway.advance(timedelta(hours=1, minutes=31))
    return [f"order before the open: {before}", _stands(scene, order_id, "accepted")]


TROUBLES: dict[str, tuple[Trouble, datetime]] = {
    "gateway away for ten minutes": (away_for_ten_minutes, DURING),
    "daily reset": (daily_reset, DURING),
    "client id in use": (wrong_client_id, DURING),
    "read-only login": (read_only, DURING),
    "margin rejection (201)": (margin, DURING),
    "market closed": (market_closed, datetime(2019, 2, 11, 13, 0, tzinfo=UTC)),
}


def seen(name: str, home: Path) -> list[str]:
    """What a person sees of one trouble."""
    work, start = TROUBLES[name]
    patient = {"backoff_first_seconds": 1.0, "backoff_longest_seconds": 60.0} if work is away_for_ten_minutes else {}
    with (
        Gateway(prices=PRICES, start=start, cash=CASH) as gateway,
        DaemonScene(home, gateway, connection=patient) as scene,
    ):
        said = work(gateway, scene)
        return [*scene.lines, *said]


class _Clock:
    """Monotonic seconds that are moved by hand."""

    def __init__(self) -> None:
        self.now = 10_000.0

    def __call__(self) -> float:
        return self.now


def _stands(scene: DaemonScene, order_id: str, status: str) -> str:
    order = scene.until(order_id, status)
    with scene.ledger.read() as connection:
        payload, _ = order_log.newest_event(connection, order_id)
    reason = f": {payload['reason']}" if payload.get("reason") else ""
    name = f"order {order.side} {order.quantity:.0f} {order.symbol}"
    return f"{name}: {order.status}, {order.filled_quantity:.0f} filled{reason}"


def main() -> None:
    """Print all of them."""
    logging.disable(logging.CRITICAL)
    for name in sys.argv[1:] or TROUBLES:
        with tempfile.TemporaryDirectory() as home:
            lines = seen(name, Path(home))
        print(f"\n{name}")
        for line in lines:
            print(f"    {line}")


if __name__ == "__main__":
    main()
