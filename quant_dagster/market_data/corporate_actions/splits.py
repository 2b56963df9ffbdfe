"""Splits inferred from unadjusted prices alone.

A split leaves the company and its trading as they were: overnight the price goes to a ratio ``1/k`` (or ``m/k``) of
what it was, the shares that change hands go up as much, so that the money that changes hands stays usual, and the
session's range is an ordinary one. A crash of the same size has none of this: the money traded multiplies, the range
is wide, and the open is nowhere in particular.
"""

from __future__ import annotations

import math

import polars as pl

from quant_dagster.market_data.corporate_actions.ratios import COMMON, nearest

BEFORE = 20
"""Sessions before the ex-date that tell what volume and range are usual."""
AFTER = 5
"""Sessions from the ex-date on whose volume is looked at: the split is known at the close of the last."""

_SMALLEST_MOVE = 0.2  # in logarithms: a 5-for-4 split is 0.223
_SMALLEST_MOVE_VOLATILITIES = 5.0
_OPEN_TOLERANCE = (0.01, 1.8, 0.06)  # least, daily volatilities, most
_OPEN_TOLERANCE_SHARE = 0.08  # of the split's own move
_CLOSE_TOLERANCE_VOLATILITIES = 5.0
_MONEY_TOLERANCE = math.log(3.0)  # over the next sessions
_DAY_MONEY_TOLERANCE = 0.9  # on the ex-date: the test that most crashes fail
_WIDEST_RANGE = (0.06, 5.0)  # in logarithms; least, usual ranges
_LEAST_VOLUME_SHARE = 0.05  # of the move, that the volume must have gone the other way
_FEWEST_FOR_MARKET = 10  # symbols
_MAD_TO_SIGMA = 1.4826

SCHEMA = pl.Schema(
    {"symbol": pl.String(), "session": pl.Date(), "ratio": pl.Float64(), "residual": pl.Float64(), "until": pl.Date()}
)


def infer_splits(bars: pl.DataFrame) -> pl.DataFrame:
    """Splits that unadjusted bars show.

    Parameters
    ----------
    bars
        symbol, session, open, high, low, close, volume: as traded, adjusted for nothing. Open, high and low may be
        null (the close then stands for the open, with its tolerance); without volume nothing is inferred.

    Returns
    -------
    polars.DataFrame
        symbol, session (ex-date), ratio (new shares per old), residual (log return overnight that the split does not
        explain), until (last session looked at: when the split can be known).
    """
    one = pl.col("symbol")
    ordered = bars.select(one.cast(pl.String), "session", "open", "high", "low", "close", "volume").sort(
        "symbol", "session"
    )
    traded = ordered.filter((pl.col("close") > 0.0) & (pl.col("volume") > 0.0))
    close, money = pl.col("close").log(), (pl.col("close") * pl.col("volume")).log()
    volume = pl.col("volume").cast(pl.Float64).log()
    prepared = traded.with_columns(
        close.diff().over(one).alias("move"),
        (pl.coalesce("open", "close").log() - close.shift(1).over(one)).alias("overnight"),
        (pl.col("high") / pl.col("low")).log().alias("range"),
        volume.alias("log_volume"),
        money.alias("log_money"),
    )
    # What the whole market did overnight is no part of a split: on 2020-03-16 it was -9 %, and a loss of 20 %
    # looked like 5-for-4.
    market = (
        pl.when(pl.len().over("session") >= _FEWEST_FOR_MARKET)
        .then(pl.col("overnight").median().over("session"))
        .otherwise(0.0)
        .fill_null(0.0)
    )
    usual = prepared.with_columns(
        pl.col("overnight").alias("own_overnight"),
        (pl.col("overnight") - market).alias("overnight"),
        (pl.col("move") - market).alias("move"),
    ).with_columns(
        (_before("move", absolute=True) * _MAD_TO_SIGMA).alias("volatility"),
        _before("range").alias("usual_range"),
        (_after("log_volume") - _before("log_volume")).alias("volume_shift"),
        (_after("log_money") - _before("log_money")).alias("money_shift"),
        (pl.col("log_money") - _before("log_money")).alias("day_money_shift"),
        pl.coalesce(pl.col("session").shift(1 - AFTER).over(one), pl.col("session").last().over(one)).alias("until"),
    )
    # As it was, and beyond the market: whichever is the smaller.
    move = pl.min_horizontal(pl.col("overnight").abs(), pl.col("own_overnight").abs())
    jumped = usual.filter(
        (move.abs() >= _SMALLEST_MOVE) & (move.abs() >= _SMALLEST_MOVE_VOLATILITIES * pl.col("volatility"))
    )
    ratio, residual = nearest((-jumped["overnight"]).exp().to_numpy(), COMMON)
    named = jumped.with_columns(pl.Series("ratio", ratio), pl.Series("residual", residual))
    least, volatilities, most = _OPEN_TOLERANCE
    factor = pl.col("ratio").log()
    tolerance = (volatilities * pl.col("volatility")).clip(least, most)
    drift = _CLOSE_TOLERANCE_VOLATILITIES * pl.max_horizontal("volatility", pl.lit(0.01))
    explained = (
        (pl.col("residual") <= tolerance)
        & (pl.col("residual") <= _OPEN_TOLERANCE_SHARE * factor.abs())
        & ((pl.col("own_overnight") + factor).abs() <= tolerance)
        & ((pl.col("move") + factor).abs() <= drift)
    )
    ordinary = (
        (
            pl.col("range").fill_null(0.0)
            <= pl.max_horizontal(pl.lit(_WIDEST_RANGE[0]), _WIDEST_RANGE[1] * pl.col("usual_range").fill_null(0.0))
        )
        & (pl.col("money_shift").abs() <= _MONEY_TOLERANCE)
        & (pl.col("day_money_shift") <= _DAY_MONEY_TOLERANCE)
    )
    inverse = pl.col("volume_shift") / factor >= _LEAST_VOLUME_SHARE
    return named.filter(explained & ordinary & inverse).select(list(SCHEMA)).sort("session", "symbol")


def _before(name: str, absolute: bool = False) -> pl.Expr:
    """Median over the sessions before, this one not included."""
    values = pl.col(name).abs() if absolute else pl.col(name)
    return values.shift(1).rolling_median(BEFORE, min_samples=5).over("symbol")


def _after(name: str) -> pl.Expr:
    """Median over this session and the next ones."""
    return pl.col(name).reverse().rolling_median(AFTER, min_samples=1).reverse().over("symbol")
