"""The registry: what every feature is called, means, needs and is measured in.

``FEATURES`` is the one list. ``compute`` fills exactly these, the Feast repository generates its views from them,
and their order is the order of the columns everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

TRADING_DAYS = 252
"""Sessions in a year, for annualised figures."""


class View(StrEnum):
    """Feast feature views: features that are stored, pushed and served together."""

    RETURNS = "returns_features"
    TREND = "trend_features"
    VOLATILITY = "volatility_features"
    LIQUIDITY = "liquidity_features"
    CROSS_SECTION = "cross_section_features"
    CALENDAR = "calendar_features"


@dataclass(frozen=True)
class FeatureDefinition:
    """One feature.

    Attributes
    ----------
    name
        Column name, unique over all views.
    view
        The feature view it belongs to.
    needs
        Fields of the bar it is computed from; it is NaN where one of them is absent. Empty for calendar features.
    description
        One sentence, with the source of the formula where there is more than one.
    unit
        ``log return``, ``fraction``, ``annualised``, ``price``, ``usd``, ``sessions``, ``flag`` or a plain number.
    warm_up
        Bars a symbol must have before the first value.
    """

    name: str
    view: View
    needs: tuple[str, ...]
    description: str
    unit: str
    warm_up: int


CLOSE = ("close",)
RETURN_HORIZONS = (1, 5, 10, 20)
RETURN_LAGS = (1, 5, 10, 20)
MOMENT_WINDOWS = (5, 10, 20, 60)
SHAPE_WINDOWS = (20, 60)
MOMENTUM = {"momentum_3_1": (63, 21), "momentum_6_1": (126, 21), "momentum_12_1": (252, 21)}
TREND_SPANS = (10, 50, 200)
AVERAGE_WINDOWS = (20, 50, 200)
EWMAC_SCALARS = MappingProxyType({(8, 32): 5.3, (16, 64): 3.75, (32, 128): 2.65, (64, 256): 1.87})
"""Factors that bring a forecast's mean absolute value to 10 (Carver, Systematic Trading, 2015, appendix B)."""

TREND_WINDOW = 60
FRACTIONAL_ORDER, FRACTIONAL_WINDOW = 0.4, 60
WAVELET_LEVEL, ENERGY_LEVELS, ENERGY_WINDOW = 4, 4, 60
FOURIER_WINDOW, FOURIER_CYCLES = 64, 3
SEASONAL_MINIMUM = 252
"""Returns a symbol must have shown before its kinds of days are compared: a year has all of them."""


def _returns() -> Iterable[FeatureDefinition]:
    view = View.RETURNS
    for h in RETURN_HORIZONS:
        text = f"Log return of the close over the last {h} session{'s' if h > 1 else ''}."
        yield FeatureDefinition(f"return_{h}", view, CLOSE, text, "log return", h + 1)
    for lag in RETURN_LAGS:
        text = f"One-session log return as it was {lag} session{'s' if lag > 1 else ''} ago."
        yield FeatureDefinition(f"return_1_lag_{lag}", view, CLOSE, text, "log return", lag + 2)
    for w in MOMENT_WINDOWS:
        text = f"Mean one-session log return of the last {w} sessions."
        yield FeatureDefinition(f"return_mean_{w}", view, CLOSE, text, "log return", w + 1)
    for w in SHAPE_WINDOWS:
        texts = {
            f"return_skew_{w}": "Bias-adjusted skewness of one-session log returns; absent when they are all equal",
            f"return_kurtosis_{w}": "Bias-adjusted excess kurtosis of one-session log returns; absent when all equal",
            f"return_min_{w}": "Smallest one-session log return",
            f"return_max_{w}": "Largest one-session log return",
            f"return_z_{w}": "Today's log return less the window's mean, over its sample standard deviation",
            f"close_position_{w}": "Rank of today's close in the window: 0 the lowest, 1 the highest, ties half",
        }
        for name, text in texts.items():
            unit = "log return" if "_min_" in name or "_max_" in name else "number"
            extra = 0 if name.startswith("close") else 1
            yield FeatureDefinition(name, view, CLOSE, f"{text}; last {w} sessions.", unit, w + extra)
    for name, (far, near) in MOMENTUM.items():
        text = f"Log return from {far} to {near} sessions ago: momentum without the latest month."
        yield FeatureDefinition(name, view, CLOSE, text, "log return", far + 1)
    text = "Second difference of the log close: today's log return less yesterday's."
    yield FeatureDefinition("return_difference", view, CLOSE, text, "log return", 3)
    text = (
        f"Fractional difference of order {FRACTIONAL_ORDER} of the log close over {FRACTIONAL_WINDOW} sessions "
        "(Lopez de Prado 2018, chapter 5)."
    )
    yield FeatureDefinition("fractional_difference", view, CLOSE, text, "number", FRACTIONAL_WINDOW)
    seasonal = {
        "seasonal_weekday": "Mean log return of earlier sessions of this weekday less that of all earlier sessions.",
        "seasonal_month": "Mean log return of earlier sessions of this calendar month less that of all earlier ones.",
        "seasonal_residual": "Today's log return less trend_slope_60, seasonal_weekday and seasonal_month.",
        "holiday_effect": "Mean log return of sessions before scheduled holidays less that of all (Ariel 1990).",
        "month_turn_effect": "Mean log return of each month's last and first three sessions less that of all sessions "
        "(Lakonishok and Smidt 1988).",
        "quarter_end_effect": "Mean log return of the last sessions of quarters less that of all sessions.",
    }
    for name, text in seasonal.items():
        yield FeatureDefinition(name, view, CLOSE, text, "log return", SEASONAL_MINIMUM + 1)


