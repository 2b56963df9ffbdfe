"""Raw, split-adjusted and total-return series from one store of prices and actions, and back.

Backward factors, as in CRSP's "factor to adjust price" (CRSP US Stock Databases Data Descriptions Guide) and Yahoo's
adjusted close: the newest price stands as it is, earlier ones are multiplied by every later event's factor.

    split of ratio r (new shares per old)    price * 1/r, volume * r
    dividend D, ex-date t                    price * (1 - D / close[t-1]), volume as it is
    spin-off worth D per share               as a dividend: reinvested in the stock, flagged, never cash
    spin-off of r parents per new parent     price * 1/r, flagged, volume as it is (what a vendor reports as a "split")

``close[t-1]`` is the last unadjusted close before the ex-date. In `SPLIT` mode only splits count.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.corporate_actions.levels import PriceLevel

PRICES = ("open", "high", "low", "close")

APPLIED, FLAGGED, UNKNOWN_VALUE, NO_CLOSE, IMPOSSIBLE = (
    "applied",
    "spin-off reinvested",
    "not applied: the value of what was spun off is unknown",
    "not applied: no close before the ex-date",
    "not applied: the distribution is not below the price",
)


def adjusted(
    bars: pl.DataFrame,
    actions: pl.DataFrame,
    mode: PriceLevel,
    level: PriceLevel = PriceLevel.RAW,
    *,
    as_of: date | None = None,
) -> pl.DataFrame:
    """Bars at another price level.

    Parameters
    ----------
    bars
        symbol, session, close, and of open, high, low, volume what there is; further columns stay as they are.
    actions
        One account of each event (`confirmation.effective`): symbol, session, kind, ratio, amount; amounts in the
        currency of the share as it was before the ex-date, adjusted for nothing.
    mode
        The level wanted.
    level
        The level of ``bars``: RAW, or SPLIT (they are then unadjusted first, by the same splits).
    as_of
        The day the series is looked at: later bars are left out and later ex-dates do not count.

    Returns
    -------
    polars.DataFrame
        ``bars``, in their order, with column ``factor``: what the unadjusted price was multiplied by.

    Raises
    ------
    ConfigurationError
        ``bars`` are total-return prices: what was taken out of them cannot be told without the prices themselves.
    """
    if as_of is not None:
        bars = bars.filter(pl.col("session") <= as_of)
        actions = actions.filter(pl.col("session") <= as_of)
    raw = unadjusted(bars, actions, level)
    if mode == PriceLevel.RAW:
        return raw.with_columns(pl.lit(1.0).alias("factor"))
    table = treatments(raw, actions)
    splits = table.filter(pl.col("kind") == "split")
    counted = table if mode == PriceLevel.TOTAL_RETURN else splits
    marked = _with_factor(_with_factor(raw, counted, "factor"), splits, "share_factor")
    present = [name for name in PRICES if name in bars.columns]
    volume = [pl.col("volume") / pl.col("share_factor")] if "volume" in bars.columns else []
    return marked.with_columns(*(pl.col(name) * pl.col("factor") for name in present), *volume).select(
        *bars.columns, "factor"
    )


def unadjusted(bars: pl.DataFrame, actions: pl.DataFrame, level: PriceLevel) -> pl.DataFrame:
    """Prices as they were traded, from a vendor's split-adjusted ones: each split after a session is undone.

    The inverse of ``adjusted(..., PriceLevel.SPLIT)`` with the same splits; splits the vendor adjusted for and
    ``actions`` lack stay in the prices. Raises what `adjusted` raises.
    """
    if level == PriceLevel.TOTAL_RETURN:
        raise ConfigurationError(
            "total-return prices cannot be unadjusted: dividends were taken out in proportion to prices that are not "
            "there any more; give the vendor's raw or split-adjusted prices"
        )
    present = [name for name in PRICES if name in bars.columns]
    floats = bars.with_columns(pl.col(name).cast(pl.Float64) for name in (*present, "volume") if name in bars.columns)
    if level == PriceLevel.RAW:
        return floats
    splits = _split_factors(actions)
    volume = [pl.col("volume") * pl.col("share_factor")] if "volume" in bars.columns else []
    marked = _with_factor(floats, splits, "share_factor")
    return marked.with_columns(*(pl.col(name) / pl.col("share_factor") for name in present), *volume).drop(
        "share_factor"
    )


def unadjusted_amounts(actions: pl.DataFrame, splits: pl.DataFrame | None = None) -> pl.DataFrame:
    """Amounts per share of the time, from amounts per share of today (Yahoo's way): later splits are undone.

    ``splits`` default to those in ``actions``; they must reach to the day the amounts are stated for.
    """
    factors = _split_factors(actions if splits is None else splits)
    marked = _with_factor(actions.with_row_index("__row"), factors, "share_factor")
    return marked.sort("__row").with_columns(pl.col("amount") / pl.col("share_factor")).select(actions.columns)


def treatments(raw: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Each action with its factor and how it is treated: what a person reads beside a total-return series.

    Parameters
    ----------
    raw
        symbol, session, close: unadjusted.

    Returns
    -------
    polars.DataFrame
        symbol, session, kind, ratio, amount, close_before, event_factor (1 where it is not applied), treatment.
    """
    closes = raw.select("symbol", "session", pl.col("close").cast(pl.Float64).alias("close_before"))
    # Sorted by session over all symbols, which makes each symbol's rows sorted too.
    before = (
        actions.select("symbol", "session", "kind", "ratio", "amount")
        .sort("session", maintain_order=True)
        .join_asof(
            closes.drop_nulls().sort("session"),
            on="session",
            by="symbol",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
    )
    ratio = pl.col("ratio")
    share = 1.0 - pl.col("amount") / pl.col("close_before")
    treatment = (
        pl.when(pl.col("kind") == "split")
        .then(pl.lit(APPLIED))
        .when(pl.col("amount").is_null() & ratio.is_null())
        .then(pl.lit(UNKNOWN_VALUE))
        .when(pl.col("amount").is_null())
        .then(pl.lit(FLAGGED))
        .when(pl.col("close_before").is_null())
        .then(pl.lit(NO_CLOSE))
        .when(share <= 0.0)
        .then(pl.lit(IMPOSSIBLE))
        .when(pl.col("kind") == "spin_off")
        .then(pl.lit(FLAGGED))
        .otherwise(pl.lit(APPLIED))
    )
    factor = pl.when((pl.col("kind") == "split") | pl.col("amount").is_null()).then(1.0 / ratio).otherwise(share)
    in_force = pl.col("treatment").is_in([APPLIED, FLAGGED])
    return (
        before.with_columns(treatment.alias("treatment"))
        .with_columns(pl.when(in_force).then(factor).otherwise(1.0).alias("event_factor"))
        .select("symbol", "session", "kind", "ratio", "amount", "close_before", "event_factor", "treatment")
        .sort("symbol", "session", "kind")
    )


def _split_factors(actions: pl.DataFrame) -> pl.DataFrame:
    splits = actions.filter(pl.col("kind") == "split")
    return splits.select("symbol", "session", (1.0 / pl.col("ratio")).alias("event_factor"))


def _with_factor(frame: pl.DataFrame, events: pl.DataFrame, name: str) -> pl.DataFrame:
    """``frame``, in its order, with the product of the factors of every later ex-date of its symbol."""
    daily = events.group_by("symbol", "session").agg(pl.col("event_factor").product()).sort("symbol", "session")
    cumulative = daily.select(
        "symbol",
        "session",
        pl.col("event_factor").cum_prod(reverse=True).over("symbol", order_by="session").alias(name),
    )
    return (
        frame.with_row_index("__order")
        .sort("session", maintain_order=True)
        .join_asof(
            cumulative.sort("session"),
            on="session",
            by="symbol",
            strategy="forward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .with_columns(pl.col(name).fill_null(1.0))
        .sort("__order")
        .drop("__order")
    )
