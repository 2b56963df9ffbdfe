"""The same features written with pandas' groupby, as somebody without kernels would: the reference to agree with.

Takes the full grid of symbols and sessions (absent bars are NaN rows), sorted by symbol and session. Wilder's
smoothing and anything that pandas has no grouped form of is left to other references.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_dagster.features.calendar import day_kinds
from quant_dagster.market_data.panel import FIELDS, Panel

ANNUAL = np.sqrt(252.0)


def grid(panel: Panel) -> pd.DataFrame:
    """The panel as long rows, symbol by symbol, one for every session."""
    n, m = panel.close.shape
    columns = {field: getattr(panel, field).T.ravel() for field in FIELDS}
    symbols = np.repeat(np.array(panel.symbols, dtype=object), n)
    return pd.DataFrame({"symbol": symbols, "session": np.tile(panel.sessions.astype("datetime64[ns]"), m), **columns})


def reference_features(data: pd.DataFrame) -> dict[str, pd.Series]:
    """Features by name, aligned with the rows of ``data``."""
    symbol, session = data["symbol"], data["session"]
    close, log_close = data["close"], np.log(data["close"])

    def by_symbol(x: pd.Series) -> pd.core.groupby.SeriesGroupBy:
        return x.groupby(symbol, sort=False)

    def rolled(x: pd.Series, window: int, statistic: str, **options: object) -> pd.Series:
        result = getattr(by_symbol(x).rolling(window), statistic)(**options)
        return result.reset_index(level=0, drop=True)

    def ewm(x: pd.Series, statistic: str, minimum: int, **options: object) -> pd.Series:
        grouped = by_symbol(x).ewm(ignore_na=True, min_periods=minimum, **options)
        return getattr(grouped, statistic)().reset_index(level=0, drop=True).where(x.notna())

    out: dict[str, pd.Series] = {}
    returns = log_close - by_symbol(log_close).shift(1)
    for h in (1, 5, 10, 20):
        out[f"return_{h}"] = log_close - by_symbol(log_close).shift(h)
        out[f"return_1_lag_{h}"] = by_symbol(returns).shift(h)
    for name, far in (("momentum_3_1", 63), ("momentum_6_1", 126), ("momentum_12_1", 252)):
        out[name] = by_symbol(log_close).shift(21) - by_symbol(log_close).shift(far)
    for w in (5, 10, 20, 60):
        out[f"return_mean_{w}"] = rolled(returns, w, "mean")
        out[f"volatility_{w}"] = rolled(returns, w, "std") * ANNUAL
    for w in (20, 60):
        out[f"return_skew_{w}"] = rolled(returns, w, "skew")
        out[f"return_kurtosis_{w}"] = rolled(returns, w, "kurt")
        out[f"return_min_{w}"] = rolled(returns, w, "min")
        out[f"return_max_{w}"] = rolled(returns, w, "max")
        out[f"return_z_{w}"] = (returns - out[f"return_mean_{w}"]) / (out[f"volatility_{w}"] / ANNUAL)
        out[f"close_position_{w}"] = (rolled(close, w, "rank") - 1.0) / (w - 1.0)

    for span in (10, 50, 200):
        out[f"ewma_trend_{span}"] = np.log(close / ewm(close, "mean", span, span=span))
    present = close.dropna()
    change = (present - present.groupby(symbol[close.notna()], sort=False).shift(1)).reindex(close.index)
    price_std = ewm(change, "std", 10, span=35)
    for (fast, slow), scalar in {(8, 32): 5.3, (16, 64): 3.75, (32, 128): 2.65, (64, 256): 1.87}.items():
        spread = ewm(close, "mean", slow, span=fast) - ewm(close, "mean", slow, span=slow)
        out[f"ewmac_{fast}_{slow}"] = (spread * scalar / price_std).clip(-20, 20)
    for w in (20, 50, 200):
        out[f"distance_mean_{w}"] = close / rolled(close, w, "mean") - 1.0
    fast_mean, slow_mean = (ewm(close, "mean", 26, span=span, adjust=False) for span in (12, 26))
    out["macd"] = fast_mean - slow_mean
    out["macd_signal"] = ewm(out["macd"], "mean", 9, span=9, adjust=False)
    out["macd_histogram"] = out["macd"] - out["macd_signal"]
    middle, band = rolled(close, 20, "mean"), 2.0 * rolled(close, 20, "std", ddof=0)
    out["bollinger_position"] = (close - (middle - band)) / (2.0 * band)
    out["bollinger_width"] = 2.0 * band / middle
    out["drawdown_252"] = close / rolled(close, 252, "max") - 1.0

    squared_range = np.log(data["high"] / data["low"]) ** 2
    out["parkinson_20"] = np.sqrt(rolled(squared_range, 20, "mean") / (4.0 * np.log(2.0))) * ANNUAL
    variance = 0.5 * squared_range - (2.0 * np.log(2.0) - 1.0) * np.log(close / data["open"]) ** 2
    out["garman_klass_20"] = np.sqrt(rolled(variance, 20, "mean").where(lambda x: x >= 0)) * ANNUAL

    volume, dollars = data["volume"], close * data["volume"]
    out["volume_z_20"] = (volume - rolled(volume, 20, "mean")) / rolled(volume, 20, "std")
    out["dollar_volume_20"] = rolled(dollars, 20, "mean")
    out["amihud_20"] = rolled(returns.abs() * 1e6 / dollars.where(dollars > 0), 20, "mean")

    log_open, log_high, log_low = (np.log(data[field]) for field in ("open", "high", "low"))
    up, down, body = log_high - log_close, log_low - log_close, log_close - log_open
    satchell = rolled(up * (up + body) + down * (down + body), 20, "mean")
    out["rogers_satchell_20"] = np.sqrt(satchell.where(lambda x: x >= 0)) * ANNUAL
    k = 0.34 / (1.34 + 21.0 / 19.0)
    overnight = log_open - by_symbol(log_close).shift(1)
    variance = rolled(overnight, 20, "var") + k * rolled(body, 20, "var") + (1.0 - k) * satchell
    out["yang_zhang_20"] = np.sqrt(variance.where(lambda x: x >= 0)) * ANNUAL
    lowest, highest = rolled(data["low"], 14, "min"), rolled(data["high"], 14, "max")
    out["stochastic_k_14"] = 100.0 * (close - lowest) / (highest - lowest).where(lambda x: x != 0)
    out["stochastic_d_14"] = rolled(out["stochastic_k_14"], 3, "mean")
    out["signed_volume_20"] = rolled(np.sign(returns) * volume, 20, "mean") / rolled(volume, 20, "mean")
    out["return_difference"] = returns - by_symbol(returns).shift(1)
    out.update(seasonal_reference(symbol, session, returns))

    market = returns.groupby(session).transform("mean")
    covariance = rolled(returns * market, 60, "mean") - rolled(returns, 60, "mean") * rolled(market, 60, "mean")
    out["beta_60"] = covariance / rolled(market.where(returns.notna()), 60, "var", ddof=0)
    out["relative_return_20"] = out["return_20"] - 20.0 * rolled(market, 20, "mean")
    for name in ("momentum_12_1", "return_20", "volatility_20"):
        out[f"rank_{name}"] = out[name].groupby(session).rank(pct=True)
    return out


def seasonal_reference(symbol: pd.Series, session: pd.Series, returns: pd.Series) -> dict[str, pd.Series]:
    """Running means by kind of day less those of all days, once a symbol has shown 252 returns."""
    out: dict[str, pd.Series] = {}
    seen = returns.notna()
    ready = seen & (seen.groupby(symbol, sort=False).cumsum() >= 252)
    filled = returns.fillna(0.0)

    def running(among: pd.Series, keys: list[pd.Series], with_this: bool) -> pd.Series:
        chosen = seen & among
        total = filled.where(chosen, 0.0).groupby(keys, sort=False).cumsum()
        count = chosen.astype(float).groupby(keys, sort=False).cumsum()
        if not with_this:
            total, count = total - filled.where(chosen, 0.0), count - chosen
        return total / count

    every = pd.Series(True, index=returns.index)
    for name, kind in (("seasonal_weekday", session.dt.weekday), ("seasonal_month", session.dt.month)):
        own, all_days = running(every, [symbol, kind], False), running(every, [symbol], False)
        out[name] = (own - all_days).where(ready)
    days = pd.DatetimeIndex(session.unique()).sort_values()
    kinds = day_kinds(days.to_numpy().astype("datetime64[D]"))
    place = days.get_indexer(session)
    for i, name in enumerate(("holiday_effect", "month_turn_effect", "quarter_end_effect")):
        special = pd.Series(kinds[place, 2 + i] == 1, index=returns.index)
        out[name] = (running(special, [symbol], True) - running(every, [symbol], True)).where(ready)
    return out
