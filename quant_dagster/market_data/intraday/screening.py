"""Which intraday rows are fit to store: real instants of real sessions, possible prices, one row per key.

As with daily prices, what is refused could not have been so whatever the market did; what merely looks wrong (a
crossed quote, a high below the low, an absurd ask) is stored.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.intraday.files import UNREAD
from quant_dagster.market_data.intraday.options import IntradayKind
from quant_dagster.market_data.intraday.sessions import SECONDS, bar_end, regular, with_sessions
from quant_dagster.storage.tables import TIMESTAMP, lake_table

INTRADAY_REASONS: dict[str, str] = {
    "outside_hours": "the bar or trade is not within the session's regular hours",
    "bar_not_ended": "the bar had not ended, or the trade not happened, when the row was loaded",
    "off_grid": "the bar does not start a whole number of bar lengths from the session's open",
    "no_quote": "the row has neither a bid nor an ask",
    "no_trade": "the trade has no price, no size or no id",
    "non_positive_size": "the size of a trade is zero or below",
    "unknown_side": "the side of a trade is neither buy nor sell",
    "duplicate_bar": "rows of the same key contradict each other",
}
"""Codes of refused intraday rows, beside those of daily ones (``screening.REASONS``)."""


def screen_rows(
    rows: pl.DataFrame,
    kind: IntradayKind,
    vendor: str,
    *,
    seconds: int,
    calendar: ExchangeCalendar,
    now: datetime,
    extended_hours: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows into those to store and those to refuse.

    A bar is known from its end, a trade from when it happened. Rows that repeat each other exactly count once; of
    rows that contradict each other none is taken.

    Parameters
    ----------
    rows
        As ``files.read_files`` gives them: symbol, time, numbers, source, row, unread.
    now
        The present (aware): bars not ended by then are refused.

    Returns
    -------
    rows, rejected
        In the shapes of the kind's lake table and of ``rejected_rows``.
    """
    at = kind.time_column
    length = 0 if kind is IntradayKind.TRADES else seconds
    timed = with_sessions(rows.with_columns(seconds=pl.lit(length, pl.Int32)), at, calendar)
    judged = _judge(timed, kind, calendar, now, extended_hours)
    fit, contradicting = _settle_repeats(judged.filter(pl.col("reason").is_null()), kind)
    refused = pl.concat([judged.filter(pl.col("reason").is_not_null()), contradicting])
    stored = fit.with_columns(pl.lit(vendor).alias("vendor"), bar_end(at).cast(TIMESTAMP).alias("known_at"))
    rejected = refused.with_columns(pl.lit(vendor).alias("vendor"), pl.lit(now).cast(TIMESTAMP).alias("known_at"))
    definition = lake_table(kind.table)
    return (
        stored.select(list(definition.schema)).sort(definition.order),
        rejected.select(list(lake_table("rejected_rows").schema)).sort("source", "row"),
    )


def _judge(
    rows: pl.DataFrame, kind: IntradayKind, calendar: ExchangeCalendar, now: datetime, extended_hours: bool
) -> pl.DataFrame:
    at = kind.time_column
    days = rows[at].dt.convert_time_zone(calendar.time_zone).dt.date()
    covered = rows.with_columns(
        pl.Series("outside", calendar.outside(days.to_numpy().astype("datetime64[D]"))) & days.is_not_null()
    )
    moment = pl.lit(now).cast(TIMESTAMP)
    local = pl.col(at).dt.convert_time_zone(calendar.time_zone)
    when = pl.format("{} {}", local.dt.strftime("%Y-%m-%d %H:%M:%S"), pl.lit(calendar.time_zone))
    tests: list[tuple[str | pl.Expr, pl.Expr, pl.Expr]] = [
        ("no_symbol", pl.col("symbol").is_null(), pl.lit("symbol is empty")),
        (
            pl.col(UNREAD).str.extract("^([a-z_]+):"),
            pl.col(UNREAD).is_not_null(),
            pl.col(UNREAD).str.replace("^[a-z_]+: ", ""),
        ),
        ("outside_calendar", pl.col("outside"), when),
        ("bar_not_ended", bar_end(at) > moment, pl.format("{}, loaded at {}", when, moment)),
        ("not_a_session", pl.col("session").is_null(), when),
        *_tests_of(kind),
    ]
    if not extended_hours:
        hours = pl.format(
            "{}, regular hours end at {}",
            when,
            pl.col("closes_at").dt.convert_time_zone(calendar.time_zone).dt.strftime("%H:%M"),
        )
        inside = regular(at) if kind is not IntradayKind.TRADES else _during(at)
        tests.append(("outside_hours", ~inside, hours))
    reasons = [pl.when(test).then(pl.lit(code) if isinstance(code, str) else code) for code, test, _ in tests]
    judged = covered.with_columns(reason=pl.coalesce(reasons))
    # Few rows are refused: only those are put into words.
    refused = judged.filter(pl.col("reason").is_not_null())
    details = pl.coalesce([pl.when(test).then(detail) for _, test, detail in tests])
    return pl.concat(
        [
            judged.filter(pl.col("reason").is_null()).with_columns(detail=pl.lit(None, pl.String)),
            refused.with_columns(detail=details),
        ]
    )