def _trend() -> Iterable[FeatureDefinition]:
    view = View.TREND
    for span in TREND_SPANS:
        text = f"Log of the close over its exponentially weighted mean with span {span}."
        yield FeatureDefinition(f"ewma_trend_{span}", view, CLOSE, text, "log return", span)
    for (fast, slow), scalar in EWMAC_SCALARS.items():
        text = (
            f"Difference of the exponentially weighted means of spans {fast} and {slow} over the price volatility "
            f"(span 35), times {scalar}, within ±20 (Carver, Systematic Trading, appendix B)."
        )
        yield FeatureDefinition(f"ewmac_{fast}_{slow}", view, CLOSE, text, "number", slow)
    for w in AVERAGE_WINDOWS:
        text = f"Close over its simple mean of the last {w} sessions, less 1."
        yield FeatureDefinition(f"distance_mean_{w}", view, CLOSE, text, "fraction", w)
    yield FeatureDefinition(
        "rsi_14", view, CLOSE, "Relative strength index of 14 bars with Wilder's smoothing (Wilder 1978).", "0-100", 15
    )
    yield FeatureDefinition(
        "macd", view, CLOSE, "Exponential mean of span 12 less that of span 26 (Appel), begun at the first close.",
        "price", 26,
    )  # fmt: skip
    yield FeatureDefinition("macd_signal", view, CLOSE, "Exponential mean of span 9 of macd.", "price", 34)
    yield FeatureDefinition("macd_histogram", view, CLOSE, "macd less macd_signal.", "price", 34)
    yield FeatureDefinition(
        "bollinger_position", view, CLOSE,
        "Bollinger's %b: 0 at the lower band, 1 at the upper; 20 sessions, 2 population standard deviations.",
        "fraction", 20,
    )  # fmt: skip
    yield FeatureDefinition(
        "bollinger_width", view, CLOSE, "Upper less lower Bollinger band over the middle one.", "fraction", 20
    )
    yield FeatureDefinition(
        "drawdown_252", view, CLOSE, "Close over the highest close of the last 252 sessions, less 1.", "fraction", 252
    )
    bar = ("high", "low", "close")
    texts = {
        "stochastic_k_14": ("Lane's %K: where the close stands between the low and the high of 14 sessions.", 14),
        "stochastic_d_14": ("Mean of the last three stochastic_k_14.", 16),
        "plus_di_14": ("Wilder's (1978) +DI: smoothed upward movement over the smoothed true range, 14 bars.", 15),
        "minus_di_14": ("Wilder's (1978) -DI: smoothed downward movement over the smoothed true range, 14 bars.", 15),
        "adx_14": ("Wilder's (1978) average directional movement index of 14 bars.", 28),
    }
    for name, (text, warm_up) in texts.items():
        yield FeatureDefinition(name, view, bar, text, "0-100", warm_up)
    text = (
        "Commodity channel index (Lambert 1980): typical price less its mean over 0.015 mean deviations, 20 sessions."
    )
    yield FeatureDefinition("cci_20", view, bar, text, "number", 20)
    w = TREND_WINDOW
    text = f"Slope of the least-squares line through the last {w} log closes, a session."
    yield FeatureDefinition(f"trend_slope_{w}", view, CLOSE, text, "log return", w)
    text = f"Log close less the end of the least-squares line through the last {w}."
    yield FeatureDefinition(f"trend_distance_{w}", view, CLOSE, text, "log return", w)
    text = f"Log close less its smooth of level {WAVELET_LEVEL} of the causal D4 wavelet filter."
    yield FeatureDefinition("wavelet_distance", view, CLOSE, text, "log return", 3 * (2**WAVELET_LEVEL - 1) + 1)
    text = (
        f"Slope, a session, of the log close's line and {FOURIER_CYCLES} slowest harmonics over {FOURIER_WINDOW} "
        "sessions, at the last."
    )
    yield FeatureDefinition("fourier_slope", view, CLOSE, text, "log return", FOURIER_WINDOW)


