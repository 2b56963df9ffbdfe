"""Seasonal ARIMA means through statsmodels: one symbol at a time, so only where its cost is wanted.

statsmodels takes about 1.5 seconds to import and 70 milliseconds to fit a symbol; it is imported where it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray

_SCALE = 100.0  # the optimiser works on percent: variances near 1e-4 defeat its stopping rules


@dataclass(frozen=True)
class SarimaxForecast:
    """A SARIMAX fit's numbers, without the model object, so that it travels between processes.

    Attributes
    ----------
    parameters
        By statsmodels' names, in the units of the returns (``intercept``, ``ar.L1``, …, ``sigma2``).
    step_mean, step_std, total_mean, total_std
        Shape (steps,): of the return k sessions ahead and of the next k returns together.
    converged, warnings
        What the optimiser said, and every warning raised while fitting.
    ljung_box, ljung_box_p, jarque_bera, jarque_bera_p
        Of the one-step forecast errors, at lag 10 and with ``10 - parameters`` degrees of freedom.
    """

    parameters: dict[str, float]
    step_mean: FloatArray
    step_std: FloatArray
    total_mean: FloatArray
    total_std: FloatArray
    log_likelihood: float
    converged: bool
    warnings: tuple[str, ...]
    ljung_box: float
    ljung_box_p: float
    jarque_bera: float
    jarque_bera_p: float


class SarimaxModel:
    """A fitted SARIMAX(p, d, q)(P, D, Q, s) of one return series, to be forecast from and brought forward.

    Parameters
    ----------
    returns
        Shape (n,), without gaps, oldest first.
    order, seasonal_order
        As statsmodels takes them. A constant is fitted unless the model differences.
    parameters
        Estimates of an earlier session, by name: the filter is then only run with them, nothing is estimated.

    Raises
    ------
    ForecastError
        When the model cannot be estimated, or its estimates are not finite.
    """

    def __init__(
        self,
        returns: FloatArray,
        *,
        order: tuple[int, int, int],
        seasonal_order: tuple[int, int, int, int] = (0, 0, 0, 0),
        parameters: dict[str, float] | None = None,
    ) -> None:
        from statsmodels.tsa.statespace.sarimax import SARIMAX

        differences = order[1] + seasonal_order[1]
        name = f"SARIMAX{order}{seasonal_order} on {len(returns)} returns"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = SARIMAX(
                    returns * _SCALE, order=order, seasonal_order=seasonal_order, trend="n" if differences else "c"
                )
                if parameters is None:
                    self._results: Any = model.fit(disp=False, maxiter=200)
                else:
                    self._results = model.filter([_to_percent(key, parameters[key]) for key in model.param_names])
            except (ValueError, IndexError, KeyError, ArithmeticError, np.linalg.LinAlgError) as error:
                raise ForecastError(f"{name} could not be fitted: {type(error).__name__}: {error}") from error
        self.warnings = tuple(dict.fromkeys(f"{item.category.__name__}: {item.message}" for item in caught))
        self.converged = parameters is not None or bool(self._results.mle_retvals["converged"])
        if not np.all(np.isfinite(self._results.params)) or not np.isfinite(self._results.llf):
            raise ForecastError(f"{name} has estimates that are not finite")

    @property
    def parameters(self) -> dict[str, float]:
        """Estimates by name, in the units of the returns."""
        names = self._results.model.param_names
        return {key: _from_percent(key, value) for key, value in zip(names, self._results.params, strict=True)}

    def append(self, returns: FloatArray) -> None:
        """Bring the model forward over new returns with its estimates as they are (no new fit)."""
        self._results = self._results.append(returns * _SCALE, refit=False)

    def forecast(self, steps: int) -> SarimaxForecast:
        """Forecast the next ``steps`` returns, one by one and together, parameters taken as known.

        The variance of the total follows from the impulse responses ``psi``: ``s2 sum_j (psi_0 + … + psi_j) ** 2``.
        """
        from statsmodels.stats.diagnostic import acorr_ljungbox
        from statsmodels.stats.stattools import jarque_bera

        prediction = self._results.get_forecast(steps)
        mean = np.asarray(prediction.predicted_mean, dtype=np.float64) / _SCALE
        impulse = np.asarray(self._results.impulse_responses(steps - 1), dtype=np.float64).reshape(steps)
        variance = self.parameters["sigma2"] * np.cumsum(np.cumsum(impulse) ** 2)
        burn = int(self._results.loglikelihood_burn)
        errors = np.asarray(self._results.resid, dtype=np.float64)[burn:]
        estimated = len(self._results.params) - 1 - int("intercept" in self._results.model.param_names)
        box = acorr_ljungbox(errors, lags=[10], model_df=min(estimated, 9)).iloc[0]
        bera, bera_p = jarque_bera(errors)[:2]
        return SarimaxForecast(
            parameters=self.parameters,
            step_mean=mean,
            step_std=np.asarray(prediction.se_mean, dtype=np.float64) / _SCALE,
            total_mean=np.cumsum(mean),
            total_std=np.sqrt(variance),
            log_likelihood=float(self._results.llf) + (self._results.nobs - burn) * float(np.log(_SCALE)),
            converged=self.converged,
            warnings=self.warnings,
            ljung_box=float(box["lb_stat"]),
            ljung_box_p=float(box["lb_pvalue"]),
            jarque_bera=float(bera),
            jarque_bera_p=float(bera_p),
        )


def forecast_sarimax(
    series: Sequence[FloatArray],
    *,
    order: tuple[int, int, int],
    seasonal_order: tuple[int, int, int, int],
    steps: int,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> list[SarimaxForecast | str]:
    """Fit and forecast every series, in ``workers`` processes; a series that fails gives its reason instead."""
    from joblib import Parallel, delayed

    answers: list[SarimaxForecast | str] = []
    pool = Parallel(n_jobs=min(workers, max(1, len(series))), return_as="generator")
    for answer in pool(delayed(_forecast_one)(returns, order, seasonal_order, steps) for returns in series):
        answers.append(answer)
        if progress is not None:
            progress(len(answers), len(series))
    return answers


def _forecast_one(
    returns: FloatArray, order: tuple[int, int, int], seasonal_order: tuple[int, int, int, int], steps: int
) -> SarimaxForecast | str:
    try:
        return SarimaxModel(returns, order=order, seasonal_order=seasonal_order).forecast(steps)
    except ForecastError as error:
        return str(error)


def _to_percent(name: str, value: float) -> float:
    return value * {"intercept": _SCALE, "sigma2": _SCALE**2}.get(name, 1.0)


def _from_percent(name: str, value: float) -> float:
    return float(value) / {"intercept": _SCALE, "sigma2": _SCALE**2}.get(name, 1.0)
