"""Actions inferred from two series of the same closes, of which one is adjusted for more than the other.

The ratio of the two is constant but for a step at each ex-date of what only one of them is adjusted for. With ``f``
the ratio before a step over the ratio after it, the amount taken out is ``close_before * (1 - f)`` (CRSP's factor to
adjust price, and what Yahoo describes for its adjusted close: ``f = 1 - dividend / close_before``).
"""

from __future__ import annotations

import polars as pl

from quant_dagster.market_data.corporate_actions.levels import PriceLevel
from quant_dagster.market_data.corporate_actions.ratios import POSSIBLE, nearest

SURE_SPIN_OFF = 0.12
"""A step that takes out more of the price than this is no ordinary dividend."""
SPIN_OFF = 0.03
SPIN_OFF_TIMES_USUAL = 8.0
"""Nor is a smaller one, above ``SPIN_OFF``, of more than this many times the symbol's usual dividend."""
_WHOLE_CENTS = (3e-6, 5e-4)  # how far a declared amount may be from whole cents: of the close, and at most, USD

_FEWEST_DIVIDENDS = 4  # from which a symbol's usual dividend is told
_SPLIT_TOLERANCE = 0.0015  # AIG gave out warrants worth 16.4 % of its price: nearly 6 for 5
_SMALLEST_SPLIT = 0.045
_SMALLEST_STEP = 1e-4
_SMALLEST_STEP_ACROSS = 5e-4
_SMALLEST_LEVEL_STEP = 0.01
_MOST_LEVEL_STEPS = 6  # between two vendors of one level; with more, one of them is just wrong
_NOISE_TIMES = 8.0
_USUAL_SHARE, _USUAL_TIMES = 0.95, 3.0  # one session in sixty has a dividend, so the 95 % quantile is noise alone
_AGREEMENT = 0.35

SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "kind": pl.String(),
        "ratio": pl.Float64(),
        "amount": pl.Float64(),
        "factor": pl.Float64(),
        "adjusted_by": pl.String(),
        "until": pl.Date(),
    }
)
"""``kind`` is split, dividend, spin_off or unexplained; ``factor`` what prices before the ex-date are multiplied by;
``adjusted_by`` says which of the two shows it: 'base' or 'other'; ``until`` the last session looked at."""


def ratio_steps(base: pl.DataFrame, other: pl.DataFrame, *, window: int, smallest: float) -> pl.DataFrame:
    """Sessions on which ``other / base`` goes to another level and stays there.

    A single wrong print moves the ratio for one session and back: the medians before and after do not see it.

    Parameters
    ----------
    base, other
        symbol, session, close.
    window
        Sessions on either side over which the level is the median; fewer at the ends.
    smallest
        Least step in logarithms; where the ratio's own noise (rounding, other prints) is larger, 8 times
        its median or 3 times its 95 % quantile counts.

    Returns
    -------
    polars.DataFrame
        symbol, session, step (log), before_base, before_other (closes of the session before), until.
    """
    text = pl.col("symbol").cast(pl.String)
    left = base.select(text, "session", pl.col("close").cast(pl.Float64).alias("base"))
    right = other.select(text, "session", pl.col("close").cast(pl.Float64).alias("other"))
    both = left.join(right, on=["symbol", "session"]).filter((pl.col("base") > 0.0) & (pl.col("other") > 0.0))
    level = pl.col("level")
    measured = (
        both.sort("symbol", "session")
        .with_columns((pl.col("other") / pl.col("base")).log().alias("level"))
        .with_columns(
            level.diff().over("symbol").alias("jump"),
            level.shift(1).rolling_median(window, min_samples=1).over("symbol").alias("level_before"),
            level.reverse().rolling_median(window, min_samples=1).reverse().over("symbol").alias("level_after"),
            pl.col("base").shift(1).over("symbol").alias("before_base"),
            pl.col("other").shift(1).over("symbol").alias("before_other"),
            pl.coalesce(
                pl.col("session").shift(1 - window).over("symbol"), pl.col("session").last().over("symbol")
            ).alias("until"),
        )
        .with_columns(
            (pl.col("level_after") - pl.col("level_before")).alias("step"),
            pl.max_horizontal(
                pl.col("jump").abs().median().over("symbol") * _NOISE_TIMES,
                pl.col("jump").abs().quantile(_USUAL_SHARE).over("symbol") * _USUAL_TIMES,
            ).alias("noise"),
        )
    )
    least = pl.max_horizontal(pl.lit(smallest), pl.col("noise"))
    stays = (pl.col("step") - pl.col("jump")).abs() <= _AGREEMENT * pl.col("jump").abs()
    return measured.filter((pl.col("jump").abs() >= least) & (pl.col("step").abs() >= least) & stays).select(
        "symbol", "session", "step", "before_base", "before_other", "until"
    )


