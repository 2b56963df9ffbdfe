"""Panels of real, packaged prices: four stocks with all fields (one listed late) and twenty with closes only."""

from __future__ import annotations

from datetime import date
from functools import cache

import numpy as np
import polars as pl

from quant_dagster.market_data.panel import FIELDS, Panel


@cache
def bars() -> pl.DataFrame:
    """Long bars 1990-2022; open, high, low and volume are null where the data set has closes only."""
    from bokeh_sampledata import stocks
    from skfolio.datasets import load_sp500_dataset

    frames = []
    for symbol in ("AAPL", "GOOG", "IBM", "MSFT"):
        data = getattr(stocks, symbol)
        fields = {field: pl.Series(data[field], dtype=pl.Float64, strict=False) for field in FIELDS}
        sessions = pl.Series(data["date"]).str.to_date("%Y-%m-%d")
        frames.append(pl.DataFrame({"symbol": [symbol] * len(sessions), "session": sessions, **fields}))
    closes = load_sp500_dataset()
    for symbol in closes.columns.difference(["AAPL", "MSFT"]):
        absent = pl.Series([None] * len(closes), dtype=pl.Float64)
        fields = dict.fromkeys(FIELDS, absent) | {"close": pl.Series(closes[symbol].to_numpy())}
        sessions = pl.Series(closes.index.to_numpy()).cast(pl.Date)
        frames.append(pl.DataFrame({"symbol": [symbol] * len(sessions), "session": sessions, **fields}))
    return pl.concat(frames)


@cache
def mixed_panel(start: date = date(2004, 1, 2), end: date = date(2006, 6, 30)) -> Panel:
    """22 symbols; GOOG starts on 2004-08-19, 18 symbols have closes only."""
    return Panel.from_bars(bars().filter(pl.col("session").is_between(start, end)))


def with_gaps(panel: Panel, share: float, seed: int) -> Panel:
    """The panel with a share of its bars taken out at random, whole bars or single fields."""
    random = np.random.default_rng(seed)
    whole = random.random(panel.close.shape) < share
    fields = {}
    for field in FIELDS:
        single = random.random(panel.close.shape) < share / 4
        fields[field] = np.asfortranarray(np.where(whole | single, np.nan, getattr(panel, field)))
    return Panel(sessions=panel.sessions, symbols=panel.symbols, **fields)


def one_symbol(**fields: list[float]) -> Panel:
    """A panel of one symbol from lists; fields not given are absent. Sessions are weekdays from 2009-12-14."""
    length = len(fields["close"])
    days = np.busday_offset("2009-12-14", np.arange(length), roll="forward").astype("datetime64[D]")
    columns = {
        field: np.asfortranarray(np.array(fields.get(field, [np.nan] * length), dtype=float)[:, None])
        for field in FIELDS
    }
    return Panel(sessions=days, symbols=("X",), **columns)
