"""Each model family's answer for each symbol, in the words of the schema; a family that cannot answer says why.

A family is a function from the returns to one answer or one reason per symbol. The runner asks a chain of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant_dagster.forecasting import autoregression, garch, regimes, sarimax
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.fallbacks import RISKMETRICS_DECAY, ewma_variance
from quant_dagster.forecasting.history import ReturnHistory
from quant_dagster.forecasting.parameters import ForecastParameters, MeanModel
from quant_dagster.forecasting.records import LEVELS, ForecastModel

SMALLEST_VARIANCE_SHARE = 1e-6  # of the sample variance; a forecast below it is of a price that stopped moving


@dataclass(frozen=True)
class Answer:
    """One family's forecast of one symbol over all horizons; ``quantiles`` None means normal."""

    mean: FloatArray
    std: FloatArray
    parameters: Mapping[str, object]
    diagnostics: Mapping[str, object]
    quantiles: FloatArray | None = None


@dataclass(frozen=True)
class Request:
    """What a family is asked: ``tried`` marks the symbols that want an answer from it."""

    history: ReturnHistory
    horizons: tuple[int, ...]
    settings: ForecastParameters
    workers: int
    tried: NDArray[np.bool_]
    progress: Callable[[int, int], None] | None = None

    @property
    def steps(self) -> int:
        """The longest horizon."""
        return max(self.horizons)

    @property
    def at(self) -> NDArray[np.int64]:
        """Where each horizon is in an array over steps."""
        return np.array(self.horizons, np.int64) - 1


Family = Callable[[Request], list[Answer | str]]
_NOT_ASKED = "not asked"
_VANISHED = "the variance has vanished: the price has stopped moving"


def ar_family(request: Request) -> list[Answer | str]:
    """Autoregressions by least squares."""
    fits = autoregression.fit_autoregressions(
        request.history.returns,
        request.history.counts,
        max_order=request.settings.ar_max_order,
        steps=request.steps,
        tried=request.tried,
    )
    answers: list[Answer | str] = []
    for j, status in enumerate(fits.status.tolist()):
        if status != autoregression.FITTED:
            answers.append(autoregression.REASONS[status])
            continue
        order = int(fits.order[j])
        parameters = {
            "distribution": "normal",
            "order": order,
            "constant": float(fits.constant[j]),
            "coefficients": fits.coefficients[j, :order].tolist(),
            "residual_variance": float(fits.residual_variance[j]),
        }
        diagnostics = {
            "observations": int(request.history.counts[j]),
            "ljung_box": float(fits.ljung_box[j]),
            "ljung_box_p": float(fits.ljung_box_p[j]),
            "jarque_bera": float(fits.jarque_bera[j]),
            "jarque_bera_p": float(fits.jarque_bera_p[j]),
        }
        answers.append(Answer(fits.total_mean[j, request.at], fits.total_std[j, request.at], parameters, diagnostics))
    return answers


def sarimax_family(request: Request) -> list[Answer | str]:
    """Seasonal ARIMA by exact likelihood."""
    settings = request.settings
    columns = np.flatnonzero(request.tried).tolist()
    counts = request.history.counts
    fits = sarimax.forecast_sarimax(
        [np.ascontiguousarray(request.history.returns[: counts[j], j]) for j in columns],
        order=settings.sarimax_order,
        seasonal_order=settings.sarimax_seasonal_order,
        steps=request.steps,
        workers=request.workers,
        progress=request.progress,
    )
    answers: list[Answer | str] = [_NOT_ASKED] * len(request.tried)
    for j, fit in zip(columns, fits, strict=True):
        if isinstance(fit, str):
            answers[j] = fit
            continue
        parameters = {
            "distribution": "normal",
            "order": settings.sarimax_order,
            "seasonal_order": settings.sarimax_seasonal_order,
            **fit.parameters,
        }
        diagnostics = {
            "observations": int(counts[j]),
            "log_likelihood": fit.log_likelihood,
            "converged": fit.converged,
            "warnings": fit.warnings,
            "ljung_box": fit.ljung_box,
            "ljung_box_p": fit.ljung_box_p,
            "jarque_bera": fit.jarque_bera,
            "jarque_bera_p": fit.jarque_bera_p,
        }
        answers[j] = Answer(fit.total_mean[request.at], fit.total_std[request.at], parameters, diagnostics)
    return answers


def garch_family(request: Request) -> list[Answer | str]:
    """GARCH(1,1) variances around a constant mean."""
    settings = request.settings
    fits = garch.fit_garch(
        request.history.returns,
        request.history.counts,
        steps=request.steps,
        starts=settings.garch_starts,
        backcast=settings.garch_backcast,
        tried=request.tried,
        workers=request.workers,
        progress=request.progress,
    )
    totals = np.sqrt(np.cumsum(fits.step_variance, axis=1))
    answers: list[Answer | str] = []
    for j, status in enumerate(fits.status.tolist()):
        if status != garch.FITTED:
            answers.append(garch.REASONS[status])
            continue
        if not fits.step_variance[j, 0] > SMALLEST_VARIANCE_SHARE * request.history.variance[j]:
            answers.append(_VANISHED)
            continue
        parameters = {
            "distribution": "normal",
            "mu": float(fits.mu[j]),
            "omega": float(fits.omega[j]),
            "alpha": float(fits.alpha[j]),
            "beta": float(fits.beta[j]),
            "backcast": settings.garch_backcast.value,
        }
        diagnostics = {
            "observations": int(request.history.counts[j]),
            "log_likelihood": float(fits.log_likelihood[j]),
            "iterations": int(fits.iterations[j]),
            "persistence": float(fits.alpha[j] + fits.beta[j]),
            "at_bound": bool(fits.at_bound[j]),
            "ljung_box_squares": float(fits.ljung_box_squares[j]),
            "ljung_box_squares_p": float(fits.ljung_box_squares_p[j]),
        }
        mean = float(fits.mu[j]) * np.array(request.horizons)
        answers.append(Answer(mean, totals[j, request.at], parameters, diagnostics))
    return answers


