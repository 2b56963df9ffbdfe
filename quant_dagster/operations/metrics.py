"""Metrics for Prometheus, worked out from the lake and the ledger at each scrape: nothing is counted twice or lost.

``quant metrics`` prints them; ``quant metrics --serve PORT`` serves them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_dagster.market_data import failover, quarantine
from quant_dagster.market_data.failover import GUARD_PREFIX
from quant_dagster.resilience.breaker_state import BreakerStatus, breaker_states
from quant_dagster.resilience.health import health
from quant_dagster.storage.tables import SUPERSEDED

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

BREAKER_VALUES = {BreakerStatus.CLOSED: 0, BreakerStatus.HALF_OPEN: 1, BreakerStatus.OPEN: 2}


class DeskCollector:
    """A Prometheus collector over one desk."""

    def __init__(self, context: TradingContext) -> None:
        self.context = context

    def collect(self) -> Iterator[Any]:
        """Every metric family, with the values of this moment."""
        self.context.ledger.upgrade()
        yield from self._history()
        yield from self._quality()
        yield from self._vendors()

    def _history(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        lake = self.context.lake
        raw = lake.read("raw_prices", columns=["vendor"], ordered=False)
        rows = CounterMetricFamily("price_history_rows", "Rows of raw prices in the lake.", labels=["vendor"])
        for vendor, count in raw.group_by("vendor").len().sort("vendor").iter_rows():
            rows.add_metric([vendor], count)
        yield rows
        bars = lake.read("bars", columns=["symbol", "session", "vendor", "row_hash"], ordered=False)
        missing = CounterMetricFamily(
            "data_missing_days",
            "Sessions without a bar between a symbol's first and the newest one.",
            labels=["symbol"],
        )
        for symbol, count in missing_days(self.context, bars).iter_rows():
            missing.add_metric([symbol], count)
        yield missing
        newest = bars["session"].max()
        age = GaugeMetricFamily("price_history_newest_session_timestamp_seconds", "Midnight UTC of the newest session.")
        if newest is not None:
            age.add_metric([], pl.Series([newest]).cast(pl.Datetime("ms")).dt.epoch("s")[0])
        yield age
        restated = CounterMetricFamily("price_restatements", "Values a vendor has changed after the fact.")
        restated.add_metric([], lake.read("raw_prices" + SUPERSEDED, columns=["vendor"], ordered=False).height)
        yield restated
        yield self._substitutes(bars)

    def _substitutes(self, bars: pl.DataFrame) -> Any:
        """Bars that are no vendor's row: there is no way to make one, and this proves it at every scrape."""
        from prometheus_client.core import CounterMetricFamily

        key = ["symbol", "session", "vendor", "row_hash"]
        lake = self.context.lake
        known = [lake.read(name, columns=key, ordered=False) for name in ("raw_prices", "raw_prices" + SUPERSEDED)]
        invented = bars.join(pl.concat(known), on=key, how="anti")
        family = CounterMetricFamily("substitute_prices_served", "Bars that no vendor sent. Always 0.")
        family.add_metric([], invented.height)
        return family

    def _quality(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        lake = self.context.lake
        newest = lake.read("quality", columns=["session"], ordered=False)["session"].max()
        family = GaugeMetricFamily("quality_score", "Quality score of the newest session, 0 to 1.", labels=["symbol"])
        if isinstance(newest, date):
            scores = lake.read("quality", columns=["symbol", "score"], start=newest, end=newest)
            for symbol, score in scores.sort("symbol").iter_rows():
                family.add_metric([symbol], score)
        yield family
        breaks = CounterMetricFamily("reconciliation_breaks", "Breaks between vendors.", labels=["break_class"])
        found = lake.read("reconciliation", columns=["break_class"], ordered=False)
        for name, count in found.group_by("break_class").len().sort("break_class").iter_rows():
            breaks.add_metric([name], count)
        yield breaks
        with self.context.ledger.read() as connection:
            held = quarantine.active(connection, self.context.now().date())
        family = GaugeMetricFamily("quarantined_symbols", "Symbols under quarantine.")
        family.add_metric([], len(held))
        yield family

    def _vendors(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        context = self.context
        names = [vendor.name for vendor in context.vendors]
        active = GaugeMetricFamily("vendor_active", "1 for the vendor in force.", labels=["asset_class", "vendor"])
        asset_class = context.universe.asset_class
        with context.ledger.read() as connection:
            chosen = failover.active_vendor(connection, asset_class, names)
        for name in names:
            active.add_metric([asset_class, name], int(name == chosen))
        yield active
        state = GaugeMetricFamily("breaker_state", "0 closed, 1 half-open, 2 open.", labels=["name"])
        for breaker in breaker_states(context.ledger):
            value = BREAKER_VALUES[breaker.status] if breaker.readable else BREAKER_VALUES[BreakerStatus.OPEN]
            state.add_metric([breaker.name], value)
        yield state
        score = GaugeMetricFamily("vendor_health_score", "0 unusable to 1.", labels=["vendor"])
        latency = GaugeMetricFamily("vendor_latency_seconds", "Median latency.", labels=["vendor"])
        remote = [GUARD_PREFIX + vendor.name for vendor in context.vendors if vendor.capabilities.remote]
        for name, one in health(context.ledger, remote, context.settings.market_data.failover).items():
            score.add_metric([name.removeprefix(GUARD_PREFIX)], one.score)
            if one.median_seconds is not None:
                latency.add_metric([name.removeprefix(GUARD_PREFIX)], one.median_seconds)
        yield score
        yield latency


def missing_days(context: TradingContext, bars: pl.DataFrame) -> pl.DataFrame:
    """Sessions without a bar per symbol (symbol, count), from its first bar to the newest session of all."""
    first, last = bars["session"].min(), bars["session"].max()
    if first is None or last is None:
        return pl.DataFrame(schema={"symbol": pl.String, "count": pl.Int64})
    sessions = pl.Series(context.calendar.sessions(first, last)).cast(pl.Date)  # type: ignore[arg-type]
    per = bars.group_by("symbol").agg(pl.col("session").min().alias("first"), pl.len().alias("present"))
    position = sessions.search_sorted(per["first"])
    expected = pl.Series("expected", len(sessions) - position.to_numpy())
    return (
        per.with_columns(expected)
        .select("symbol", (pl.col("expected") - pl.col("present")).cast(pl.Int64).alias("count"))
        .sort("symbol")
    )


def exposition(context: TradingContext) -> str:
    """Every metric in Prometheus' text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(DeskCollector(context))
    return generate_latest(registry).decode()


def serve(context: TradingContext, port: int) -> Any:
    """Serve ``/metrics`` on 127.0.0.1 in a thread; returns the server, to be shut down by the caller."""
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry(auto_describe=False)
    registry.register(DeskCollector(context))
    server, _ = start_http_server(port, addr="127.0.0.1", registry=registry)
    return server
