"""Reconciliation: two vendors' rows, bar by bar; what differs, why, and who is wrong as far as can be told.

A report, not a score: it looks at the sessions after a break as well as at those before, so it can tell a bad print
(the ratio of the vendors' closes comes back) from an adjustment (it stays). Classes, and what is listed:

``adjustment``
    The ratio of closes steps and stays: a split, dividend or spin-off that one of the two adjusts for and the other
    does not. One row where each such segment starts, on the session whose move the two tell differently.
``bad_print``
    A price that stands alone: the close, or open, high or low by more than ``FIELD_GROSS``.
``stale``
    The same, and one vendor repeats its own bar of the session before.
``missing``
    One vendor has no row, though it has rows before and after.
``volume_only``
    Prices agree; volumes do not, beyond what is usual between the two.

What one vendor corrected later is judged as it was handed over: reconciling again gives the newest view.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.quality.breaks import KEY, PRICES, UNKNOWN, VOLUME_FACTOR, judge, measure, prepare
from quant_dagster.storage.tables import TABLES

CLASSES = ("bad_print", "adjustment", "missing", "stale", "volume_only")
QUARANTINE_SHARE, QUARANTINE_MULTIPLE = 0.02, 20.0
"""A symbol stands out with more than this share of its sessions broken, and this multiple of the median symbol's."""


def reconcile(
    rows: pl.DataFrame, other_rows: pl.DataFrame, *, vendor: str, other: str, sessions: NDArray[np.datetime64]
) -> pl.DataFrame:
    """Breaks between two vendors as rows of lake table ``reconciliation``, sorted by session and symbol.

    Parameters
    ----------
    rows, other_rows
        Columns symbol, session and the five fields (nulls allowed but for close), one row for each symbol and session.
    vendor, other
        Their names.
    sessions
        Sessions of the exchange, ``datetime64[D]``; rows on other days are not looked at, and only within them can a
        row be missing.

    Raises
    ------
    MalformedDataError
        A symbol and session stands twice in one of the frames.
    """
    ours, theirs = prepare(rows, sessions, vendor), prepare(other_rows, sessions, other)
    common = measure(ours, theirs)
    judged = judge(common, vendor, other)
    parts = [
        _adjustments(judged, vendor, other),
        _prints(judged, vendor, other),
        _volumes(judged, vendor, other),
        _missing(ours, theirs, vendor, other),
    ]
    shape = TABLES["reconciliation"].schema
    named = [
        part.with_columns(vendor=pl.lit(vendor), other=pl.lit(other)).select(
            pl.col(name).cast(dtype) for name, dtype in shape.items()
        )
        for part in parts
    ]
    return pl.concat(named).sort("session", "symbol", "break_class")


def summary(breaks: pl.DataFrame) -> pl.DataFrame:
    """How many breaks of each class, by who is wrong: columns break_class, wrong, breaks, symbols."""
    counts = breaks.group_by("break_class", "wrong").agg(
        pl.len().alias("breaks"), pl.col("symbol").n_unique().alias("symbols")
    )
    return counts.sort("break_class", "wrong")


def examples(breaks: pl.DataFrame, per_class: int = 10) -> pl.DataFrame:
    """The first breaks of each class, of as many symbols as there are, in the table's shape."""
    turn = pl.int_range(pl.len()).over("break_class", "symbol")
    ordered = breaks.sort("break_class", turn, "session", "symbol")
    return ordered.group_by("break_class", maintain_order=True).head(per_class).select(breaks.columns)


def compared_counts(rows: pl.DataFrame, other_rows: pl.DataFrame) -> dict[str, int]:
    """How many sessions of each symbol both vendors have."""
    both = rows.select(pl.col("symbol").cast(pl.String), "session").join(
        other_rows.select(pl.col("symbol").cast(pl.String), "session"), on=KEY, how="inner"
    )
    return dict(both.group_by("symbol").len().sort("symbol").iter_rows())


def quarantine_candidates(breaks: pl.DataFrame, compared: Mapping[str, int]) -> pl.DataFrame:
    """Symbols on which the vendors disagree far more often than on the rest.

    A symbol is one when breaks other than ``adjustment`` are more than ``QUARANTINE_SHARE`` of the sessions compared
    and more than ``QUARANTINE_MULTIPLE`` times the share of the median symbol. Vendors restate history by their own
    rules (adjustments); disagreeing about prices day after day means that they do not speak of the same instrument, or
    that one of them has no live feed of it.

    Parameters
    ----------
    compared
        Sessions of each symbol that both vendors have (``compared_counts``).

    Returns
    -------
    polars.DataFrame
        Columns symbol, breaks, compared, share, reason; worst first.
    """
    counts = (
        breaks.filter(pl.col("break_class") != "adjustment")
        .group_by("symbol")
        .agg(pl.col("session").n_unique().alias("breaks"))
    )
    base = pl.DataFrame(
        {"symbol": list(compared), "compared": list(compared.values())},
        schema={"symbol": pl.String(), "compared": pl.Int64()},
    )
    shares = base.join(counts, on="symbol", how="left").with_columns(pl.col("breaks").fill_null(0).cast(pl.Int64))
    shares = shares.filter(pl.col("compared") > 0).with_columns(share=pl.col("breaks") / pl.col("compared"))
    usual = shares["share"].median() if shares.height else None
    limit = max(QUARANTINE_SHARE, QUARANTINE_MULTIPLE * (float(usual) if isinstance(usual, float) else 0.0))
    reason = pl.format(
        "{} of {} sessions broken between the vendors; {} of them would be usual at most",
        "breaks", "compared", (pl.col("compared") * limit).floor().cast(pl.Int64),
    )  # fmt: skip
    worst = shares.filter(pl.col("share") > limit).with_columns(reason=reason)
    return worst.sort(["share", "symbol"], descending=[True, False]).select(
        "symbol", "breaks", "compared", "share", "reason"
    )


