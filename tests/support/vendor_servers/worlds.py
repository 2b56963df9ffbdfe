"""Each live vendor beside its loopback server, with packaged real prices: what tests of all vendors start from.

The prices are AAPL's, unadjusted, of 2000 to 2013 (bokeh_sampledata). Where a test needs minute bars or a crypto
market, the same real bars stand for minutes, or for the market's days: what is tested is how bars travel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from quant_dagster.market_data.vendors.embedded import EmbeddedVendor
from quant_dagster.market_data.vendors.protocol import ACTION_SCHEMA, MINUTE_SCHEMA, TRADE_SCHEMA, Vendor
from quant_dagster.market_data.vendors.registry import build_vendor
from quant_dagster.settings import LiveVendorSettings
from tests.support.vendor_servers.alpha_vantage import AlphaVantageServer
from tests.support.vendor_servers.base import KEY, VendorServer
from tests.support.vendor_servers.crypto import BinanceServer, CoinbaseServer, KrakenServer
from tests.support.vendor_servers.finnhub import FinnhubServer
from tests.support.vendor_servers.yahoo import YahooServer

NOW = datetime(2024, 3, 10, tzinfo=UTC)
FIRST, LAST = date(2012, 10, 1), date(2013, 2, 28)
"""A range of 102 sessions that every server has, Kraken's 720 bars included."""
MINUTES_FROM = datetime(2024, 3, 8, 14, 30, tzinfo=UTC)
MINUTES_UNTIL = MINUTES_FROM + timedelta(minutes=60)

# Apple's 2-for-1 split of 2005-02-28 and its first dividend since 1995, of 2012-08-09, 2.65 USD a share.
ACTIONS = pl.DataFrame(
    [("AAPL", date(2005, 2, 28), "split", 2.0, None), ("AAPL", date(2012, 8, 9), "dividend", None, 2.65)],
    schema=ACTION_SCHEMA,
    orient="row",
)

EQUITY = ("yfinance", "alpha_vantage", "finnhub")
CRYPTO = ("binance", "kraken", "coinbase")
LIVE = EQUITY + CRYPTO


@cache
def daily(symbol: str = "AAPL") -> pl.DataFrame:
    """AAPL's packaged bars under ``symbol``."""
    rows = EmbeddedVendor("embedded_bokeh").daily_bars(["AAPL"], date(2000, 1, 1), date(2013, 3, 1)).rows
    return rows.with_columns(pl.lit(symbol).alias("symbol"))


@cache
def minutes(symbol: str = "AAPL") -> pl.DataFrame:
    """60 of those bars, one a minute."""
    bars = daily(symbol).tail(60)
    starts = [MINUTES_FROM + timedelta(minutes=count) for count in range(60)]
    return bars.with_columns(pl.Series("bar_start", starts, dtype=MINUTE_SCHEMA["bar_start"])).select(
        list(MINUTE_SCHEMA)
    )


@cache
def trades(symbol: str = "BTC/USDT") -> pl.DataFrame:
    """60 trades, one a minute, at those bars' closes."""
    bars = minutes(symbol)
    columns = {
        "symbol": bars["symbol"],
        "trade_id": [str(5_000 + count) for count in range(60)],
        "traded_at": bars["bar_start"],
        "price": bars["close"],
        "size": bars["volume"] / 1e6,
        "side": ["buy", "sell"] * 30,
    }
    return pl.DataFrame(columns, schema=TRADE_SCHEMA)


BOOK = (1_027_024, [(430.47, 2.0), (430.40, 1.5)], [(430.58, 0.7), (431.0, 3.0)])


@dataclass(frozen=True)
class World:
    """A vendor and the server it was pointed at."""

    vendor: Any
    server: VendorServer
    symbol: str

    def operation(self, name: str) -> Callable[[], Any]:
        """``daily_bars``, ``minute_bars``, ``corporate_actions``, ``trades`` or ``order_book`` over these ranges."""
        arguments: dict[str, tuple[Any, ...]] = {
            "daily_bars": ([self.symbol], FIRST, LAST),
            "corporate_actions": (self.symbol, date(2000, 1, 3), LAST),
            "minute_bars": (self.symbol, MINUTES_FROM, MINUTES_UNTIL),
            "trades": (self.symbol, MINUTES_FROM, MINUTES_UNTIL),
            "order_book": (self.symbol, 2),
        }
        return lambda: getattr(self.vendor, name)(*arguments[name])


def server_of(name: str, **options: Any) -> VendorServer:
    """The server that plays the vendor ``name``, not yet listening; ``options`` replace the packaged content."""
    if name in CRYPTO:
        symbol = "BTC/USDT"
        kinds: dict[str, Any] = {"binance": BinanceServer, "kraken": KrakenServer, "coinbase": CoinbaseServer}
        content = {"rows": daily(symbol), "minutes": minutes(symbol), "trades": trades(symbol), "book": BOOK}
    else:
        kinds = {"yfinance": YahooServer, "alpha_vantage": AlphaVantageServer, "finnhub": FinnhubServer}
        content = {"rows": daily(), "minutes": minutes(), "actions": ACTIONS}
    server: VendorServer = kinds[name](**{**content, **options})
    return server


def vendor_at(
    name: str, server: VendorServer, *, now: datetime = NOW, timeout_seconds: float = 10.0, key: str = KEY
) -> Vendor:
    """The vendor ``name``, pointed at a listening server."""
    settings = LiveVendorSettings(api_key=key, base_url=server.base_url, timeout_seconds=timeout_seconds)
    return build_vendor(name, {"settings": settings, "clock": lambda: now})


def world_of(name: str, server: VendorServer, **options: Any) -> World:
    """The vendor and a listening server of its."""
    return World(vendor_at(name, server, **options), server, "BTC/USDT" if name in CRYPTO else "AAPL")
