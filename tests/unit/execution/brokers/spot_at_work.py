"""Orders for the loopback venue, its clock, and brokers that are connected to it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.execution.brokers.binance_spot import BinanceSpotBroker
from quant_dagster.execution.orders import Order, client_order_id
from quant_dagster.settings import BinanceSpotSettings, ConnectionSettings
from tests.support.binance_spot_server import KEY, SECRET, BinanceSpotServer

TODAY = date(2024, 1, 2)
WINDOW_MS = 400


def name_of(intent: str) -> str:
    return client_order_id("trend", TODAY, "BTC/USDT", intent)


Q1 = name_of("one")


def order(name: str = Q1, quantity: str = "0.5", limit: str | None = "42000", **changed: Any) -> Order:
    fields: dict[str, Any] = {
        "client_order_id": name, "decision_id": None, "strategy": "trend", "session": TODAY, "symbol": "BTC/USDT",
        "side": Side.BUY, "quantity": Decimal(quantity), "order_type": "limit" if limit else "market",
        "time_in_force": "gtc", "decision_price": Decimal(42000), "created_at": datetime(2024, 1, 2, tzinfo=UTC),
        "limit_price": None if limit is None else Decimal(limit),
    }  # fmt: skip
    return Order(**fields | changed)


class Clock:
    """Waits are noted and moved through, on the venue's clock and ours."""

    def __init__(self, venue: BinanceSpotServer) -> None:
        self.venue, self.waited, self.skew = venue, [], timedelta(0)  # type: ignore[var-annotated]

    def now(self) -> datetime:
        return self.venue.now() + self.skew

    def monotonic(self) -> float:
        return (self.venue.now() - datetime(2024, 1, 1, tzinfo=UTC)).total_seconds()

    def sleep(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.venue.advance(seconds)


def broker_of(
    venue: BinanceSpotServer, clock: Clock | None = None, *, opened: bool = True, **options: Any
) -> BinanceSpotBroker:
    clock = clock or Clock(venue)
    settings: dict[str, Any] = {"base_url": venue.base_url, "api_key": KEY, "api_secret": SECRET,
                                "receive_window_ms": options.pop("window", WINDOW_MS)}  # fmt: skip
    broker = BinanceSpotBroker(
        BinanceSpotSettings(**settings | options.pop("settings", {})),
        ConnectionSettings(answer_seconds=options.pop("answer", 2.0)),
        session_of=lambda at: at.date(), now=clock.now, sleep=clock.sleep, clock=clock.monotonic,
        **{"symbols": lambda: ("BTC/USDT", "ETH/USDT"), "settling_seconds": 0.1, "poll_seconds": 0.01} | options,
    )  # fmt: skip
    if opened:
        broker.open()
    return broker
