"""Features of past sessions: computed on the whole panel at once, each with the time it could first be known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.errors import DataUnavailableError
from quant_dagster.features.compute import FeatureFrame, compute, to_long
from quant_dagster.market_data.ingest import load_panel

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext


def build_features(context: TradingContext, start: date, end: date) -> tuple[int, int]:
    """Store the features of every session from ``start`` to ``end``; returns rows computed and rows that are news.

    What is stored already and comes out the same is left alone.

    Raises
    ------
    DataUnavailableError
        There is no bar in that range.
    """
    rows = pl.concat(list(features_between(context, start, end)), how="vertical")
    if rows.is_empty():
        raise DataUnavailableError("every symbol", "lake table bars", start, end, "run 'quant backfill' first")
    return rows.height, context.feature_store.write_offline(rows)


def features_between(context: TradingContext, start: date, end: date) -> Iterator[pl.DataFrame]:
    """Long features of every session from ``start`` to ``end``, with the time each could first be known.

    A session's ranks are among its own members, so that there is one computation for each run of sessions with the same
    members.
    """
    sessions = context.calendar.session_dates(start, end)
    for symbols, run in groupby(sessions, key=context.symbols_on):
        days = list(run)
        if symbols:
            frame = compute(load_panel(context.lake, symbols, days[-1]), context.universe.exchange)
            yield feature_rows(context, frame, days[0], days[-1])


def feature_rows(context: TradingContext, frame: FeatureFrame, start: date, end: date) -> pl.DataFrame:
    """Long features of a range of sessions, each with the time its newest bar became known."""
    days = frame.sessions.astype(object)
    wanted = [position for position, day in enumerate(days) if start <= day <= end]
    if not wanted:
        return to_long(frame, slice(0, 0)).with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("known_at"))
    rows = to_long(frame, slice(wanted[0], wanted[-1] + 1))
    known = context.lake.read(
        "bars", columns=["symbol", "session", "known_at"], symbols=frame.symbols, end=end, ordered=False
    ).sort("session")
    known = known.with_columns(pl.col("known_at").cum_max().over("symbol"))
    return rows.join(known, on=["symbol", "session"], how="left", maintain_order="left")
