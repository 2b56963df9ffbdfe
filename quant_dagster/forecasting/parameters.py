"""What the forecasting of one session depends on besides the prices, with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from quant_dagster.errors import ConfigurationError

_Choice = TypeVar("_Choice", bound=StrEnum)

LONGEST_HORIZON = 63  # a quarter of sessions; the regime mixture grows with horizon ** (states - 1)


class MeanModel(StrEnum):
    """Which family forecasts the mean."""

    AR = "ar"
    SARIMAX = "sarimax"


class Backcast(StrEnum):
    """What stands for the squared residual and the variance before the first observation of a GARCH recursion.

    ``SAMPLE_VARIANCE`` is the mean squared residual (Fiorentini, Calzolari & Panattoni 1996, and the published
    DEM/GBP benchmark); ``ARCH`` is the exponentially weighted (0.94) mean of the first 75 squared deviations from
    the sample mean, as the ``arch`` package does.
    """

    SAMPLE_VARIANCE = "sample_variance"
    ARCH = "arch"


@dataclass(frozen=True)
class ForecastParameters:
    """Settings of :func:`quant_dagster.forecasting.runner.forecast_session`.

    Attributes
    ----------
    window
        Newest sessions that may contribute a return.
    min_observations
        Returns a symbol must have before a model is fitted; with fewer it gets the fallback.
    fewest_observations
        Returns a symbol must have to be forecast at all.
    longest_gap
        Most sessions in a row a symbol may miss. History before a longer gap is not used, and a symbol that has
        missed more than this up to the forecast session is not forecast.
    mean_model, ar_max_order, sarimax_order, sarimax_seasonal_order
        The mean family; the AR order is chosen by BIC from 0 to ``ar_max_order``.
    garch_starts, garch_backcast
        Starting points (1 to 4) the best likelihood is taken from, and the recursion's first value.
    hmm_states, hmm_iterations, hmm_tolerance
        Regimes (2 or 3); EM stops when an iteration gains less log-likelihood than the tolerance.
    workers
        Threads (processes for SARIMAX); None is one per processor. The numbers do not depend on it.
    """

    window: int = 1000
    min_observations: int = 250
    fewest_observations: int = 20
    longest_gap: int = 5
    mean_model: MeanModel = MeanModel.AR
    ar_max_order: int = 5
    sarimax_order: tuple[int, int, int] = (1, 0, 0)
    sarimax_seasonal_order: tuple[int, int, int, int] = (0, 0, 0, 0)
    garch_starts: int = 2
    garch_backcast: Backcast = Backcast.SAMPLE_VARIANCE
    hmm_states: int = 2
    hmm_iterations: int = 500
    hmm_tolerance: float = 1e-3
    workers: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean_model", _member(MeanModel, "mean_model", self.mean_model))
        object.__setattr__(self, "garch_backcast", _member(Backcast, "garch_backcast", self.garch_backcast))
        _require("fewest_observations", self.fewest_observations, 20, 1_000_000)
        _require("min_observations", self.min_observations, max(60, self.fewest_observations), 1_000_000)
        _require("window", self.window, self.min_observations, 1_000_000)
        _require("longest_gap", self.longest_gap, 0, 1_000_000)
        _require("ar_max_order", self.ar_max_order, 0, 5)
        _require("garch_starts", self.garch_starts, 1, 4)
        _require("hmm_states", self.hmm_states, 2, 3)
        _require("hmm_iterations", self.hmm_iterations, 1, 100_000)
        if not self.hmm_tolerance > 0:
            raise ConfigurationError(f"forecasts: hmm_tolerance is {self.hmm_tolerance}; it must be above 0")
        if self.workers is not None:
            _require("workers", self.workers, 1, 1024)


def _require(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise ConfigurationError(f"forecasts: {name} is {value}; allowed are {lowest} to {highest}")


def _member(kind: type[_Choice], name: str, value: str) -> _Choice:
    try:
        return kind(value)
    except ValueError:
        allowed = ", ".join(member.value for member in kind)
        raise ConfigurationError(f"forecasts: {name} is '{value}'; allowed are {allowed}") from None
