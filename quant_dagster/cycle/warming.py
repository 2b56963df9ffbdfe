"""Warming: what the first cycle of a process or a machine would wait for, done before the market needs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING

from quant_dagster.market_data.ingest import load_panel

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def warm(context: TradingContext) -> list[tuple[str, float, str]]:
    """Compile and cache every kernel on the desk's own panel, load instruments, open the feature store.

    Returns
    -------
    list of (part, seconds, what)
        What was done. Nothing is stored but compiled code and the instrument master.
    """
    done: list[tuple[str, float, str]] = []

    def timed(part: str, work: Callable[[], str]) -> None:
        context.progress("warming", len(done), 5)
        begun = time.perf_counter()
        what = work()
        done.append((part, time.perf_counter() - begun, what))

    def instruments() -> str:
        return f"{len(context.instruments.symbols)} symbols"

    def features() -> str:
        from quant_dagster.features.compute import compute

        frame = compute(panel, context.universe.exchange)
        return f"{len(frame.names)} features over {len(panel.sessions)} sessions x {len(panel.symbols)} symbols"

    def forecasts(newest: date) -> str:
        from quant_dagster.cycle.modelling import forecast_panel

        few = load_panel(context.lake, context.symbols[:4], newest, lookback=context.settings.forecasting.window)
        run = forecast_panel(context, few)
        return f"{run.frame['model'].n_unique()} models fitted to {len(few.symbols)} symbols"

    def store() -> str:
        sample = context.feature_store.get_online(list(context.symbols[:1]), now=context.now())
        return f"online store answers with {sample.width - 2} features"

    newest = context.lake.read("bars", columns=["session"], symbols=context.symbols, ordered=False)["session"].max()
    timed("instruments", instruments)
    if isinstance(newest, date):
        begun = time.perf_counter()
        panel = load_panel(context.lake, context.symbols, newest)
        done.append(("panel", time.perf_counter() - begun, f"{len(panel.sessions)} sessions up to {newest}"))
        timed("features", features)
        timed("forecasts", lambda: forecasts(newest))
    timed("feature store", store)
    context.progress("warming", 5, 5)
    return done
