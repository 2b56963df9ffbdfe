"""Which of a vendor's rows are fit to store: real sessions, possible prices, one answer per symbol and session.

What is refused here could not be a price of that session whatever the market did. What merely looks wrong (high
below low, a wild return, no volume) is stored and scored by ``quality``.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.vendors.protocol import PRICE_FIELDS, REJECT_SCHEMA, VendorAnswer, row_hashes
from quant_dagster.storage.tables import TABLES, TIMESTAMP

REASONS: dict[str, str] = {
    "no_symbol": "the row names no symbol",
    "not_a_date": "the session cannot be read as a date",
    "not_a_time": "the time it became known cannot be read",
    "not_a_number": "a price or volume cannot be read as a finite number",
    "outside_calendar": "the date is before or after what the exchange calendar covers",
    "future_session": "the session had not closed when the row was loaded",
    "not_a_session": "the exchange did not trade on that day",
    "no_close": "the row has no close",
    "non_positive_price": "a price is zero or below",
    "negative_volume": "the volume is below zero",
    "known_before_close": "the row claims to have been known before the session closed",
    "known_in_future": "the row claims to become known after it was loaded",
    "duplicate_session": "rows of the same symbol and session contradict each other",
}
"""Codes of refused rows."""


def screen(answer: VendorAnswer, calendar: ExchangeCalendar, now: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split a vendor's answer into rows to store and rows to refuse.

    Rows that repeat each other exactly count once. Of rows that differ and say when they became known, the newest
    counts; if they do not say, or say the same, all of them are refused: nobody can tell which is right.

    Returns
    -------
    rows, rejected
        In the shapes of the lake tables ``raw_prices`` and ``rejected_rows``.
    """
    judged = _judge(answer.rows, calendar, now)
    unfit = judged.filter(pl.col("reason").is_not_null())
    fit, contradicting = _settle_repeats(judged.filter(pl.col("reason").is_null()))
    rows = fit.with_columns(
        pl.lit(answer.vendor).alias("vendor"), pl.coalesce("known_at", "close_time").cast(TIMESTAMP).alias("known_at")
    )
    refused = pl.concat([frame.select(list(REJECT_SCHEMA)) for frame in (answer.rejected, unfit, contradicting)])
    rejected = refused.with_columns(
        pl.lit(answer.vendor).alias("vendor"), pl.lit(now).cast(TIMESTAMP).alias("known_at")
    )
    return (
        rows.select(list(TABLES["raw_prices"].schema)).sort("session", "symbol"),
        rejected.select(list(TABLES["rejected_rows"].schema)).sort("source", "row"),
    )


def _judge(rows: pl.DataFrame, calendar: ExchangeCalendar, now: datetime) -> pl.DataFrame:
    """Rows with their closing time, their hash, and the first reason to refuse them (null: none)."""
    days = rows["session"].to_numpy().astype("datetime64[D]")
    timed = rows.with_columns(
        pl.Series("close_time", calendar.close_times(days)).cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
        pl.Series("outside", calendar.outside(days)),
        row_hashes(rows),
    )
    completed = calendar.latest_completed(now)
    verdict = _Verdict(
        ("outside_calendar", pl.col("outside"), pl.format("session {}", "session")),
        (
            "future_session",
            pl.col("session") > completed,
            pl.format("session {}, newest closed {}", "session", pl.lit(completed)),
        ),
        (
            "not_a_session",
            pl.col("close_time").is_null(),
            pl.format("{} is a {}", "session", pl.col("session").dt.strftime("%A")),
        ),
        ("no_close", pl.col("close").is_null(), pl.lit("close is empty")),
        *(
            ("non_positive_price", pl.col(field) <= 0.0, pl.format(f"{field} is {{}}", field))
            for field in PRICE_FIELDS[:-1]
        ),
        ("negative_volume", pl.col("volume") < 0.0, pl.format("volume is {}", "volume")),
        (
            "known_before_close",
            pl.col("known_at") < pl.col("close_time"),
            pl.format("known at {}, close {}", "known_at", "close_time"),
        ),
        ("known_in_future", pl.col("known_at") > pl.lit(now).cast(TIMESTAMP), pl.format("known at {}", "known_at")),
    )
    return verdict.of(timed)


class _Verdict:
    """The first of several conditions that holds, with its code and details."""

    def __init__(self, *tests: tuple[str, pl.Expr, pl.Expr]) -> None:
        self._tests = tests

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        reasons = [pl.when(condition).then(pl.lit(code)) for code, condition, _ in self._tests]
        details = [pl.when(condition).then(detail) for _, condition, detail in self._tests]
        return rows.with_columns(reason=pl.coalesce(reasons), detail=pl.coalesce(details))


def _settle_repeats(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    key = ["symbol", "session"]
    repeated = rows.select(pl.struct(key).is_duplicated()).to_series()
    if not repeated.any():
        return rows, rows.clear()
    alone_rows, rows = rows.filter(~repeated), rows.filter(repeated)
    once = rows.unique([*key, "row_hash", "known_at"], keep="first", maintain_order=True)
    newest = once.filter((pl.col("known_at") == pl.col("known_at").max()).over(key) | pl.col("known_at").is_null())
    alone = pl.col("row_hash").n_unique().over(key) == 1
    contradicting = newest.filter(~alone).select(key).unique()
    fit = newest.filter(alone).unique(key, keep="first", maintain_order=True)
    detail = pl.format("close is {}; another row of {} on {} differs", "close", "symbol", "session")
    refused = rows.join(contradicting, on=key, how="semi")
    return pl.concat([alone_rows, fit]), refused.with_columns(reason=pl.lit("duplicate_session"), detail=detail)


def rejected_summary(rejected: pl.DataFrame) -> dict[str, int]:
    """How many rows were refused for each reason, most frequent first."""
    counts = rejected.group_by("reason").len().sort(["len", "reason"], descending=[True, False])
    return dict(counts.iter_rows())
