"""Minutes that have no bar: how many per symbol and session, and where they lie.

A missing minute is a fact about the data, not yet a fault: a quiet symbol has minutes without a trade.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.intraday.sessions import bar_end, regular, session_hours, with_sessions

_SERIES = ("vendor", "symbol")


def missing_minutes(
    bars: pl.DataFrame, calendar: ExchangeCalendar, sessions: tuple[date, date] | None = None
) -> pl.DataFrame:
    """Expected and present minutes of every vendor, symbol and session.

    Parameters
    ----------
    bars
        Rows of ``intraday_bars`` or ``intraday_quotes``. Bars outside regular hours do not count.
    sessions
        First and last session every symbol is expected in. Default: of each symbol, its own first to its last; a
        session in between without a single bar is missing whole.

    Returns
    -------
    polars.DataFrame
        ``vendor, symbol, session, minutes_expected, minutes_present, minutes_missing, gaps`` (runs of missing
        minutes), ``longest_gap`` (minutes), sorted.
    """
    expected = _expected(bars, calendar, sessions)
    runs = gap_runs(bars, calendar, sessions)
    gaps = runs.group_by(*_SERIES, "session").agg(
        pl.col("minutes").sum().alias("minutes_missing"),
        pl.len().cast(pl.Int64).alias("gaps"),
        pl.col("minutes").max().alias("longest_gap"),
    )
    total = (pl.col("closes_at") - pl.col("opens_at")).dt.total_seconds() / 60
    return (
        expected.join(gaps, on=[*_SERIES, "session"], how="left")
        .with_columns(minutes_expected=total)
        .with_columns(pl.col("minutes_missing", "longest_gap").fill_null(0.0), pl.col("gaps").fill_null(0))
        .with_columns(minutes_present=pl.col("minutes_expected") - pl.col("minutes_missing"))
        .select(*_SERIES, "session", "minutes_expected", "minutes_present", "minutes_missing", "gaps", "longest_gap")
        .sort(*_SERIES, "session")
    )


def gap_runs(bars: pl.DataFrame, calendar: ExchangeCalendar, sessions: tuple[date, date] | None = None) -> pl.DataFrame:
    """Every run of missing minutes, from the session's open to its close: see `missing_minutes`.

    Returns
    -------
    polars.DataFrame
        ``vendor, symbol, session, gap_start, gap_end`` (UTC, end not included) and ``minutes``, sorted.
    """
    expected = _expected(bars, calendar, sessions)
    present = _present(bars, calendar).select(*_SERIES, "session", "bar_start", bar_end().alias("bar_end"))
    # Behind the last bar of a session stands its close, so that a gap at the end is one like any other.
    closes = expected.select(*_SERIES, "session", bar_start="closes_at", bar_end="closes_at")
    opens = expected.select(*_SERIES, "session", "opens_at")
    ordered = pl.concat([present, closes]).sort(*_SERIES, "session", "bar_start", "bar_end")
    since = pl.col("bar_end").cum_max().shift(1).over(*_SERIES, "session")
    return (
        ordered.join(opens, on=[*_SERIES, "session"], how="inner", maintain_order="left")
        .with_columns(gap_start=pl.coalesce(since, "opens_at"), gap_end=pl.col("bar_start"))
        .filter(pl.col("gap_end") > pl.col("gap_start"))
        .select(
            *_SERIES,
            "session",
            "gap_start",
            "gap_end",
            minutes=(pl.col("gap_end") - pl.col("gap_start")).dt.total_seconds() / 60,
        )
    )


def _present(bars: pl.DataFrame, calendar: ExchangeCalendar) -> pl.DataFrame:
    bare = bars.select(*_SERIES, "bar_start", "seconds")
    return with_sessions(bare, "bar_start", calendar).filter(regular())


def _expected(bars: pl.DataFrame, calendar: ExchangeCalendar, sessions: tuple[date, date] | None) -> pl.DataFrame:
    """A row for every vendor, symbol and session in which bars are expected, with its hours."""
    present = _present(bars, calendar)
    if sessions is None:
        spans = present.group_by(*_SERIES).agg(first=pl.col("session").min(), last=pl.col("session").max())
    else:
        spans = bars.select(*_SERIES).unique().with_columns(first=pl.lit(sessions[0]), last=pl.lit(sessions[1]))
    if spans.is_empty():
        return spans.join(session_hours(calendar, date(2000, 1, 1), date(2000, 1, 1)), how="cross").clear()
    hours = session_hours(calendar, spans["first"].min(), spans["last"].max())  # type: ignore[arg-type]
    return (
        spans.join(hours, how="cross")
        .filter(pl.col("session").is_between("first", "last"))
        .select(*_SERIES, "session", "opens_at", "closes_at")
    )
