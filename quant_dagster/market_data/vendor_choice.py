"""Which vendor's row becomes the bar of a session, without ever mixing price levels.

Vendors adjust differently: one vendor's close of a session may be another's times four. So a symbol has a *home*
vendor at each session: the first in the universe's order that has had a row for it within the last ``HOME_DAYS``
days. Where home misses a session, the next vendor's row stands in for it, if the level between the two is known:

- they agreed on the close (within ``AGREEMENT``) over their last common sessions: taken as it is, ``agreed``;
- they differed by a stable factor: prices are multiplied by it, ``adjusted``, and the bar keeps the factor;
- the factor wandered, or there are too few common sessions: refused. The session stays missing and is scored so.

Where home itself changes, the first bar of the new one is ``agreed`` if the two were at one level, else
``unconfirmed``: what lies before and after it may stand at different levels. The choice at a session looks at nothing
after it, so a history loaded at once and one loaded day by day give the same bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

HOME_DAYS = 400
AGREEMENT = 0.005
LEVEL_DAYS = 14
"""Calendar days up to the last common session in which the level is measured: few, as each dividend moves it."""
FEWEST_COMMON = 3
"""Common sessions needed before prices are multiplied by a level."""
REACH_DAYS = HOME_DAYS + 14
"""Calendar days before a session that its choice depends on: the home vendor of the session before counts too."""
_KEY = ["symbol", "session"]
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Choice:
    """Rows chosen, with ``level_factor`` and ``vendor_change``.

    Attributes
    ----------
    stand_ins
        Rows of another vendor where home missed the session; ``adjusted`` of them were multiplied by a level.
    refused_stand_ins
        Rows not taken because their level is unknown.
    unconfirmed
        Sessions at which a symbol's home vendor changed without the two being at one level.
    """

    rows: pl.DataFrame
    stand_ins: int
    refused_stand_ins: int
    adjusted: int
    unconfirmed: int


def choose(raw: pl.DataFrame, vendors: Sequence[str], since: date) -> Choice:
    """One row for each symbol and session from ``since`` on.

    Parameters
    ----------
    raw
        Rows of ``raw_prices``, reaching ``REACH_DAYS`` before ``since``.
    vendors
        In order of preference; rows of others are left out.
    """
    ranked = raw.filter(pl.col("vendor").is_in(list(vendors))).sort("session")
    present = [vendor for vendor in vendors if (ranked["vendor"] == vendor).any()]
    if len(present) < 2:
        rows = _unmarked(ranked.filter(pl.col("session") >= since)).sort(_KEY)
        return Choice(rows, stand_ins=0, refused_stand_ins=0, adjusted=0, unconfirmed=0)
    rows_of = {vendor: ranked.filter(pl.col("vendor") == vendor) for vendor in present}
    homes = _with_home(ranked.select(_KEY).unique().sort(_KEY), rows_of)
    wanted = homes.filter(pl.col("session") >= since)
    at_home = _changes_marked(_at_home(wanted, rows_of), homes, rows_of)
    left = wanted.join(at_home, on=_KEY, how="anti")
    stand_ins, refused = [], 0
    for vendor in present:
        offered = left.filter(pl.col("home") != vendor).join(rows_of[vendor], on=_KEY, how="inner")
        fitted = pl.concat([_fitted(offered, rows_of[vendor], rows_of[home], home) for home in present])
        refused += offered.height - fitted.height
        stand_ins.append(fitted.select(at_home.columns))
        left = left.join(fitted, on=_KEY, how="anti")
    filled = pl.concat(stand_ins)
    rows = pl.concat([at_home, filled]).sort(_KEY)
    return Choice(
        rows,
        stand_ins=filled.height,
        refused_stand_ins=refused,
        adjusted=int((filled["vendor_change"] == "adjusted").sum()),
        unconfirmed=int((rows["vendor_change"] == "unconfirmed").sum()),
    )


def _unmarked(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(
        pl.lit(None, pl.Float64).alias("level_factor"), pl.lit(None, pl.String).alias("vendor_change")
    )


def _with_home(wanted: pl.DataFrame, rows_of: dict[str, pl.DataFrame]) -> pl.DataFrame:
    asked = wanted.sort("session", maintain_order=True)
    for vendor, rows in rows_of.items():
        seen = rows.select(*_KEY, pl.lit(vendor).alias(vendor))
        asked = asked.join_asof(
            seen, on="session", by="symbol", tolerance=timedelta(days=HOME_DAYS), check_sortedness=False
        )
    return asked.select(*_KEY, pl.coalesce(list(rows_of)).alias("home"))


def _at_home(wanted: pl.DataFrame, rows_of: dict[str, pl.DataFrame]) -> pl.DataFrame:
    taken = [
        wanted.filter(pl.col("home") == vendor).join(rows, on=_KEY, how="inner") for vendor, rows in rows_of.items()
    ]
    return _unmarked(pl.concat(taken))


def _changes_marked(at_home: pl.DataFrame, homes: pl.DataFrame, rows_of: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Say of the first session of a new home whether the old one was at the same level."""
    previous = homes.sort(_KEY).with_columns(pl.col("home").shift(1).over("symbol").alias("before"))
    changed = previous.filter(pl.col("before") != pl.col("home")).join(at_home.select(_KEY), on=_KEY, how="semi")
    columns = [name for name in at_home.columns if name != "home"]
    if changed.is_empty():
        return at_home.select(columns)
    verdicts = []
    for (new, old), group in changed.group_by(["home", "before"], maintain_order=True):
        levels = _levels(rows_of[str(new)], rows_of[str(old)])
        compared = group.sort("session").join_asof(
            levels, on="session", by="symbol", tolerance=timedelta(days=LEVEL_DAYS), check_sortedness=False
        )
        one_level = (pl.col("level") - 1.0).abs() <= AGREEMENT
        verdict = pl.when(one_level.fill_null(False)).then(pl.lit("agreed")).otherwise(pl.lit("unconfirmed"))
        verdicts.append(compared.select(*_KEY, verdict.alias("verdict")))
    marked = at_home.join(pl.concat(verdicts), on=_KEY, how="left")
    return marked.with_columns(pl.col("verdict").alias("vendor_change")).select(columns)