def regime_family(request: Request) -> list[Answer | str]:
    """Gaussian hidden Markov models; states in order of volatility."""
    settings = request.settings
    fits = regimes.fit_regimes(
        request.history.returns,
        request.history.counts,
        states=settings.hmm_states,
        horizons=request.horizons,
        probabilities=LEVELS,
        iterations=settings.hmm_iterations,
        tolerance=settings.hmm_tolerance,
        tried=request.tried,
        workers=request.workers,
        progress=request.progress,
    )
    answers: list[Answer | str] = []
    for j, status in enumerate(fits.status.tolist()):
        if status != regimes.FITTED:
            answers.append(regimes.REASONS[status])
            continue
        parameters = {
            "distribution": "mixture of normals",
            "means": fits.means[j].tolist(),
            "stds": fits.stds[j].tolist(),
            "transition": fits.transition[j].tolist(),
            "initial": fits.initial[j].tolist(),
        }
        diagnostics = {
            "observations": int(request.history.counts[j]),
            "log_likelihood": float(fits.log_likelihood[j]),
            "iterations": int(fits.iterations[j]),
            "filtered_probabilities": fits.filtered[j].tolist(),
            "next_probabilities": (fits.filtered[j] @ fits.transition[j]).tolist(),
            "occupation": fits.occupation[j].tolist(),
        }
        answers.append(Answer(fits.total_mean[j], fits.total_std[j], parameters, diagnostics, fits.quantiles[j]))
    return answers


def historical_mean_family(request: Request) -> list[Answer | str]:
    """The sample mean and variance of the returns."""
    return _moments(request, {})


def single_regime_family(request: Request) -> list[Answer | str]:
    """One normal regime: the sample mean and variance, with certainty about the state."""
    return _moments(request, {"filtered_probabilities": [1.0], "next_probabilities": [1.0]})


def sample_variance_family(request: Request) -> list[Answer | str]:
    """The sample variance around the sample mean."""
    return _moments(request, {})


def ewma_family(request: Request) -> list[Answer | str]:
    """RiskMetrics' exponentially weighted variance around the sample mean."""
    history = request.history
    variance = ewma_variance(history.returns, history.counts)
    answers: list[Answer | str] = []
    for j, wanted in enumerate(request.tried.tolist()):
        if not wanted:
            answers.append(_NOT_ASKED)
        elif not variance[j] > SMALLEST_VARIANCE_SHARE * history.variance[j]:
            answers.append(_VANISHED)
        else:
            answers.append(_scaled(request, j, float(variance[j]), {"decay": RISKMETRICS_DECAY}, {}))
    return answers


def _moments(request: Request, diagnostics: Mapping[str, object]) -> list[Answer | str]:
    variance = request.history.variance
    return [
        _scaled(request, j, float(variance[j]), {}, diagnostics) if wanted else _NOT_ASKED
        for j, wanted in enumerate(request.tried.tolist())
    ]


def _scaled(
    request: Request, j: int, variance: float, parameters: Mapping[str, object], diagnostics: Mapping[str, object]
) -> Answer:
    """Independent returns: mean and variance grow with the horizon."""
    sessions = np.array(request.horizons, np.float64)
    mean = float(request.history.mean[j])
    return Answer(
        mean * sessions,
        np.sqrt(variance * sessions),
        {"distribution": "normal", "mean": mean, "variance": variance, **parameters},
        {"observations": int(request.history.counts[j]), **diagnostics},
    )


def chains(settings: ForecastParameters) -> dict[str, list[tuple[ForecastModel, Family]]]:
    """The families asked for the mean, the variance and the regime, best first; the last of each needs moments only."""
    means: list[tuple[ForecastModel, Family]] = [
        (ForecastModel.AR, ar_family),
        (ForecastModel.HISTORICAL_MEAN, historical_mean_family),
    ]
    if settings.mean_model is MeanModel.SARIMAX:
        means.insert(0, (ForecastModel.SARIMAX, sarimax_family))
    return {
        "mean": means,
        "variance": [
            (ForecastModel.GARCH, garch_family),
            (ForecastModel.EWMA, ewma_family),
            (ForecastModel.SAMPLE_VARIANCE, sample_variance_family),
        ],
        "regime": [
            (ForecastModel(f"hmm{settings.hmm_states}"), regime_family),
            (ForecastModel.SINGLE_REGIME, single_regime_family),
        ],
    }
