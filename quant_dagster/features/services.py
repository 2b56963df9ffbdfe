"""Which features each Feast service holds: lists that, once released, are never changed.

A service is what a reader of features depends on. New features come in a new version, beside the old one: whoever asks
for version 1 gets version 1's features, whatever was added to the registry since. The service of a strategy holds what
its alpha reads. Belongs here: names and lists. Does not: what a feature is (``definitions``) or how one is served
(``store``).

Feast's own versions of views number the changes a registry happened to go through, so that ``@v1`` means one list in
one home and another in the next; they are kept as the registry's own record of changes and not used to name anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

_DAILY_1 = (
    "return_1", "return_5", "return_10", "return_20", "return_1_lag_1", "return_1_lag_5", "return_1_lag_10",
    "return_1_lag_20", "return_mean_5", "return_mean_10", "return_mean_20", "return_mean_60", "return_skew_20",
    "return_kurtosis_20", "return_min_20", "return_max_20", "return_z_20", "close_position_20", "return_skew_60",
    "return_kurtosis_60", "return_min_60", "return_max_60", "return_z_60", "close_position_60", "momentum_3_1",
    "momentum_6_1", "momentum_12_1", "ewma_trend_10", "ewma_trend_50", "ewma_trend_200", "ewmac_8_32",
    "ewmac_16_64", "ewmac_32_128", "ewmac_64_256", "distance_mean_20", "distance_mean_50", "distance_mean_200",
    "rsi_14", "macd", "macd_signal", "macd_histogram", "bollinger_position", "bollinger_width", "drawdown_252",
    "volatility_5", "volatility_10", "volatility_20", "volatility_60", "volatility_ewma", "atr_14", "parkinson_20",
    "garman_klass_20", "autocorrelation_20", "volume_z_20", "dollar_volume_20", "amihud_20", "rank_momentum_12_1",
    "rank_return_20", "rank_volatility_20", "beta_60", "residual_volatility_60", "relative_return_20",
    "day_of_week", "month_of_year", "sessions_to_month_end", "sessions_to_quarter_end", "is_before_holiday",
    "is_after_holiday",
)  # fmt: skip
_ADDED_2 = (
    "return_difference", "fractional_difference", "seasonal_weekday", "seasonal_month", "seasonal_residual",
    "holiday_effect", "month_turn_effect", "quarter_end_effect", "stochastic_k_14", "stochastic_d_14", "plus_di_14",
    "minus_di_14", "adx_14", "cci_20", "trend_slope_60", "trend_distance_60", "wavelet_distance", "fourier_slope",
    "rogers_satchell_20", "yang_zhang_20", "wavelet_noise_share", "signed_volume_20",
)  # fmt: skip
_DAILY_2 = _DAILY_1 + _ADDED_2
_RISK = ("rank_volatility_20",)
"""What every alpha judges a symbol's risk by."""


@dataclass(frozen=True)
class Service:
    """A feature service: what it is for, and its features."""

    description: str
    features: tuple[str, ...]


SERVICES: MappingProxyType[str, Service] = MappingProxyType(
    {
        "us_equity_daily_v1": Service("Daily features of US equities, first version.", _DAILY_1),
        "us_equity_daily_v2": Service(
            "Every daily feature of US equities, as the forecasting models read them; version 1 and decomposed prices, "
            "seasons, directional movement and more measures of range and volume.",
            _DAILY_2,
        ),
        "trend_v1": Service("What the trend alpha reads.", ("ewmac_16_64", "ewmac_32_128", "ewmac_64_256", *_RISK)),
        "mean_reversion_v1": Service("What the mean reversion alpha reads.", ("ewmac_64_256", *_RISK)),
        "pairs_v1": Service("What the pairs alpha reads.", _RISK),
        "learned_v1": Service("What the learned alpha's trees choose from, and what it judges risk by.", _DAILY_2),
        "composite_v1": Service("What the alphas that vote in the composite read, together.", _DAILY_2),
    }
)
"""Every service by name. A released one is never changed; a change is a new version."""

SERVICE = "us_equity_daily_v2"
"""The newest service that holds every daily feature."""


def service_of(alpha: str) -> str:
    """Name of the newest service of a strategy's alpha (``trend``); KeyError where there is none."""
    versions = [name for name in SERVICES if name.rpartition("_v")[0] == alpha]
    if not versions:
        raise KeyError(alpha)
    return max(versions, key=lambda name: int(name.rpartition("_v")[2]))