def _adjustments(judged: pl.DataFrame, vendor: str, other: str) -> pl.DataFrame:
    steps = judged.filter("step")
    ends = steps.select(*KEY, pl.col("session").shift(-1).over("symbol").alias("until"))
    final = judged.group_by("symbol").agg(pl.col("session").max().alias("final"))
    known = steps.join(ends, on=KEY).join(final, on="symbol")
    factor = (pl.col("ahead") - pl.col("before")).exp()
    until = (
        pl.when(pl.col("until").is_null())
        .then(pl.format("{} (the last)", "final"))
        .otherwise(pl.format("before {}", "until"))
    )
    detail = pl.format(
        f"{vendor}/{other} steps by a factor of {{}} and stays to {{}}; moves {{}} and {{}}",
        factor.round(6), until, pl.col("move_a").exp().round(4), pl.col("move_b").exp().round(4),
    )  # fmt: skip
    return known.select(
        *KEY,
        pl.lit("adjustment").alias("break_class"),
        "wrong",
        pl.lit("close").alias("field"),
        pl.col("close").alias("value"),
        (pl.col("close_b") * pl.col("before").exp()).alias("other_value"),
        detail.alias("detail"),
    )


def _prints(judged: pl.DataFrame, vendor: str, other: str) -> pl.DataFrame:
    found = judged.filter(pl.col("alone") & ~pl.col("step") | pl.col("gross"))
    # An unchanged close is stale where the other vendor's changed, unless that one is known to be the wrong one.
    unchanged_a = pl.col("same_close_a") & ~pl.col("same_close_b") & (pl.col("wrong") != other)
    unchanged_b = pl.col("same_close_b") & ~pl.col("same_close_a") & (pl.col("wrong") != vendor)
    stale = pl.col("alone") & (unchanged_a | unchanged_b)
    wrong = (
        pl.when(stale & unchanged_a).then(pl.lit(vendor))
        .when(stale & unchanged_b).then(pl.lit(other))
        .otherwise("wrong")
    )  # fmt: skip
    value, theirs = (
        pl.coalesce(pl.when(pl.col("field") == name).then(pl.col(f"{name}{suffix}")) for name in PRICES)
        for suffix in ("", "_b")
    )
    level = pl.when("alone").then(pl.mean_horizontal("before", "after")).otherwise("ratio")
    placed = found.with_columns(value=value, other_value=theirs * level.exp())
    return placed.select(
        *KEY,
        pl.when(stale).then(pl.lit("stale")).otherwise(pl.lit("bad_print")).alias("break_class"),
        wrong.alias("wrong"),
        "field",
        "value",
        "other_value",
        pl.format(
            "{} is {} % from the other vendor's",
            "field",
            (100.0 * (pl.col("value") / pl.col("other_value") - 1.0)).round(3),
        ).alias("detail"),
    )


def _volumes(judged: pl.DataFrame, vendor: str, other: str) -> pl.DataFrame:
    off = (pl.col("volumes") - pl.col("usual_volumes")).abs() > float(np.log(VOLUME_FACTOR))
    silent_a = (pl.col("volume") == 0) & (pl.col("volume_b") > 0)
    silent_b = (pl.col("volume_b") == 0) & (pl.col("volume") > 0)
    found = judged.filter(~pl.col("step") & ~pl.col("alone") & ~pl.col("gross") & (off | silent_a | silent_b))
    wrong = pl.when(silent_a).then(pl.lit(vendor)).when(silent_b).then(pl.lit(other)).otherwise(pl.lit(UNKNOWN))
    return found.select(
        *KEY,
        pl.lit("volume_only").alias("break_class"),
        wrong.alias("wrong"),
        pl.lit("volume").alias("field"),
        pl.col("volume").alias("value"),
        (pl.col("volume_b") * pl.col("usual_volumes").fill_null(0.0).exp()).alias("other_value"),
        pl.format("volumes {} and {}", "volume", "volume_b").alias("detail"),
    )


def _missing(ours: pl.DataFrame, theirs: pl.DataFrame, vendor: str, other: str) -> pl.DataFrame:
    """Sessions of one vendor within the other's life of the symbol, where it has no row."""
    parts = []
    for have, lack, name in ((ours, theirs, other), (theirs, ours, vendor)):
        life = lack.group_by("symbol").agg(
            pl.col("session").min().alias("first"), pl.col("session").max().alias("final")
        )
        absent = have.join(lack.select(KEY), on=KEY, how="anti").join(life, on="symbol", how="inner")
        inside = absent.filter(pl.col("session").is_between("first", "final"))
        parts.append(
            inside.select(
                *KEY,
                pl.lit("missing").alias("break_class"),
                pl.lit(name).alias("wrong"),
                pl.lit("close").alias("field"),
                (pl.lit(None, pl.Float64) if name == vendor else pl.col("close")).alias("value"),
                (pl.col("close") if name == vendor else pl.lit(None, pl.Float64)).alias("other_value"),
                pl.lit(f"{name} has no row, though it has rows before and after").alias("detail"),
            )
        )
    return pl.concat(parts)
