"""Restated history: what vendors changed after the fact, and what has to be rebuilt because of it.

A restated row is stored as known from the day it was seen; the value before it stays in ``raw_prices_superseded`` and
``bars_superseded``. Scores and stored features of the sessions it can have touched are computed again; features that
come out different are added under the time of the restatement, so that a question about the past is still answered
with what was known then. Decisions are never made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.cycle.feature_history import features_between
from quant_dagster.errors import StorageError
from quant_dagster.features.definitions import View
from quant_dagster.features.offline import EVENT
from quant_dagster.storage.lake import Lake
from quant_dagster.storage.tables import SUPERSEDED

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_RATIO_TOLERANCE = 1e-4
_WHOLE_SHARE = 0.9
"""Share of a span's sessions that must have been restated for the span to count as rescaled."""
_MARKER = "restatements.json"


@dataclass(frozen=True)
class Rebuilt:
    """What a restatement led to.

    Attributes
    ----------
    bars, symbols
        Restated bars, and the symbols they are of.
    first
        The oldest restated session.
    sessions
        Sessions whose stored features were computed again.
    features
        Rows of features that came out different, over all views.
    """

    bars: int
    symbols: int
    first: date
    sessions: int
    features: int


def rebuild_restated(context: TradingContext) -> Rebuilt | None:
    """Rebuild what depends on bars restated since the last time this was done; None if there are none.

    How far it has come is kept beside the features: killed before the end, it is done again by the next run.
    """
    version = context.lake.version("bars")
    marker = context.home / "features" / _MARKER
    done = json.loads(marker.read_text(encoding="utf-8"))["bars_version"] if marker.is_file() else None
    if version is None or done == version:
        return None
    restated = None if done is None else _restated(context.lake, done)
    rebuilt = None
    if restated is not None and restated.height:
        first, known_at = restated["session"].min(), restated["known_at"].max()
        assert isinstance(first, date)
        assert isinstance(known_at, datetime)
        sessions, rows = _rebuild_features(context, first, known_at)
        rebuilt = Rebuilt(restated.height, restated["symbol"].n_unique(), first, sessions, rows)
    marker.parent.mkdir(parents=True, exist_ok=True)
    partial = marker.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps({"bars_version": version}), encoding="utf-8")
    partial.replace(marker)
    return rebuilt


def _restated(lake: Lake, since: int) -> pl.DataFrame:
    """Bars that have another value than in version ``since``; all that ever had one where its files are gone."""
    try:
        changes = lake.changes("bars", since)
    except StorageError:
        return lake.read("bars" + SUPERSEDED).with_columns(pl.col("superseded_at").alias("known_at"))
    return changes.filter(pl.col("change") == "updated")


def restatements(lake: Lake, symbols: Sequence[str] | None = None, since: date | None = None) -> pl.DataFrame:
    """Every value a vendor has changed: what it was, what it became, when.

    Returns
    -------
    polars.DataFrame
        vendor, symbol, session, close, new_close, ratio, kind, known_at, restated_at, newest first. ``kind`` is
        ``rescaled`` where a whole span of a symbol's sessions moved by one factor on that day (a split or dividend was
        applied to history), ``corrected`` otherwise.
    """
    old = lake.read("raw_prices" + SUPERSEDED, symbols=symbols, ordered=False)
    if since is not None:
        old = old.filter(pl.col("superseded_at").dt.date() >= since)
    key = ["vendor", "symbol", "session"]
    present = lake.read("raw_prices", symbols=symbols, ordered=False).join(old, on=key, how="semi")
    every = pl.concat([old.select(*key, "close", "known_at"), present.select(*key, "close", "known_at")])
    following = every.sort(*key, "known_at").with_columns(
        pl.col("close").shift(-1).over(key).alias("new_close"),
        pl.col("known_at").shift(-1).over(key).alias("restated_at"),
    )
    found = following.filter(pl.col("restated_at").is_not_null()).with_columns(
        (pl.col("new_close") / pl.col("close")).alias("ratio")
    )
    day = pl.col("restated_at").dt.date().alias("restated_on")
    batches = found.group_by("vendor", "symbol", day).agg(
        pl.col("session").min().alias("first"),
        pl.col("session").max().alias("last"),
        pl.len().alias("rows"),
        (pl.col("ratio").max() / pl.col("ratio").min() - 1.0).alias("spread"),
        (pl.col("ratio") - 1.0).abs().min().alias("least"),
    )
    sessions = lake.read("raw_prices", columns=["vendor", "symbol", "session"], symbols=symbols, ordered=False)
    stored = (
        sessions.join(batches, on=["vendor", "symbol"])
        .filter(pl.col("session").is_between("first", "last"))
        .group_by("vendor", "symbol", "restated_on")
        .agg(pl.len().alias("stored"))
    )
    one_factor = (pl.col("spread") < _RATIO_TOLERANCE) & (pl.col("least") > _RATIO_TOLERANCE)
    whole = (pl.col("rows") >= _WHOLE_SHARE * pl.col("stored")) & (pl.col("rows") > 1)
    kind = pl.when(one_factor & whole).then(pl.lit("rescaled")).otherwise(pl.lit("corrected")).alias("kind")
    kinds = batches.join(stored, on=["vendor", "symbol", "restated_on"], how="left").select(
        "vendor", "symbol", "restated_on", kind
    )
    told = found.with_columns(day).join(kinds, on=["vendor", "symbol", "restated_on"], how="left").drop("restated_on")
    return told.sort("restated_at", *key, descending=[True, False, False, False])


def _rebuild_features(context: TradingContext, first: date, known_at: datetime) -> tuple[int, int]:
    """Compute stored features from ``first`` on again; returns sessions looked at and rows that are news."""
    offline = context.feature_store.offline
    begin = context.calendar.close_time(first)
    stored = offline.known(View.RETURNS, begin, context.now())
    if stored.is_empty():
        return 0, 0
    days = stored[EVENT].dt.date().unique().sort()
    last = days.max()
    assert isinstance(last, date)
    rows = pl.concat(list(features_between(context, first, last))).filter(pl.col("session").is_in(days.implode()))
    rows = rows.with_columns(pl.max_horizontal("known_at", pl.lit(known_at).cast(pl.Datetime("us", "UTC"))))
    return days.len(), offline.write(rows)
