"""How two vendors' bars of a session differ: steps of their ratio, prices that stand alone, and who is wrong.

Not causal: the sessions after a break are looked at as well as those before. What is listed of it, and under which
class, is in ``reconciliation``; what may be said on the evening of a session is in ``evidence``.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.errors import MalformedDataError

UNKNOWN = "unknown"
TOLERANCE = 0.002
"""Log distance within which closes agree (after level)."""
TICK = 0.006
"""Prices that differ by no more than this agree: vendors round adjusted prices to as few as two decimals."""
FIELD_GROSS = 0.01
"""Log distance at which an open, high or low is a break of its own, its close agreeing."""
LARGE_STEP = 0.05
"""Log step of an adjustment from which the vendor with the larger move of the session counts as wrong; below it, a
dividend's size, the two follow different rules and neither is."""
VOLUME_FACTOR = 1.5
"""Factor by which the ratio of volumes must leave its local median to be a break."""
REACH = 5
"""Sessions before and after whose median ratio is the level."""

PRICES = ("open", "high", "low", "close")
FIELDS = (*PRICES, "volume")
KEY = ["symbol", "session"]


def prepare(rows: pl.DataFrame, sessions: NDArray[np.datetime64], vendor: str) -> pl.DataFrame:
    """Rows of the exchange's sessions, typed and sorted."""
    typed = rows.select(
        pl.col("symbol").cast(pl.String),
        pl.col("session").cast(pl.Date),
        *(pl.col(f).cast(pl.Float64) for f in FIELDS),
    )
    days = pl.DataFrame({"session": pl.Series(sessions.astype("datetime64[D]")).cast(pl.Date)})
    kept = typed.join(days, on="session", how="semi").sort(KEY)
    if kept.select(pl.struct(KEY).is_duplicated().any()).item():
        raise MalformedDataError(
            f"reconciliation: rows of vendor '{vendor}' name a symbol and session twice; screen them first"
        )
    return kept


def measure(ours: pl.DataFrame, theirs: pl.DataFrame) -> pl.DataFrame:
    """Sessions both have, with log ratios of closes against the levels before and after, and each vendor's own move."""
    renamed = theirs.select(*KEY, *(pl.col(name).alias(f"{name}_b") for name in FIELDS), *_repeats("_b"))
    left = ours.select(*KEY, *FIELDS, *_repeats("_a"))
    ratio = (pl.col("close") / pl.col("close_b")).log()
    traded = (pl.col("volume") > 0) & (pl.col("volume_b") > 0)
    common = (
        left.join(renamed, on=KEY, how="inner")
        .sort(KEY)
        .with_columns(ratio=ratio, volumes=pl.when(traded).then((pl.col("volume") / pl.col("volume_b")).log()))
    )
    before = pl.col("ratio").shift(1).rolling_median(REACH, min_samples=1).over("symbol")
    after = pl.col("ratio").reverse().shift(1).rolling_median(REACH, min_samples=1).reverse().over("symbol")
    ahead = pl.col("ratio").reverse().rolling_median(REACH, min_samples=1).reverse().over("symbol")
    around = pl.col("volumes").rolling_median(2 * REACH + 1, min_samples=1, center=True).over("symbol")
    return common.with_columns(
        before=before,
        after=after,
        ahead=ahead,
        last=pl.col("ratio").shift(1).over("symbol"),
        usual_volumes=around,
        move_a=pl.col("close").log().diff().over("symbol"),
        move_b=pl.col("close_b").log().diff().over("symbol"),
        next_a=pl.col("close").shift(-1).over("symbol"),
        next_b=pl.col("close_b").shift(-1).over("symbol"),
        tolerance=pl.max_horizontal(pl.lit(TOLERANCE), TICK / pl.min_horizontal("close", "close_b")),
    )


def _repeats(suffix: str) -> list[pl.Expr]:
    same = [pl.col(name) == pl.col(name).shift(1).over("symbol") for name in PRICES]
    return [
        pl.all_horizontal(same).fill_null(False).alias(f"repeats{suffix}"),
        (pl.col("close") == pl.col("close").shift(1).over("symbol")).fill_null(False).alias(f"same_close{suffix}"),
    ]


