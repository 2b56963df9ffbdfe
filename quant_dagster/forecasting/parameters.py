"""What the forecasting of one session depends on besides the prices, with defaults."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from quant_dagster.errors import ConfigurationError

_Choice = TypeVar("_Choice", bound=StrEnum)

LONGEST_HORIZON = 63  # a quarter of sessions; the regime mixture grows with horizon ** (states - 1)


class Backcast(StrEnum):
    """What stands for the squared residual and the variance before the first observation of a GARCH recursion.

    ``SAMPLE_VARIANCE`` is the mean squared residual (Fiorentini, Calzolari & Panattoni 1996, and the published
    DEM/GBP benchmark); ``ARCH`` is the exponentially weighted (0.94) mean of the first 75 squared deviations from
    the sample mean, as the ``arch`` package does.
    """

    SAMPLE_VARIANCE = "sample_variance"
    ARCH = "arch"


class Backend(StrEnum):
    """Where models are fitted."""

    LOCAL = "local"
    DASK = "dask"


@dataclass(frozen=True)
class LanguageModelParameters:
    """The server a language model is asked at; see ``forecasting.language_model`` in the settings."""

    base_url: str = "http://127.0.0.1:11434"
    api: str = "ollama"
    model: str = "llama3.1:8b"
    api_key: str | None = None
    timeout_seconds: float = 60.0
    batch: int = 10
    concurrency: int = 2
    temperature: float = 0.0


@dataclass(frozen=True)
class LearnedParameters:
    """How the learned model is trained; see ``forecasting.learned`` in the settings."""

    horizon: int = 5
    history_sessions: int = 750
    retrain_sessions: int = 20
    folds: int = 5
    features: int = 25


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
    families
        Models that are asked; None is all but the language model. Naive forecasts are always made.
    prior_mean, prior_variance
        Whose mean and variance the combined forecast has while no validation has judged the models.
    refit_sessions, fewest_refits
        A model that is slow to fit is estimated anew every ``refit_sessions`` sessions and carried forward between. In
        one session as many symbols are fitted as spreads the work evenly, and at least ``fewest_refits``.
    time_out_seconds
        Longest a family may take for all symbols; then every symbol falls back.
    backend, dask_address
        Where families that hold the interpreter are fitted: ``local`` processes, or ``dask``: all families, on the
        cluster at that address.
    ar_max_order
        The AR order is chosen by BIC from 0 to this.
    sarimax_max_order, sarimax_seasonal_period, sarimax_calendar
        Largest p and q of the orders compared by BIC; period of a seasonal AR and MA term (0: none); whether the
        turn of the month and holidays are regressors.
    garch_starts, garch_backcast
        Starting points (1 to 4) the best likelihood is taken from, and the recursion's first value.
    hmm_states, hmm_iterations, hmm_tolerance
        Most regimes (2 or 3), the number chosen by BIC; EM stops when an iteration gains less log-likelihood than the
        tolerance.
    ssa_window, ssa_components, ssa_device
        Length of the lagged vectors and number of leading components of the singular spectrum; ``cpu`` or ``cuda``.
    ensemble_window, ensemble_holdout
        Newest sessions the ensemble's members are fitted on, and the sessions after those over which their errors
        decide their weights.
    learned, language_model
        Parameters of those two families.
    exchange
        Calendar of calendar features and regressors.
    artifacts
        Folder in which trained models are cached; None: they are trained anew, to the same bits.
    workers
        Threads and processes; None is one per processor. The numbers do not depend on it.
    """

    window: int = 1000
    min_observations: int = 250
    fewest_observations: int = 20
    longest_gap: int = 5
    families: tuple[str, ...] | None = None
    prior_mean: str = "ar"
    prior_variance: str = "garch11"
    refit_sessions: int = 5
    fewest_refits: int = 25
    time_out_seconds: float = 120.0
    backend: Backend = Backend.LOCAL
    dask_address: str | None = None
    ar_max_order: int = 5
    sarimax_max_order: int = 2
    sarimax_seasonal_period: int = 0
    sarimax_calendar: bool = False
    garch_starts: int = 2
    garch_backcast: Backcast = Backcast.SAMPLE_VARIANCE
    hmm_states: int = 2
    hmm_iterations: int = 500
    hmm_tolerance: float = 1e-3
    ssa_window: int = 60
    ssa_components: int = 6
    ssa_device: str = "cpu"
    ensemble_window: int = 500
    ensemble_holdout: int = 60
    learned: LearnedParameters = LearnedParameters()
    language_model: LanguageModelParameters = LanguageModelParameters()
    exchange: str = "XNYS"
    artifacts: Path | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "backend", _member(Backend, "backend", self.backend))
        object.__setattr__(self, "garch_backcast", _member(Backcast, "garch_backcast", self.garch_backcast))
        _require("fewest_observations", self.fewest_observations, 20, 1_000_000)
        _require("min_observations", self.min_observations, max(60, self.fewest_observations), 1_000_000)
        _require("window", self.window, self.min_observations, 1_000_000)
        _require("longest_gap", self.longest_gap, 0, 1_000_000)
        _require("ar_max_order", self.ar_max_order, 0, 5)
        _require("garch_starts", self.garch_starts, 1, 4)
        _require("hmm_states", self.hmm_states, 2, 3)
        _require("refit_sessions", self.refit_sessions, 1, 252)
        _require("fewest_refits", self.fewest_refits, 1, 1_000_000)
        _require("sarimax_max_order", self.sarimax_max_order, 0, 3)
        _require("sarimax_seasonal_period", self.sarimax_seasonal_period, 0, 21)
        _require("ssa_window", self.ssa_window, 10, self.min_observations)
        _require("ssa_components", self.ssa_components, 1, self.ssa_window)
        _require("ensemble_window", self.ensemble_window, 100, 1_000_000)
        _require("ensemble_holdout", self.ensemble_holdout, 10, self.ensemble_window)
        _require("hmm_iterations", self.hmm_iterations, 1, 100_000)
        if not self.hmm_tolerance > 0:
            raise ConfigurationError(f"forecasts: hmm_tolerance is {self.hmm_tolerance}; it must be above 0")
        if not self.time_out_seconds > 0:
            raise ConfigurationError(f"forecasts: time_out_seconds is {self.time_out_seconds}; it must be above 0")
        if self.backend is Backend.DASK and not self.dask_address:
            raise ConfigurationError("forecasts: backend is 'dask'; dask_address must say where its scheduler is")
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
