"""Hidden Markov regimes, as a family: two or three states by BIC, in order of volatility.

Symbols whose fit is not due keep their earlier parameters: the returns are filtered with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant_dagster.forecasting.columns import BoolArray
from quant_dagster.forecasting.families.protocol import Answer, EarlierFit, Request
from quant_dagster.forecasting.records import LEVELS
from quant_dagster.forecasting.regimes import hidden_markov
from quant_dagster.forecasting.regimes.estimation import RegimeParameters
from quant_dagster.forecasting.regimes.selection import choose_regimes


def regime_family(request: Request) -> list[Answer | str]:
    """Gaussian hidden Markov models with 2 to ``hmm_states`` states."""
    settings, history = request.settings, request.history
    earlier = {j: fit for j, fit in request.earlier.items() if _states(fit.parameters) <= settings.hmm_states}
    known = np.zeros(len(request.tried), np.bool_)
    known[list(earlier)] = True
    due = np.ones_like(known) if request.refit is None else request.refit | ~known
    before = {
        states: parameters
        for states in range(2, settings.hmm_states + 1)
        if (parameters := _parameters(earlier, states, known)) is not None
    }
    answers: list[Answer | str] = [hidden_markov.REASONS[hidden_markov.NOT_TRIED]] * len(request.tried)
    if bool(np.any(request.tried & due)):
        choice = choose_regimes(
            history.returns,
            history.counts,
            most_states=settings.hmm_states,
            horizons=request.horizons,
            probabilities=LEVELS,
            iterations=settings.hmm_iterations,
            tolerance=settings.hmm_tolerance,
            earlier=before,
            tried=request.tried & due,
            workers=request.workers,
            progress=request.progress,
        )
        for j in np.flatnonzero(request.tried & due).tolist():
            fits = choice.fits[int(choice.states[j])]
            extra = {
                "iterations": int(fits.iterations[j]),
                "occupation": fits.occupation[j].tolist(),
                "bic": {str(k + 1): value for k, value in enumerate(choice.bic[j].tolist())},
                "not_chosen": {
                    str(states): hidden_markov.REASONS[int(fit.status[j])]
                    for states, fit in choice.fits.items()
                    if fit.status[j] != hidden_markov.FITTED
                },
            }
            answers[j] = _answer(request, fits, j, extra)
    for parameters in before.values():
        carried = request.tried & ~due & np.isfinite(parameters.stds[:, 0])
        if not carried.any():
            continue
        fits = hidden_markov.filter_regimes(
            history.returns,
            history.counts,
            parameters,
            horizons=request.horizons,
            probabilities=LEVELS,
            tried=carried,
            workers=request.workers,
        )
        for j in np.flatnonzero(carried).tolist():
            answers[j] = _answer(request, fits, j, {}, earlier[j])
    return answers


def _answer(
    request: Request,
    fits: hidden_markov.RegimeFits,
    j: int,
    extra: Mapping[str, object],
    earlier: EarlierFit | None = None,
) -> Answer | str:
    status = int(fits.status[j])
    if status != hidden_markov.FITTED:
        return hidden_markov.REASONS[status]
    parameters = {
        "distribution": "mixture of normals",
        "states": fits.means.shape[1],
        "means": fits.means[j].tolist(),
        "stds": fits.stds[j].tolist(),
        "transition": fits.transition[j].tolist(),
        "initial": fits.initial[j].tolist(),
    }
    diagnostics = {
        "observations": int(request.history.counts[j]),
        "log_likelihood": float(fits.log_likelihood[j]),
        "filtered_probabilities": fits.filtered[j].tolist(),
        "next_probabilities": (fits.filtered[j] @ fits.transition[j]).tolist(),
        **extra,
    }
    fitted_on = None if earlier is None else earlier.fitted_on
    return Answer(fits.total_mean[j], fits.total_std[j], parameters, diagnostics, fits.quantiles[j], fitted_on)


def _states(parameters: Mapping[str, Any]) -> int:
    return len(parameters["means"])


def _parameters(earlier: Mapping[int, EarlierFit], states: int, known: BoolArray) -> RegimeParameters | None:
    """The earlier fits with that many states side by side; None where there are none."""
    chosen = [j for j, fit in earlier.items() if _states(fit.parameters) == states]
    if not chosen:
        return None
    means, stds, initial = (np.full((len(known), states), np.nan) for _ in range(3))
    transition = np.full((len(known), states, states), np.nan)
    for j in chosen:
        given = earlier[j].parameters
        means[j], stds[j], initial[j], transition[j] = (
            given[name] for name in ("means", "stds", "initial", "transition")
        )
    return RegimeParameters(means, stds, transition, initial)
