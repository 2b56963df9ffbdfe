"""The same features written with polars' ``.over("symbol")``: the other reference a user would write.

Takes the full grid of symbols and sessions as ``polars_grid`` gives it, sorted by symbol and session; absent is null.
The expressions run in three stages, because a window cannot stand inside a window.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from quant_dagster.market_data.panel import FIELDS, Panel

ANNUAL = float(np.sqrt(252.0))
EWMAC = {(8, 32): 5.3, (16, 64): 3.75, (32, 128): 2.65, (64, 256): 1.87}


def polars_grid(panel: Panel) -> pl.DataFrame:
    """The panel as long rows, symbol by symbol, one for every session."""
    n, m = panel.close.shape
    columns = {field: pl.Series(getattr(panel, field).T.ravel(), nan_to_null=True) for field in FIELDS}
    symbols = pl.Series(np.repeat(np.array(panel.symbols, dtype=object), n), dtype=pl.String).cast(pl.Categorical)
    sessions = pl.Series(np.tile(panel.sessions.astype("datetime64[D]"), m))
    return pl.DataFrame({"symbol": symbols, "session": sessions, **columns})


def polars_features(data: pl.DataFrame) -> pl.DataFrame:
    """The data with a column for each feature."""
    c = pl.col

    def own(expression: pl.Expr) -> pl.Expr:
        return expression.over("symbol")

    def ewm(name: str, span: int, minimum: int, adjust: bool = True) -> pl.Expr:
        mean = c(name).ewm_mean(span=span, adjust=adjust, ignore_nulls=True, min_samples=minimum)
        return own(pl.when(c(name).is_not_null()).then(mean))

    logs = data.lazy().with_columns(
        *(c(field).log().alias(f"log_{field}") for field in ("open", "high", "low", "close")),
        (c("close") * c("volume")).alias("dollars"),
        own(c("close") - c("close").forward_fill().shift(1)).alias("change"),
    )
    returns = logs.with_columns(
        own(c("log_close").diff()).alias("return_1"),
        own(c("log_open") - c("log_close").shift(1)).alias("overnight"),
        ((c("log_high") - c("log_low")) ** 2).alias("range"),
        (c("log_close") - c("log_open")).alias("body"),
    )
    first = returns.with_columns(
        c("return_1").mean().over("session").alias("market"),
        (c("return_1").abs() * 1e6 / pl.when(c("dollars") > 0).then(c("dollars"))).alias("impact"),
        (c("return_1").sign() * c("volume")).alias("signed"),
        (0.5 * c("range") - (2.0 * np.log(2.0) - 1.0) * c("body") ** 2).alias("garman"),
        (
            (c("log_high") - c("log_close")) * (c("log_high") - c("log_open"))
            + (c("log_low") - c("log_close")) * (c("log_low") - c("log_open"))
        ).alias("satchell"),
        (ewm("close", 12, 26, False) - ewm("close", 26, 26, False)).alias("macd"),
    )
    r, close = c("return_1"), c("close")
    windows = [own(c("log_close") - c("log_close").shift(h)).alias(f"return_{h}") for h in (5, 10, 20)]
    windows += [own(r.shift(h)).alias(f"return_1_lag_{h}") for h in (1, 5, 10, 20)]
    windows += [own(r - r.shift(1)).alias("return_difference")]
    momentum = {"momentum_3_1": 63, "momentum_6_1": 126, "momentum_12_1": 252}
    windows += [own(c("log_close").shift(21) - c("log_close").shift(far)).alias(name) for name, far in momentum.items()]
    for w in (5, 10, 20, 60):
        windows += [own(r.rolling_mean(w)).alias(f"return_mean_{w}")]
        windows += [own(r.rolling_std(w) * ANNUAL).alias(f"volatility_{w}")]
    for w in (20, 60):
        windows += [
            own(r.rolling_skew(w, bias=False)).alias(f"return_skew_{w}"),
            own(r.rolling_kurtosis(w, bias=False)).alias(f"return_kurtosis_{w}"),
            own(r.rolling_min(w)).alias(f"return_min_{w}"),
            own(r.rolling_max(w)).alias(f"return_max_{w}"),
            own((r - r.rolling_mean(w)) / r.rolling_std(w)).alias(f"return_z_{w}"),
            own((close.rolling_rank(w, "average") - 1.0) / (w - 1.0)).alias(f"close_position_{w}"),
        ]
    windows += [(close / ewm("close", span, span)).log().alias(f"ewma_trend_{span}") for span in (10, 50, 200)]
    price_std = c("change").ewm_std(span=35, ignore_nulls=True, min_samples=10)
    for (fast, slow), scalar in EWMAC.items():
        spread = ewm("close", fast, slow) - ewm("close", slow, slow)
        windows += [(spread * scalar / own(price_std)).clip(-20, 20).alias(f"ewmac_{fast}_{slow}")]
    windows += [own(close / close.rolling_mean(w) - 1.0).alias(f"distance_mean_{w}") for w in (20, 50, 200)]
    windows += [ewm("macd", 9, 9, False).alias("macd_signal")]
    middle, band = close.rolling_mean(20), 2.0 * close.rolling_std(20, ddof=0)
    windows += [
        own((close - (middle - band)) / (2.0 * band)).alias("bollinger_position"),
        own(2.0 * band / middle).alias("bollinger_width"),
        own(close / close.rolling_max(252) - 1.0).alias("drawdown_252"),
        own((c("range").rolling_mean(20) / (4.0 * np.log(2.0))).sqrt() * ANNUAL).alias("parkinson_20"),
        own(c("garman").rolling_mean(20).sqrt() * ANNUAL).alias("garman_klass_20"),
        own(c("satchell").rolling_mean(20).sqrt() * ANNUAL).alias("rogers_satchell_20"),
    ]
    k = 0.34 / (1.34 + 21.0 / 19.0)
    variance = c("overnight").rolling_var(20) + k * c("body").rolling_var(20) + (1 - k) * c("satchell").rolling_mean(20)
    volume = c("volume")
    lowest, highest = c("low").rolling_min(14), c("high").rolling_max(14)
    market, both = c("market"), pl.when(r.is_not_null()).then(c("market"))
    covariance = (r * market).rolling_mean(60) - r.rolling_mean(60) * market.rolling_mean(60)
    windows += [
        own(variance.sqrt() * ANNUAL).alias("yang_zhang_20"),
        own((volume - volume.rolling_mean(20)) / volume.rolling_std(20)).alias("volume_z_20"),
        own(c("dollars").rolling_mean(20)).alias("dollar_volume_20"),
        own(c("impact").rolling_mean(20)).alias("amihud_20"),
        own(c("signed").rolling_mean(20) / volume.rolling_mean(20)).alias("signed_volume_20"),
        own(100.0 * (close - lowest) / (highest - lowest)).alias("stochastic_k_14"),
        own(covariance / both.rolling_var(60, ddof=0)).alias("beta_60"),
        own(c("log_close") - c("log_close").shift(20) - 20.0 * market.rolling_mean(20)).alias("relative_return_20"),
    ]
    last = [(c("macd") - c("macd_signal")).alias("macd_histogram")]
    last += [own(c("stochastic_k_14").rolling_mean(3)).alias("stochastic_d_14")]
    last += [
        (c(name).rank() / c(name).count()).over("session").alias(f"rank_{name}")
        for name in ("momentum_12_1", "return_20", "volatility_20")
    ]
    return first.with_columns(windows).with_columns(last).collect()
