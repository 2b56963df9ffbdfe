"""Actions of several sources held against each other: who agrees, who contradicts, and which row counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

INFERRED = "prices:"
"""Vendor names of inferred rows start with this, then the sources whose prices show it: ``prices:yahoo/nasdaq``."""

KEY = ("vendor", "symbol", "session", "kind")

REPORT_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "kind": pl.String(),
        "vendor": pl.String(),
        "origin": pl.String(),
        "ratio": pl.Float64(),
        "amount": pl.Float64(),
        "status": pl.String(),
        "confirmed_by": pl.String(),
        "contradicted_by": pl.String(),
    }
)
"""``status`` is confirmed (somebody else shows the same), contradicted (others show something else, nobody the same)
or unconfirmed (nobody else speaks of it)."""

_RATIO_TOLERANCE = 0.01
_AMOUNT_TOLERANCE = 0.02
_SPIN_OFF_TOLERANCE = 0.15  # what was spun off is worth what each vendor's close says
_CENT = 0.006


def confirm(actions: pl.DataFrame, sessions: NDArray[np.datetime64]) -> pl.DataFrame:
    """Hold every action against those of other sources within one session of it.

    Nobody is a witness for himself: an action inferred from a vendor's prices does not confirm that vendor's report.
    The same are: splits within 1 % in ratio, dividends within 2 % or a rounded cent in amount, spin-offs within 15 %.

    Parameters
    ----------
    actions
        Columns of lake table ``corporate_actions``.
    sessions
        The exchange's sessions, ascending, over the range of the actions.

    Returns
    -------
    polars.DataFrame
        ``REPORT_SCHEMA``, one row per action, by session, symbol, kind and vendor.
    """
    days = actions["session"].to_numpy().astype("datetime64[D]")
    placed = actions.select(*KEY, "origin", "ratio", "amount").with_columns(
        pl.Series("place", np.searchsorted(sessions, days), dtype=pl.Int64),
        pl.col("vendor").str.strip_prefix(INFERRED).str.split("/").alias("sources"),
    )
    pairs = (
        placed.join(placed, on="symbol", suffix="_other")
        .filter((pl.col("place") - pl.col("place_other")).abs() <= 1)
        .filter(pl.col("sources").list.set_intersection("sources_other").list.len() == 0)
        .filter(_same_right("kind", "kind_other"))
        .with_columns(_agree().alias("agrees"))
        .group_by(KEY)
        .agg(
            pl.col("vendor_other").filter(pl.col("agrees")).unique().sort().str.join(",").alias("confirmed_by"),
            pl.col("vendor_other").filter(~pl.col("agrees")).unique().sort().str.join(",").alias("contradicted_by"),
        )
    )
    said = placed.join(pairs, on=KEY, how="left").with_columns(pl.col("confirmed_by", "contradicted_by").fill_null(""))
    status = (
        pl.when(pl.col("confirmed_by") != "")
        .then(pl.lit("confirmed"))
        .when(pl.col("contradicted_by") != "")
        .then(pl.lit("contradicted"))
        .otherwise(pl.lit("unconfirmed"))
    )
    return said.with_columns(status.alias("status")).select(list(REPORT_SCHEMA)).sort(
        "session", "symbol", "kind", "vendor"
    )  # fmt: skip


def effective(actions: pl.DataFrame, vendors: Sequence[str] = ()) -> pl.DataFrame:
    """One account of each event: the rows by which prices are adjusted.

    Of rows of a symbol within a few days of each other, a report counts before an inference and, of several reports,
    that of the first of ``vendors`` (then by name). An inferred spin-off gives way to any report; an inferred split or
    dividend to a report of its own kind or of a spin-off; of several inferences a spin-off gives way to a split, a
    dividend to a spin-off. A split and a dividend on one day are two events and both count.

    Parameters
    ----------
    vendors
        Priority order.

    Returns
    -------
    polars.DataFrame
        Rows of ``actions`` as they are, by symbol and session.
    """
    order = {name: rank for rank, name in enumerate(vendors)}
    rank = pl.col("vendor").replace_strict(order, default=len(order), return_dtype=pl.Int64)
    ordered = actions.with_columns(rank.alias("rank")).sort("symbol", "session", "kind", "vendor")
    apart = (pl.col("session").diff().dt.total_days() > 4).fill_null(value=True).over("symbol")
    grouped = ordered.with_columns(apart.cum_sum().over("symbol").alias("event"))
    event = ["symbol", "event"]
    reported = pl.col("origin") == "reported"

    def shown(rows: pl.Expr, *kinds: str) -> pl.Expr:
        return (rows & pl.col("kind").is_in(list(kinds))).any().over(event)

    superfluous = (
        pl.when(pl.col("kind") == "split")
        .then(shown(reported, "split", "spin_off"))
        .when(pl.col("kind") == "dividend")
        .then(shown(reported, "dividend", "spin_off") | shown(~reported, "spin_off"))
        .otherwise(shown(reported, "split", "dividend", "spin_off") | shown(~reported, "split"))
    )
    kept = grouped.filter(reported | ~superfluous)
    # A split and a spin-off of one event are two names of one thing; so are two dividends.
    right = pl.when(pl.col("kind") == "dividend").then(pl.lit("cash")).otherwise(pl.lit("shares"))
    chosen = kept.with_columns(right.alias("right")).with_columns(
        pl.col("vendor").sort_by((~reported).cast(pl.Int8), "rank", "vendor").first().over([*event, "right"])
        .alias("speaker")
    )  # fmt: skip
    return chosen.filter(pl.col("vendor") == pl.col("speaker")).select(actions.columns).sort("symbol", "session")


def _same_right(kind: str, other: str) -> pl.Expr:
    """Whether two kinds can be accounts of one event: a split and a dividend cannot."""
    both = pl.concat_str(pl.min_horizontal(kind, other), pl.max_horizontal(kind, other), separator="|")
    return both != "dividend|split"


def _agree() -> pl.Expr:
    amount, other = pl.col("amount"), pl.col("amount_other")
    apart = (amount - other).abs()
    larger = pl.max_horizontal(amount.abs(), other.abs())
    same_amount = (
        pl.when(pl.col("kind") == "spin_off")
        .then(apart <= _SPIN_OFF_TOLERANCE * larger)
        .otherwise((apart <= _AMOUNT_TOLERANCE * larger) | (apart <= _CENT))
    )
    same_ratio = (pl.col("ratio") / pl.col("ratio_other")).log().abs() <= _RATIO_TOLERANCE
    same_value = pl.when(pl.col("kind") == "split").then(same_ratio).otherwise(same_amount)
    return (pl.col("kind") == pl.col("kind_other")) & same_value.fill_null(value=True)