def _fitted(offered: pl.DataFrame, theirs: pl.DataFrame, ours: pl.DataFrame, home: str) -> pl.DataFrame:
    """Of the offered rows of symbols at ``home``, those whose level to it is known, at its level."""
    asked = _unmarked(offered.filter(pl.col("home") == home)).sort("session")
    if asked.is_empty():
        return asked
    symbols = asked["symbol"].unique()
    mine = [frame.filter(pl.col("symbol").is_in(symbols.to_list())) for frame in (theirs, ours)]
    tolerance = timedelta(days=HOME_DAYS - LEVEL_DAYS)
    compared = asked.join_asof(
        _levels(*mine), on="session", by="symbol", tolerance=tolerance, check_sortedness=False
    ).filter(pl.col("level").is_not_null())
    agreed = (pl.col("level") - 1.0).abs() <= AGREEMENT
    steady = pl.max_horizontal(
        (pl.col("high_level") / pl.col("level") - 1.0).abs(), (pl.col("low_level") / pl.col("level") - 1.0).abs()
    )
    adjusted = ~agreed & (steady <= AGREEMENT) & (pl.col("common") >= FEWEST_COMMON)
    # Shares count inversely to a split's factor, but not to a dividend's or a currency's: whichever fits the volumes.
    inverse = (pl.col("volume_level").log() + pl.col("level").log()).abs() < pl.col("volume_level").log().abs()
    kept = compared.filter(agreed | adjusted).with_columns(
        pl.when(~agreed).then("level").alias("level_factor"),
        pl.when(agreed).then(pl.lit("agreed")).otherwise(pl.lit("adjusted")).alias("vendor_change"),
        pl.when(~agreed & inverse.fill_null(False)).then(1.0 / pl.col("level")).otherwise(1.0).alias("volume_factor"),
    )
    factor = pl.col("level_factor").fill_null(1.0)
    return kept.with_columns(
        *(pl.col(name) * factor for name in _PRICES), pl.col("volume") * pl.col("volume_factor")
    ).select(asked.columns)


def _levels(theirs: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """At each common session: what their closes have to be multiplied by to be ours, over the days up to it."""
    common = theirs.select(*_KEY, pl.col("close").alias("their_close"), pl.col("volume").alias("their_volume")).join(
        ours.select(*_KEY, "close", "volume"), on=_KEY, how="inner"
    )
    ratio, window = pl.col("ratio"), f"{LEVEL_DAYS}d"
    volume_ratio = pl.when(pl.col("their_volume") > 0).then(pl.col("volume") / pl.col("their_volume"))
    measured = common.sort("session").with_columns(
        ratio=pl.col("close") / pl.col("their_close"), volume_ratio=volume_ratio
    )
    return measured.select(
        *_KEY,
        ratio.rolling_median_by("session", window).over("symbol").alias("level"),
        ratio.rolling_quantile_by("session", window, quantile=0.1).over("symbol").alias("low_level"),
        ratio.rolling_quantile_by("session", window, quantile=0.9).over("symbol").alias("high_level"),
        pl.col("volume_ratio").rolling_median_by("session", window).over("symbol").alias("volume_level"),
        ratio.is_not_null().cast(pl.Int64).rolling_sum_by("session", window).over("symbol").alias("common"),
    )
