"""Conditional variances around a constant mean, as families: GARCH, GJR, EGARCH with Student-t errors, and DCC."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.families.protocol import SMALLEST_VARIANCE_SHARE, VANISHED, Answer, Request
from quant_dagster.forecasting.records import LEVELS
from quant_dagster.forecasting.variance import correlations, egarch, garch, search
from quant_dagster.forecasting.variance.diagnostics import ResidualTests, half_life, residual_tests

_EGARCH_PARAMETERS = ("mu", "omega", "alpha", "gamma", "beta", "nu")


def garch_family(request: Request) -> list[Answer | str]:
    """GARCH(1,1) variances around a constant mean."""
    return _gaussian(request, _fit_garch(request), asymmetric=False)


def gjr_family(request: Request) -> list[Answer | str]:
    """GJR-GARCH(1,1) variances around a constant mean: bad news raises them more than good news."""
    return _gaussian(request, _fit_garch(request, asymmetric=True), asymmetric=True)


def egarch_family(request: Request) -> list[Answer | str]:
    """EGARCH(1,1) variances around a constant mean, Student-t errors.

    Columns that ``request.refit`` leaves out are filtered with the parameters of their earlier fit. Quantiles are
    those of a Student-t variable with the errors' degrees of freedom at every horizon: exact over one session, and
    beyond it on the wide side, since a sum of several is closer to normal than each.
    """
    settings, history = request.settings, request.history
    known = np.full((len(history.counts), len(_EGARCH_PARAMETERS)), np.nan)
    carried = [j for j in request.earlier if request.refit is not None and not request.refit[j]]
    for j in carried:
        known[j] = _known(request.earlier[j].parameters)
    fits = egarch.fit_egarch(
        history.returns,
        history.counts,
        steps=request.steps,
        starts=settings.garch_starts,
        backcast=settings.garch_backcast,
        tried=request.tried,
        known=known if carried else None,
        workers=request.workers,
        progress=request.progress,
    )
    tests = residual_tests(fits.residuals, history.counts, fits.status == search.FITTED, request.workers)
    totals = np.sqrt(np.cumsum(fits.step_variance, axis=1))[:, request.at]
    units = egarch.student_t_quantiles(np.array(LEVELS), fits.nu)
    answers: list[Answer | str] = []
    for j, reason in enumerate(_reasons(request, fits.status, fits.step_variance)):
        if reason is not None:
            answers.append(reason)
            continue
        parameters: dict[str, object] = {"distribution": "student t", "backcast": settings.garch_backcast.value}
        parameters |= {name: float(getattr(fits, name)[j]) for name in _EGARCH_PARAMETERS}
        diagnostics = _diagnostics(request, j, fits.log_likelihood, float(fits.beta[j]), tests)
        diagnostics |= {"iterations": int(fits.iterations[j]), "at_bound": bool(fits.at_bound[j])}
        mean = float(fits.mu[j]) * np.array(request.horizons)
        quantiles = mean[:, None] + totals[j][:, None] * units[j][None, :]
        fitted_on = request.earlier[j].fitted_on if np.isfinite(known[j]).all() else None
        answers.append(Answer(mean, totals[j], parameters, diagnostics, quantiles, fitted_on))
    return answers


def dcc_family(request: Request) -> list[Answer | str]:
    """GARCH(1,1) variances, and how each symbol moves with the others: DCC(1,1) over all that have the history.

    Forecasts of single symbols are GARCH's; the matrix itself is ``correlations.correlate``'s to give.
    """
    fits = _fit_garch(request)
    answers = _gaussian(request, fits, asymmetric=False)
    aligned = correlations.aligned_residuals(
        request.panel, request.history, fits.residuals, fits.status == search.FITTED
    )
    try:
        found = correlations.correlate(request.panel, request.history, fits, request.workers)
    except ForecastError as error:
        return [answer if isinstance(answer, str) else str(error) for answer in answers]
    market = dict(zip(found.columns.tolist(), found.market_correlation.tolist(), strict=True))
    present = np.isfinite(aligned).sum(axis=0)
    shared = {"dcc_a": found.dynamics.a, "dcc_b": found.dynamics.b}
    fit: dict[str, object] = {
        "dcc_symbols": len(found.symbols),
        "dcc_composite_log_likelihood": found.dynamics.composite_log_likelihood,
        "dcc_persistence": found.dynamics.a + found.dynamics.b,
        "dcc_half_life": half_life(found.dynamics.a + found.dynamics.b),
        "dcc_at_bound": found.dynamics.at_bound,
        "dcc_converged": found.dynamics.converged,
        "dcc_shrinkage": found.dynamics.shrinkage,
    }
    for j, answer in enumerate(answers):
        if isinstance(answer, str):
            continue
        if j not in market:
            answers[j] = (
                f"residuals on {present[j]} of the {len(aligned)} sessions, correlations need "
                f"{correlations.SMALLEST_COVERAGE:.0%} and the last"
            )
            continue
        diagnostics = {**answer.diagnostics, **fit, "market_correlation": market[j]}
        answers[j] = Answer(answer.mean, answer.std, {**answer.parameters, **shared}, diagnostics)
    return answers


def _fit_garch(request: Request, *, asymmetric: bool = False) -> garch.GarchFits:
    settings = request.settings
    return garch.fit_garch(
        request.history.returns,
        request.history.counts,
        steps=request.steps,
        asymmetric=asymmetric,
        starts=settings.garch_starts,
        backcast=settings.garch_backcast,
        tried=request.tried,
        workers=request.workers,
        progress=request.progress,
    )


def _gaussian(request: Request, fits: garch.GarchFits, *, asymmetric: bool) -> list[Answer | str]:
    tests = residual_tests(fits.residuals, request.history.counts, fits.status == search.FITTED, request.workers)
    totals = np.sqrt(np.cumsum(fits.step_variance, axis=1))
    names = ("mu", "omega", "alpha", "gamma", "beta") if asymmetric else ("mu", "omega", "alpha", "beta")
    answers: list[Answer | str] = []
    for j, reason in enumerate(_reasons(request, fits.status, fits.step_variance)):
        if reason is not None:
            answers.append(reason)
            continue
        parameters: dict[str, object] = {"distribution": "normal", "backcast": request.settings.garch_backcast.value}
        parameters |= {name: float(getattr(fits, name)[j]) for name in names}
        diagnostics = _diagnostics(request, j, fits.log_likelihood, float(fits.persistence[j]), tests)
        diagnostics |= {"iterations": int(fits.iterations[j]), "at_bound": bool(fits.at_bound[j])}
        mean = float(fits.mu[j]) * np.array(request.horizons)
        answers.append(Answer(mean, totals[j, request.at], parameters, diagnostics))
    return answers


def _reasons(request: Request, status: NDArray[np.int8], step_variance: FloatArray) -> list[str | None]:
    """Why a column has no answer, or None."""
    reasons: list[str | None] = []
    for j, code in enumerate(status.tolist()):
        if code != search.FITTED:
            reasons.append(search.REASONS[code])
        elif not step_variance[j, 0] > SMALLEST_VARIANCE_SHARE * request.history.variance[j]:
            reasons.append(VANISHED)
        else:
            reasons.append(None)
    return reasons


def _diagnostics(
    request: Request, column: int, log_likelihood: FloatArray, persistence: float, tests: ResidualTests
) -> dict[str, object]:
    return {
        "observations": int(request.history.counts[column]),
        "log_likelihood": float(log_likelihood[column]),
        "persistence": persistence,
        "half_life": half_life(persistence),
        **tests.of(column),
    }


def _known(parameters: Mapping[str, object]) -> list[float]:
    """EGARCH parameters as an earlier session recorded them; NaN, to be estimated anew, where one is missing."""
    values = [parameters.get(name) for name in _EGARCH_PARAMETERS]
    return [float(value) if isinstance(value, int | float) else np.nan for value in values]
