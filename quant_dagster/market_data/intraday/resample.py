"""Longer bars from shorter ones: aligned to the session's open, never over its end, nothing filled in.

A bucket holds what is there. How many minutes it should hold and how many it does stand beside its prices: for a
thinly traded symbol a minute without a trade is no error, and only the reader can tell which it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.intraday.sessions import SECONDS, regular, with_sessions

_BUCKET = ("vendor", "symbol", "session", "bar_start", "bar_end")
_COUNTS = ("minutes_expected", "minutes_present")


def resample_bars(bars: pl.DataFrame, minutes: int | None, calendar: ExchangeCalendar) -> pl.DataFrame:
    """Bars of ``minutes`` minutes, or one a session.

    Parameters
    ----------
    bars
        Rows of the lake table ``intraday_bars``, all of one length. Bars outside regular hours are left out.
    minutes
        Length of the buckets, from the session's open. The last one of a session ends with it, however long it is.
        None: a bar for each session.

    Returns
    -------
    polars.DataFrame
        By vendor, symbol and time: ``vendor, symbol, session, bar_start, bar_end, seconds``, the five price fields,
        ``minutes_expected`` and ``minutes_present``. The open is the first bar's, the close the last one's, the
        volume the sum. A high, low or volume that any bar of the bucket lacks is null. A bucket without any bar has
        no row.

    Raises
    ------
    ConfigurationError
        The bars are of several lengths, or ``minutes`` is no multiple of theirs.
    """
    rows = _bucketed(bars, minutes, calendar)
    whole = {name: pl.col(name).null_count() == 0 for name in ("high", "low", "volume")}
    grouped = rows.group_by(_BUCKET, maintain_order=True).agg(
        pl.col("open").first(),
        pl.when(whole["high"]).then(pl.col("high").max()).alias("high"),
        pl.when(whole["low"]).then(pl.col("low").min()).alias("low"),
        pl.col("close").last(),
        pl.when(whole["volume"]).then(pl.col("volume").sum()).alias("volume"),
        *_counts(),
    )
    return _finished(grouped, ("open", "high", "low", "close", "volume"))


def resample_quotes(quotes: pl.DataFrame, minutes: int | None, calendar: ExchangeCalendar) -> pl.DataFrame:
    """Best bid and ask over longer bars: see `resample_bars`.

    Sizes are those of the last quote. ``mid_time_weighted`` and ``spread_time_weighted`` weigh the closing quote of
    each bar by how long it stood: from its bar's start until the next bar that has a quote, or the bucket's end.
    They are as fine as the bars they are made of; bars that lack a side do not count, and null says that all did.
    """
    rows = _bucketed(quotes, minutes, calendar)
    until = pl.col("bar_start_source").shift(-1).over(_BUCKET).fill_null(pl.col("bar_end"))
    stood = (until - pl.col("bar_start_source")).dt.total_microseconds()
    both = pl.col("bid_close").is_not_null() & pl.col("ask_close").is_not_null()
    weighted = rows.with_columns(
        weight=pl.when(both).then(stood).otherwise(0),
        mid=(pl.col("bid_close") + pl.col("ask_close")) / 2.0,
        spread=pl.col("ask_close") - pl.col("bid_close"),
    )
    pieces: list[pl.Expr] = []
    for side in ("bid", "ask"):
        pieces += [
            pl.col(f"{side}_open").drop_nulls().first(),
            pl.col(f"{side}_high").max(),
            pl.col(f"{side}_low").min(),
            pl.col(f"{side}_close").last(),
            pl.col(f"{side}_size").last(),
        ]
    for name in ("mid", "spread"):
        mean = (pl.col(name) * pl.col("weight")).sum() / pl.col("weight").sum()
        pieces.append(pl.when(pl.col("weight").sum() > 0).then(mean).alias(f"{name}_time_weighted"))
    grouped = weighted.group_by(_BUCKET, maintain_order=True).agg(*pieces, *_counts())
    fields = [f"{side}_{field}" for side in ("bid", "ask") for field in ("open", "high", "low", "close", "size")]
    return _finished(grouped, (*fields, "mid_time_weighted", "spread_time_weighted"))


def _bucketed(rows: pl.DataFrame, minutes: int | None, calendar: ExchangeCalendar) -> pl.DataFrame:
    """Rows within regular hours, in order, with start and end of the bucket each falls into."""
    lengths = rows["seconds"].unique().to_list()
    if len(lengths) > 1:
        raise ConfigurationError(f"resampling bars of several lengths ({sorted(lengths)} s): choose one of them first")
    seconds = lengths[0] if lengths else 60
    if minutes is not None and (minutes < 1 or (minutes * 60) % seconds != 0):
        raise ConfigurationError(f"resampling bars of {seconds} s to {minutes} minutes: name a multiple of them")
    bare = rows.drop("opens_at", "closes_at", strict=False).rename({"session": "stored_session"})
    inside = with_sessions(bare, "bar_start", calendar).filter(regular())
    step = pl.lit(minutes * 60 * SECONDS if minutes is not None else None, pl.Int64)
    since_open = (pl.col("bar_start") - pl.col("opens_at")).dt.total_microseconds()
    start = pl.col("opens_at") + pl.duration(microseconds=since_open // step * step)
    end = pl.min_horizontal(start + pl.duration(microseconds=step), pl.col("closes_at"))
    whole_session = minutes is None
    return (
        inside.sort("vendor", "symbol", "bar_start")
        .with_columns(
            bar_start_source=pl.col("bar_start"),
            source_minutes=pl.col("minutes_present") if "minutes_present" in rows.columns else pl.col("seconds") / 60,
            bar_start=pl.col("opens_at") if whole_session else start,
            bar_end=pl.col("closes_at") if whole_session else end,
        )
        .with_columns(bar_length=(pl.col("bar_end") - pl.col("bar_start")).dt.total_seconds())
    )


def _counts() -> Sequence[pl.Expr]:
    return (
        (pl.col("bar_length").first() / 60).alias("minutes_expected"),
        pl.col("source_minutes").sum().cast(pl.Float64).alias("minutes_present"),
    )


def _finished(grouped: pl.DataFrame, fields: Sequence[str]) -> pl.DataFrame:
    seconds = (pl.col("bar_end") - pl.col("bar_start")).dt.total_seconds().cast(pl.Int32).alias("seconds")
    return grouped.select(*_BUCKET, seconds, *fields, *_COUNTS)