def _during(at: str) -> pl.Expr:
    # A closing auction is matched at the close or moments after it; nothing else trades then.
    return (pl.col(at) >= pl.col("opens_at")) & (pl.col(at) <= pl.col("closes_at"))


def _tests_of(kind: IntradayKind) -> list[tuple[str | pl.Expr, pl.Expr, pl.Expr]]:
    if kind is IntradayKind.TRADES:
        absent = pl.col("price").is_null() | pl.col("size").is_null() | (pl.col("trade_id").fill_null("") == "")
        side = pl.col("side").is_not_null() & ~pl.col("side").is_in(["buy", "sell"])
        return [
            ("no_trade", absent, pl.lit("price, size or trade_id is empty")),
            ("non_positive_price", pl.col("price") <= 0.0, pl.format("price is {}", "price")),
            ("non_positive_size", pl.col("size") <= 0.0, pl.format("size is {}", "size")),
            ("unknown_side", side, pl.format("side is '{}'", "side")),
        ]
    prices = [name for name in kind.numbers if name not in ("volume", "bid_size", "ask_size")]
    amounts = [name for name in kind.numbers if name not in prices]
    from_open = (pl.col("bar_start") - pl.col("opens_at")).dt.total_microseconds()
    tests: list[tuple[str | pl.Expr, pl.Expr, pl.Expr]] = [
        (
            "off_grid",
            from_open % (pl.col("seconds").cast(pl.Int64) * SECONDS) != 0,
            pl.format("bar of {} s starts at {}", "seconds", "bar_start"),
        )
    ]
    if kind is IntradayKind.BARS:
        tests.append(("no_close", pl.col("close").is_null(), pl.lit("close is empty")))
    else:
        neither = pl.col("bid_close").is_null() & pl.col("ask_close").is_null()
        tests.append(("no_quote", neither, pl.lit("bid_close and ask_close are empty")))
    tests += [("non_positive_price", pl.col(name) <= 0.0, pl.format(f"{name} is {{}}", name)) for name in prices]
    tests += [("negative_volume", pl.col(name) < 0.0, pl.format(f"{name} is {{}}", name)) for name in amounts]
    return tests


def _settle_repeats(rows: pl.DataFrame, kind: IntradayKind) -> tuple[pl.DataFrame, pl.DataFrame]:
    key = list(kind.key)
    repeated = rows.select(pl.struct(key).is_duplicated()).to_series()
    if not repeated.any():
        return rows, rows.clear()
    values = list(dict.fromkeys([*key, kind.time_column, *kind.numbers]))
    several = rows.filter(repeated).unique(values, keep="first", maintain_order=True)
    alone = ~pl.struct(key).is_duplicated()
    detail = pl.format("another row of {} at {} differs", "symbol", kind.time_column)
    contradicting = several.filter(~alone).select(key).unique()
    refused = rows.filter(repeated).join(contradicting, on=key, how="semi", maintain_order="left")
    return (
        pl.concat([rows.filter(~repeated), several.filter(alone)]),
        refused.with_columns(reason=pl.lit("duplicate_bar"), detail=detail),
    )