def judge(common: pl.DataFrame, vendor: str, other: str) -> pl.DataFrame:
    """The common sessions with what each is (``step``, ``alone``, ``gross``) and who is wrong."""
    limit = pl.col("tolerance")
    # Where two vendors disagree every day, levels wander; a step must stand out of that.
    noise = (pl.col("ratio") - pl.col("before")).abs().rolling_median(20, min_samples=1, center=True).over("symbol")
    wide = pl.max_horizontal(limit, 4.0 * noise)
    from_before, from_ahead = pl.col("ratio") - pl.col("before"), pl.col("ratio") - pl.col("ahead")
    stepped = ((pl.col("ahead") - pl.col("before")).abs() > wide) & (from_ahead.abs() <= limit)
    at_onset = (pl.col("last") - pl.col("before")).abs() <= limit
    off_before = (from_before.abs() > limit) | pl.col("before").is_null()
    alone = off_before & ((pl.col("ratio") - pl.col("after")).abs() > limit)
    fields = {name: (pl.col(name) / pl.col(f"{name}_b")).log() - pl.col("ratio") for name in ("open", "high", "low")}
    marked = common.with_columns(
        step=(stepped & at_onset & off_before).fill_null(False),
        alone=(alone & (from_before.abs() > limit)).fill_null(False),
        off_open=fields["open"].abs().fill_null(0.0),
        off_high=fields["high"].abs().fill_null(0.0),
        off_low=fields["low"].abs().fill_null(0.0),
    )
    worst = pl.max_horizontal("off_open", "off_high", "off_low")
    gross = (worst > FIELD_GROSS) & (worst > 2.0 * pl.col("tolerance")) & ~pl.col("alone") & ~pl.col("step")
    return marked.with_columns(worst_field=worst, gross=gross).with_columns(_who(vendor, other), _field())


def _who(vendor: str, other: str) -> pl.Expr:
    """Who is wrong. The neighbours before and after decide: a wrong close leaves its own path and comes back to it."""
    level = pl.mean_horizontal("before", "after")
    back_a = (pl.col("close").log() - (pl.col("close").log() - pl.col("move_a") + pl.col("next_a").log()) / 2.0).abs()
    back_b = (
        pl.col("close_b").log() - (pl.col("close_b").log() - pl.col("move_b") + pl.col("next_b").log()) / 2.0
    ).abs()
    apart = (pl.col("ratio") - level).abs()
    by_close = (
        pl.when(pl.col("repeats_a") & ~pl.col("repeats_b")).then(pl.lit(vendor))
        .when(pl.col("repeats_b") & ~pl.col("repeats_a")).then(pl.lit(other))
        .when(back_a - back_b > 0.5 * apart).then(pl.lit(vendor))
        .when(back_b - back_a > 0.5 * apart).then(pl.lit(other))
        .otherwise(pl.lit(UNKNOWN))
    )  # fmt: skip
    # Which of two moves is the true one shows only where the step outweighs what a session does.
    size = (pl.col("ahead") - pl.col("before")).abs()
    surplus = pl.col("move_a").abs() - pl.col("move_b").abs()
    step = (
        pl.when((size < LARGE_STEP) | (surplus.abs() < 0.5 * size)).then(pl.lit(UNKNOWN))
        .when(surplus > 0.0).then(pl.lit(vendor))
        .otherwise(pl.lit(other))
    )  # fmt: skip
    # Of two opens, highs or lows, the one farther from its own close is the odd one, where the distances differ enough.
    reach = {
        suffix: pl.max_horizontal(
            *((pl.col(f"{n}{suffix}") / pl.col(f"close{suffix}")).log().abs() for n in PRICES[:3])
        )
        for suffix in ("", "_b")
    }
    by_field = (
        pl.when(reach[""] - reach["_b"] > 0.5 * pl.col("worst_field")).then(pl.lit(vendor))
        .when(reach["_b"] - reach[""] > 0.5 * pl.col("worst_field")).then(pl.lit(other))
        .otherwise(pl.lit(UNKNOWN))
    )  # fmt: skip
    return pl.when("step").then(step).when("alone").then(by_close).otherwise(by_field).alias("wrong")


def _field() -> pl.Expr:
    of_range = (
        pl.when(pl.col("off_open") >= pl.col("worst_field")).then(pl.lit("open"))
        .when(pl.col("off_high") >= pl.col("worst_field")).then(pl.lit("high"))
        .otherwise(pl.lit("low"))
    )  # fmt: skip
    return pl.when(pl.col("alone") | pl.col("step")).then(pl.lit("close")).otherwise(of_range).alias("field")
