"""Real bars of two vendors for a few symbols, as rows and as panels."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import polars as pl

from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.quality.score import Scores
from tests.support.market_data import shared_data
from tests.unit.quality.planted_faults import aligned, read_rows

YAHOO, NASDAQ = "us_daily_yahoo_2014_2024.parquet", "us_daily_nasdaqcom_2014_2024.parquet"


def two_vendors(symbols: list[str], first: date, last: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of both vendors."""
    wanted = pl.col("symbol").is_in(symbols) & pl.col("session").is_between(first, last)
    ours, theirs = (read_rows(shared_data(name)).filter(wanted) for name in (YAHOO, NASDAQ))
    return ours, theirs


def two_panels(symbols: list[str], first: date, last: date) -> tuple[Panel, Panel]:
    """Panels of both vendors, aligned."""
    ours, theirs = two_vendors(symbols, first, last)
    panel = Panel.from_bars(ours, symbols)
    return panel, aligned(theirs, panel)


def cell(panel: Panel, session: date, symbol: str) -> tuple[int, int]:
    """Row and column of a bar."""
    row = int(np.searchsorted(panel.sessions, np.datetime64(session)))
    assert panel.sessions[row] == np.datetime64(session)
    return row, panel.symbols.index(symbol)


def changed(panel: Panel, session: date, symbol: str, **fields: float) -> Panel:
    """The panel with fields of one bar replaced."""
    arrays = {name: getattr(panel, name).copy(order="F") for name in FIELDS}
    for name, value in fields.items():
        arrays[name][cell(panel, session, symbol)] = value
    return dataclasses.replace(panel, **arrays)


def bar(panel: Panel, session: date, symbol: str) -> dict[str, float]:
    """The five fields of one bar."""
    return {name: float(getattr(panel, name)[cell(panel, session, symbol)]) for name in FIELDS}


def issues(scores: Scores, panel: Panel, session: date, symbol: str) -> set[str]:
    """Codes of what was found on one bar."""
    from quant_dagster.quality.score import PENALTIES

    return {issue for issue in PENALTIES if scores.has(issue)[cell(panel, session, symbol)]}