def infer_from_pair(
    base: pl.DataFrame, other: pl.DataFrame, base_level: PriceLevel, other_level: PriceLevel
) -> pl.DataFrame:
    """Actions that show in ``other`` and not in ``base``, or, at equal levels, in one of the two only.

    Raw against split-adjusted shows splits; either against total-return shows dividends and spin-offs; two vendors of
    the same level show what one of them has adjusted for and the other not: a spin-off, or a split that one missed.

    A step of more than 12 % of the price is a spin-off; so is one of more than 3 % and 8 times what the symbol usually
    pays, unless its amount is whole cents, as boards declare special dividends. A special dividend beyond 12 % is taken
    for a spin-off too, the safe side: total return treats both alike, and no cash is booked until it is reported.

    Amounts are per share of ``base``. At equal levels they are per share of whichever did not adjust, and only as much
    as the two vendors differ by: where both adjusted, each in its way, that is less than what was spun off.

    Returns
    -------
    polars.DataFrame
        ``SCHEMA``, by session and symbol.
    """
    if base_level > other_level:
        found = infer_from_pair(other, base, other_level, base_level)
        return found.with_columns(pl.col("adjusted_by").replace({"base": "other", "other": "base"}))
    same = base_level == other_level
    # A vendor's own adjusted closes are exact to seven digits. Unadjusted prices are another vendor's than adjusted
    # ones, and two vendors' closes differ by a cent now and then.
    smallest = _SMALLEST_LEVEL_STEP if same else (_SMALLEST_STEP if base_level else _SMALLEST_STEP_ACROSS)
    steps = ratio_steps(base, other, window=10 if same else 3, smallest=smallest)
    by_other = (pl.col("step") > 0.0) if same else pl.lit(value=True)
    factored = steps.with_columns(
        pl.when(by_other).then((-pl.col("step")).exp()).otherwise(pl.col("step").exp()).alias("factor"),
        pl.when(by_other).then(pl.lit("other")).otherwise(pl.lit("base")).alias("adjusted_by"),
        pl.when(by_other).then("before_base").otherwise("before_other").alias("before"),
    )
    return _classified(factored, splits=base_level == PriceLevel.RAW or same, dividends=other_level, same=same)


def _classified(steps: pl.DataFrame, *, splits: bool, dividends: PriceLevel, same: bool) -> pl.DataFrame:
    ratio, distance = nearest(1.0 / steps["factor"].to_numpy(), POSSIBLE)
    taken = 1.0 - pl.col("factor")
    # At equal levels a reverse split that one missed looks like a forward one that the other missed: the factor is
    # below 1 by construction, and a spin-off rarely takes a whole fraction of the price.
    is_split = (
        pl.lit(splits)
        & (pl.col("distance") <= _SPLIT_TOLERANCE)
        & (pl.col("factor").log().abs() >= (0.17 if same or dividends == PriceLevel.TOTAL_RETURN else _SMALLEST_SPLIT))
    )
    marked = steps.with_columns(pl.Series("split_ratio", ratio), pl.Series("distance", distance)).with_columns(
        is_split.alias("is_split")
    )
    ordinary = pl.when((taken > 0.0) & ~pl.col("is_split")).then(taken)
    usual = pl.when(ordinary.count().over("symbol") >= _FEWEST_DIVIDENDS).then(ordinary.median().over("symbol"))
    far_above = (taken > SPIN_OFF) & (taken > SPIN_OFF_TIMES_USUAL * usual).fill_null(value=False)
    amount = pl.col("before") * taken
    declared = (amount - amount.round(2)).abs() <= (_WHOLE_CENTS[0] * pl.col("before")).clip(
        upper_bound=_WHOLE_CENTS[1]
    )
    spin_off = (taken > SURE_SPIN_OFF) | (far_above & ~declared)
    if dividends == PriceLevel.TOTAL_RETURN and not same:
        distribution = pl.when(spin_off).then(pl.lit("spin_off")).otherwise(pl.lit("dividend"))
    else:
        distribution = pl.when(taken >= _SMALLEST_LEVEL_STEP).then(pl.lit("spin_off")).otherwise(pl.lit("unexplained"))
    restless = (pl.len().over("symbol") > _MOST_LEVEL_STEPS) if same else pl.lit(value=False)
    kind = (
        pl.when(restless | ((taken <= 0.0) & ~pl.col("is_split")))
        .then(pl.lit("unexplained"))
        .when("is_split")
        .then(pl.lit("split"))
        .otherwise(distribution)
    )
    named = marked.with_columns(kind.alias("kind"))
    paid = pl.col("kind").is_in(["dividend", "spin_off"])
    return (
        named.with_columns(
            pl.when(pl.col("kind") == "split").then("split_ratio").alias("ratio"),
            pl.when(paid).then(pl.col("before") * taken).alias("amount"),
        )
        .select(list(SCHEMA))
        .sort("session", "symbol")
    )