def _volatility() -> Iterable[FeatureDefinition]:
    view = View.VOLATILITY
    for w in MOMENT_WINDOWS:
        text = f"Sample standard deviation of log returns of the last {w} sessions, times √252."
        yield FeatureDefinition(f"volatility_{w}", view, CLOSE, text, "annualised", w + 1)
    yield FeatureDefinition(
        "volatility_ewma", view, CLOSE,
        "RiskMetrics volatility: squared bar-to-bar log returns smoothed with λ = 0.94 from the mean of the first 20.",
        "annualised", 21,
    )  # fmt: skip
    yield FeatureDefinition(
        "atr_14", view, ("high", "low", "close"),
        "Average true range of 14 bars with Wilder's smoothing over the close.", "fraction", 14,
    )  # fmt: skip
    yield FeatureDefinition(
        "parkinson_20", view, ("high", "low"),
        "Parkinson (1980) volatility from high and low over 20 sessions.", "annualised", 20,
    )  # fmt: skip
    yield FeatureDefinition(
        "garman_klass_20", view, ("open", "high", "low", "close"),
        "Garman-Klass (1980) volatility over 20 sessions; absent where the mean variance is negative (bad opens).",
        "annualised", 20,
    )  # fmt: skip
    ohlc = ("open", "high", "low", "close")
    yield FeatureDefinition(
        "rogers_satchell_20", view, ohlc,
        "Rogers-Satchell (1991) volatility over 20 sessions, which a trend does not disturb; absent where the mean "
        "variance is negative (bad opens).", "annualised", 20,
    )  # fmt: skip
    yield FeatureDefinition(
        "yang_zhang_20", view, ohlc,
        "Yang-Zhang (2000) volatility over 20 sessions: overnight, open to close and Rogers-Satchell together.",
        "annualised", 21,
    )  # fmt: skip
    yield FeatureDefinition(
        "wavelet_noise_share", view, CLOSE,
        f"Share of the finest of {ENERGY_LEVELS} Haar details in their energy over {ENERGY_WINDOW} log returns: one "
        "half and more where returns reverse, less where they persist.",
        "fraction", ENERGY_WINDOW + 2**ENERGY_LEVELS,
    )  # fmt: skip
    yield FeatureDefinition(
        "autocorrelation_20", view, CLOSE,
        "Correlation of one-session log returns with the session before, over 20 pairs.", "number", 22,
    )  # fmt: skip


def _liquidity() -> Iterable[FeatureDefinition]:
    view = View.LIQUIDITY
    needs = ("close", "volume")
    yield FeatureDefinition(
        "volume_z_20", view, ("volume",),
        "Today's volume less the mean of 20 sessions over their sample standard deviation.", "number", 20,
    )  # fmt: skip
    yield FeatureDefinition("dollar_volume_20", view, needs, "Mean of close times volume over 20 sessions.", "usd", 20)
    yield FeatureDefinition(
        "amihud_20", view, needs,
        "Mean absolute log return per million dollars traded over 20 sessions (Amihud 2002); absent after a session "
        "without volume.", "per million usd", 21,
    )  # fmt: skip
    yield FeatureDefinition(
        "signed_volume_20", view, needs,
        "On-balance volume (Granville 1963) of 20 sessions over their volume: 1 where every share was traded on a "
        "rise.", "fraction", 21,
    )  # fmt: skip


def _cross_section() -> Iterable[FeatureDefinition]:
    view = View.CROSS_SECTION
    for ranked in ("momentum_12_1", "return_20", "volatility_20"):
        horizon = {"momentum_12_1": 253, "return_20": 21, "volatility_20": 21}[ranked]
        text = f"Percentile rank of {ranked} among the symbols that have one in the session, in (0, 1]."
        yield FeatureDefinition(f"rank_{ranked}", view, CLOSE, text, "fraction", horizon)
    yield FeatureDefinition(
        "beta_60", view, CLOSE,
        "Slope of log returns on the equal-weighted mean log return of the panel over 60 sessions.", "number", 61,
    )  # fmt: skip
    yield FeatureDefinition(
        "residual_volatility_60", view, CLOSE, "Volatility of what beta_60 leaves unexplained.", "annualised", 61
    )
    yield FeatureDefinition(
        "relative_return_20", view, CLOSE,
        "return_20 less the panel's equal-weighted log return over the same 20 sessions.", "log return", 21,
    )  # fmt: skip


def _calendar() -> Iterable[FeatureDefinition]:
    texts = {
        "day_of_week": ("Monday is 0.", "number"),
        "month_of_year": ("January is 1.", "number"),
        "sessions_to_month_end": ("Scheduled sessions left in the month after this one.", "sessions"),
        "sessions_to_quarter_end": ("Scheduled sessions left in the quarter after this one.", "sessions"),
        "is_before_holiday": ("1 when the next weekday is a scheduled exchange holiday.", "flag"),
        "is_after_holiday": ("1 when the exchange was closed on the weekday before.", "flag"),
    }
    for name, (text, unit) in texts.items():
        yield FeatureDefinition(name, View.CALENDAR, (), text, unit, 0)


FEATURES: MappingProxyType[str, FeatureDefinition] = MappingProxyType(
    {
        feature.name: feature
        for group in (_returns, _trend, _volatility, _liquidity, _cross_section, _calendar)
        for feature in group()
    }
)
"""Every feature by name, in the order of the columns."""


def features_of(view: View) -> tuple[FeatureDefinition, ...]:
    """The features of one view, in order."""
    return tuple(feature for feature in FEATURES.values() if feature.view is view)
