"""Actions inferred from the prices in the lake: which vendors can be compared, and what comes of it.

An inferred row's vendor is ``prices:`` and the sources whose prices show it. It counts as known from the close of the
last session that was looked at to find it, never earlier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import combinations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.market_data.calendars import ExchangeCalendar
from quant_dagster.market_data.corporate_actions.actions import TABLE, actions_known, dated
from quant_dagster.market_data.corporate_actions.adjustment import unadjusted_amounts
from quant_dagster.market_data.corporate_actions.confirmation import INFERRED, KEY, confirm, effective
from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.market_data.corporate_actions.splits import infer_splits
from quant_dagster.market_data.corporate_actions.steps import infer_from_pair
from quant_dagster.market_data.ingest import Contract
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import TABLES, TIMESTAMP

_COLUMNS = ("vendor", "symbol", "session", "open", "high", "low", "close", "volume")
_FOUND = ("vendor", "symbol", "session", "kind", "ratio", "amount", "until")
_REVISED_AMOUNT = 0.2


@dataclass(frozen=True)
class InferenceReport:
    """What inference did.

    Attributes
    ----------
    sources
        What was looked at: ``name`` for splits in one vendor's unadjusted prices, ``name/other`` for a pair.
    unexplained
        Level steps that are none of split, dividend and spin-off; not stored.
    """

    sources: tuple[str, ...]
    rows: pl.DataFrame
    unexplained: pl.DataFrame
    inserted: int
    changed: int
    unchanged: int


def infer(
    lake: Lake,
    levels: Mapping[str, PriceLevel],
    symbols: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
    *,
    calendar: ExchangeCalendar,
    now: datetime,
    contract: Contract,
) -> InferenceReport:
    """Infer actions from ``raw_prices`` and store them.

    Parameters
    ----------
    levels
        What each vendor's prices are adjusted for; vendors not named are not looked at.
    """
    wanted = pl.col("vendor").is_in(list(levels))
    prices = lake.read(
        "raw_prices", columns=_COLUMNS, symbols=symbols, start=start, end=end, where=wanted, ordered=False
    )
    known = actions_known(lake, symbols)
    splits = effective(known.filter(pl.col("origin") == "reported"), list(levels)).filter(pl.col("kind") == "split")
    sources, found = infer_from_prices(prices, levels, splits)
    explained = found.filter(pl.col("kind") != "unexplained")
    rows = contract(TABLE, _as_stored(explained, known, calendar, now))
    commit = lake.merge(TABLE, rows)
    return InferenceReport(
        sources=sources,
        rows=rows,
        unexplained=found.filter(pl.col("kind") == "unexplained"),
        inserted=commit.inserted,
        changed=commit.updated,
        unchanged=commit.unchanged,
    )


def infer_from_prices(
    prices: pl.DataFrame, levels: Mapping[str, PriceLevel], splits: pl.DataFrame | None = None
) -> tuple[tuple[str, ...], pl.DataFrame]:
    """Everything that the prices of several vendors show.

    Splits in each unadjusted series; dividends, spin-offs and splits in each pair of levels; what one of two vendors
    of the same adjusted level has missed. A dividend that another vendor of split-adjusted prices has adjusted for is
    a spin-off, for such vendors do not adjust for cash.

    Parameters
    ----------
    prices
        vendor, symbol, session and the five fields.
    splits
        Known splits (symbol, session, kind, ratio), by which amounts in split-adjusted prices become amounts per share
        of the time; beside those that are found.

    Returns
    -------
    sources, found
        Names of what was compared; and vendor, symbol, session, kind, ratio, amount, until.
    """
    series = {name: prices.filter(pl.col("vendor") == name) for name in levels}
    present = [name for name, rows in series.items() if rows.height]
    sources: list[str] = []
    frames: list[pl.DataFrame] = []
    for name in present:
        if levels[name] == PriceLevel.RAW:
            sources.append(name)
            ratio_only = infer_splits(series[name]).with_columns(
                pl.lit("split").alias("kind"), pl.lit(None, pl.Float64).alias("amount")
            )
            frames.append(_of(ratio_only, name))
    amounts_in_splits: list[pl.DataFrame] = []
    for first, second in combinations(present, 2):
        base, other = sorted((first, second), key=lambda name: levels[name])
        if levels[base] == levels[other] and levels[base] != PriceLevel.SPLIT:
            continue  # two raw series have no steps; of two total-return ones a step says too little
        sources.append(f"{base}/{other}")
        found = _of(infer_from_pair(series[base], series[other], levels[base], levels[other]), f"{base}/{other}")
        (frames if levels[base] == PriceLevel.RAW else amounts_in_splits).append(found)
    empty = pl.DataFrame(schema={**TABLES[TABLE].schema, "until": pl.Date()}).select(_FOUND)
    raw_found = pl.concat([empty, *frames])
    split_found = pl.concat([empty, *amounts_in_splits])
    if split_found.height:
        split_found = unadjusted_amounts(split_found, _splits_known(raw_found, splits))
    return tuple(sources), _spin_offs_named(pl.concat([raw_found, split_found])).sort("session", "symbol", "vendor")


def record_confirmations(
    lake: Lake, sessions: NDArray[np.datetime64], symbols: Sequence[str] | None = None
) -> pl.DataFrame:
    """Work out who confirms whom over the stored actions, store it in ``confirmed_by``, and return the report."""
    stored = actions_known(lake, symbols)
    report = confirm(stored, sessions)
    told = stored.drop("confirmed_by").join(
        report.select(*KEY, "confirmed_by"), on=list(KEY), how="left", maintain_order="left"
    )
    lake.merge(TABLE, told.select(list(TABLES[TABLE].schema)))
    return report


def _of(found: pl.DataFrame, source: str) -> pl.DataFrame:
    return found.with_columns(pl.lit(INFERRED + source).alias("vendor")).select(_FOUND)


def _splits_known(found: pl.DataFrame, splits: pl.DataFrame | None) -> pl.DataFrame:
    columns = ["symbol", "session", "kind", "ratio"]
    inferred = found.filter(pl.col("kind") == "split").select(columns)
    both = inferred if splits is None else pl.concat([splits.select(columns), inferred])
    near = both.unique(["symbol", "session"], keep="first", maintain_order=True)
    return near.with_columns(pl.lit(None, pl.Float64).alias("amount"))


def _spin_offs_named(found: pl.DataFrame) -> pl.DataFrame:
    """Dividends of about the amount of a spin-off found beside them, within a session or a weekend, are that."""
    spin_offs = found.filter(pl.col("kind") == "spin_off").select(
        "symbol", pl.col("session").alias("spin_session"), pl.col("amount").alias("spin_amount")
    )
    row = found.with_row_index("__row")
    meant = (
        row.filter(pl.col("kind") == "dividend")
        .join(spin_offs, on="symbol")
        .filter(
            ((pl.col("session") - pl.col("spin_session")).dt.total_days().abs() <= 3)
            & ((pl.col("amount") / pl.col("spin_amount")).log().abs() <= _REVISED_AMOUNT)
        )["__row"]
        .unique()
    )
    spun = pl.col("__row").is_in(meant.implode())
    return row.with_columns(pl.when(spun).then(pl.lit("spin_off")).otherwise("kind").alias("kind")).drop("__row")


def _as_stored(found: pl.DataFrame, known: pl.DataFrame, calendar: ExchangeCalendar, now: datetime) -> pl.DataFrame:
    days = found["until"].unique().to_list()
    closes = pl.DataFrame(
        {"until": days, "known_at": [calendar.close_time(day) for day in days]},
        schema={"until": pl.Date(), "known_at": TIMESTAMP},
    )
    rows = found.join(closes, on="until", how="left").drop("until")
    inferred = rows.with_columns(pl.lit("inferred").alias("origin"))
    return dated(inferred, known, now).unique(list(KEY), keep="first", maintain_order=True)
