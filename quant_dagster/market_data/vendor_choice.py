"""Which vendor's row becomes the bar of a session, without ever mixing price levels.

Vendors adjust differently: one vendor's close of a session may be another's times four. So a symbol has a *home*
vendor at each session: the first in the universe's order that has had a row for it within the last
``HOME_DAYS`` days. Where home misses a session, the next vendor's row is taken only if the two agreed on the close
within ``AGREEMENT`` at the last session both had. The choice at a session looks at nothing after it, so a history
loaded at once and one loaded day by day give the same bars.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

HOME_DAYS = 400
AGREEMENT = 0.005
_KEY = ["symbol", "session"]


@dataclass(frozen=True)
class Choice:
    """Rows chosen, how many of them stand in for a home vendor that missed the session, and how many were refused."""

    rows: pl.DataFrame
    stand_ins: int
    refused_stand_ins: int


def choose(raw: pl.DataFrame, vendors: Sequence[str], since: date) -> Choice:
    """One row for each symbol and session from ``since`` on.

    Parameters
    ----------
    raw
        Rows of ``raw_prices``, reaching ``HOME_DAYS`` before ``since``.
    vendors
        In order of preference; rows of others are left out.
    """
    ranked = raw.filter(pl.col("vendor").is_in(list(vendors))).sort("session")
    present = [vendor for vendor in vendors if (ranked["vendor"] == vendor).any()]
    if len(present) < 2:
        return Choice(ranked.filter(pl.col("session") >= since).sort(_KEY), stand_ins=0, refused_stand_ins=0)
    rows_of = {vendor: ranked.filter(pl.col("vendor") == vendor) for vendor in present}
    wanted = _with_home(ranked.filter(pl.col("session") >= since).select(_KEY).unique().sort(_KEY), rows_of)
    taken = [wanted.filter(pl.col("home") == vendor).join(rows_of[vendor], on=_KEY, how="inner") for vendor in present]
    at_home = pl.concat([frame.select(raw.columns) for frame in taken])
    left = wanted.join(at_home, on=_KEY, how="anti")
    stand_ins = []
    refused = 0
    for vendor in present:
        offered = left.filter(pl.col("home") != vendor).join(rows_of[vendor], on=_KEY, how="inner")
        agreed = pl.concat([_agreeing(offered, rows_of[vendor], rows_of[home], home) for home in present])
        refused += offered.height - agreed.height
        stand_ins.append(agreed.select(raw.columns))
        left = left.join(agreed, on=_KEY, how="anti")
    filled = pl.concat(stand_ins)
    return Choice(pl.concat([at_home, filled]).sort(_KEY), stand_ins=filled.height, refused_stand_ins=refused)


def _with_home(wanted: pl.DataFrame, rows_of: dict[str, pl.DataFrame]) -> pl.DataFrame:
    asked = wanted.sort("session", maintain_order=True)
    for vendor, rows in rows_of.items():
        seen = rows.select(*_KEY, pl.lit(vendor).alias(vendor))
        asked = asked.join_asof(
            seen, on="session", by="symbol", tolerance=timedelta(days=HOME_DAYS), check_sortedness=False
        )
    return asked.select(*_KEY, pl.coalesce(list(rows_of)).alias("home"))


def _agreeing(offered: pl.DataFrame, theirs: pl.DataFrame, ours: pl.DataFrame, home: str) -> pl.DataFrame:
    """Of the offered rows of symbols at ``home``, those whose vendor agreed with it the last time both had a row."""
    common = theirs.select(*_KEY, "close").join(ours.select(*_KEY, pl.col("close").alias("ours")), on=_KEY, how="inner")
    gaps = common.sort("session").select(*_KEY, (pl.col("close") / pl.col("ours") - 1.0).abs().alias("gap"))
    asked = offered.filter(pl.col("home") == home).sort("session")
    tolerance = timedelta(days=HOME_DAYS)
    compared = asked.join_asof(gaps, on="session", by="symbol", tolerance=tolerance, check_sortedness=False)
    return compared.filter(pl.col("gap") <= AGREEMENT).drop("gap")
