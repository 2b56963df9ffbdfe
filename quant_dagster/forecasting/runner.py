"""Forecasts of every symbol for one session: all model families, each falling back on its own, in one table.

The same function forecasts tonight's session and every origin of a validation: ``earlier`` holds the fits that may be
carried forward, ``weights`` what validation has found the models to be worth.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.errors import ConfigurationError, ForecastError
from quant_dagster.forecasting.carried import EarlierFits, due_for_refit, waiting_for_a_fit
from quant_dagster.forecasting.combination import ModelWeights, combine
from quant_dagster.forecasting.families.protocol import Answer, EarlierFit, Outcome, Refusal, Reply, Request
from quant_dagster.forecasting.families.registry import FamilySpec, chosen
from quant_dagster.forecasting.fan_out import ask
from quant_dagster.forecasting.history import ReturnHistory, return_history
from quant_dagster.forecasting.parameters import LONGEST_HORIZON, Backend, ForecastParameters
from quant_dagster.forecasting.records import Forecast, ForecastModel, Status, forecast_table, normal_quantiles
from quant_dagster.market_data.panel import Panel

SMALLEST_VARIANCE = 1e-14  # of a daily log return; below it the price does not move and is not forecast

LARGEST_MEAN = 10.0  # standard deviations of its own horizon; beyond it a model has lost itself

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ForecastFailure:
    """A model that did not answer for a symbol; ``fell_back_to`` is None when nobody could."""

    symbol: str
    model: str
    reason: str
    fell_back_to: str | None


@dataclass(frozen=True)
class ForecastRun:
    """One session's forecasts (``FORECAST_SCHEMA``) and everything that did not go as planned."""

    frame: pl.DataFrame
    failures: tuple[ForecastFailure, ...]


def forecast_session(
    panel: Panel,
    *,
    horizons: tuple[int, ...] = (1, 5),
    data_version: int,
    settings: ForecastParameters | None = None,
    earlier: EarlierFits | None = None,
    weights: ModelWeights | None = None,
    families: Sequence[FamilySpec] | None = None,
    progress: Progress | None = None,
) -> ForecastRun:
    """Forecast the log return of every symbol after the panel's last session.

    For each symbol, model and horizon there is exactly one row: the model's own forecast, that of the naive model that
    stood in, or none and the reason. A ``combined`` row holds the weighted mean and variance.

    Parameters
    ----------
    panel
        History up to and including the session; later rows must have been cut off (``Panel.until``).
    horizons
        Numbers of sessions, 1 to 63, increasing.
    data_version
        Version of the bars table, recorded with each row.
    settings
        None is the defaults.
    earlier
        Fits of earlier sessions that slow models carry forward; None: everything is fitted.
    weights
        What each model counts for in the combined forecast; None: the prior models of ``settings``.
    families
        None: those of the registry that ``settings`` asks for.
    progress
        Called with a model's name, the symbols done and all symbols, perhaps on another thread.

    Raises
    ------
    ConfigurationError
        For horizons out of range.
    ForecastError
        For a panel without sessions.
    """
    settings = settings if settings is not None else ForecastParameters()
    specs = chosen(settings) if families is None else tuple(families)
    outcomes = session_outcomes(
        panel, horizons=horizons, settings=settings, earlier=earlier, families=specs, progress=progress
    )
    combined = combine(outcomes, weights or ModelWeights.prior(settings), horizons)
    failures: list[ForecastFailure] = []
    for j, symbol in enumerate(panel.symbols):
        for outcome in (per_symbol[j] for per_symbol in outcomes.values()):
            if outcome.reason is not None:
                instead = outcome.answered_by.value if outcome.answered_by is not None else None
                failures.append(ForecastFailure(symbol, outcome.model.value, outcome.reason, instead))
    frame = outcome_table((*outcomes.values(), combined), panel, horizons, data_version)
    return ForecastRun(frame, tuple(failures))


def session_outcomes(
    panel: Panel,
    *,
    horizons: tuple[int, ...],
    settings: ForecastParameters,
    earlier: EarlierFits | None,
    families: Sequence[FamilySpec],
    progress: Progress | None = None,
) -> dict[ForecastModel, list[Outcome]]:
    """What came of asking each family for every symbol: :func:`forecast_session` before it is combined and written out.

    Parameters are those of :func:`forecast_session`. The naive models come first.
    """
    increasing = bool(horizons) and sorted(set(horizons)) == list(horizons)
    if not increasing or horizons[0] < 1 or horizons[-1] > LONGEST_HORIZON:
        raise ConfigurationError(
            f"forecasts: horizons are {horizons}; give increasing numbers from 1 to {LONGEST_HORIZON}"
        )
    if len(panel.sessions) == 0:
        raise ForecastError("forecasts: the panel has no sessions; load prices first")
    specs = tuple(families)
    workers = settings.workers or os.cpu_count() or 1
    history = return_history(panel, settings.window, settings.longest_gap)
    unusable = _unusable(history, settings, panel.last_session)
    unready = _unready(history, settings, panel.last_session)
    usable = np.array([reason is None for reason in unusable], np.bool_)
    recent = panel.last(settings.window + 1)
    request = Request(history, horizons, settings, workers, usable, recent)

    naive = {spec.model: _outcomes(spec, request, unusable) for spec in specs if spec.naive}
    naive = {spec.model: _with_stand_ins(spec, naive[spec.model], naive) for spec in specs if spec.naive}

    def asked(spec: FamilySpec) -> list[Outcome]:
        refusals = [first or second for first, second in zip(unusable, unready, strict=True)]
        one = _carrying(spec, replace(request, progress=_named(progress, spec.model)), earlier, refusals)
        return _with_stand_ins(spec, _outcomes(spec, one, refusals), naive)

    models = [spec for spec in specs if not spec.naive]
    if settings.backend is Backend.DASK:  # the cluster is given all families at once
        with ThreadPoolExecutor(max(1, len(models))) as pool:
            found = list(pool.map(asked, models))
    else:
        found = [asked(spec) for spec in models]
    return {spec.model: naive[spec.model] for spec in specs if spec.naive} | {
        spec.model: outcome for spec, outcome in zip(models, found, strict=True)
    }


def outcome_table(
    outcomes: Iterable[Sequence[Outcome]], panel: Panel, horizons: tuple[int, ...], data_version: int
) -> pl.DataFrame:
    """Outcomes of several models as rows of ``FORECAST_SCHEMA``: symbol by symbol, then model, then horizon."""
    models = tuple(outcomes)
    forecasts: list[Forecast] = []
    for j, symbol in enumerate(panel.symbols):
        for per_symbol in models:
            forecasts.extend(_rows(per_symbol[j], panel.last_session, symbol, horizons, data_version))
    return forecast_table(forecasts)


def _carrying(
    spec: FamilySpec, request: Request, earlier: EarlierFits | None, refusals: Sequence[str | None]
) -> Request:
    """The request with what the family may carry forward, and which of its fits are due."""
    if not spec.carried:
        return request
    known: dict[int, EarlierFit] = {}
    if earlier is not None:
        of_model = earlier.get(spec.model.value, {})
        known = {j: of_model[s] for j, s in enumerate(request.panel.symbols) if s in of_model}
    tried = request.tried & np.array([reason is None for reason in refusals], np.bool_)
    if spec.across:  # one model for all symbols: the family itself says when it is trained
        return replace(request, earlier=known, refit=tried)
    due = due_for_refit(request.panel.symbols, tried, known, request.settings, everything=earlier is None)
    return replace(request, earlier=known, refit=due)


def _outcomes(
    spec: FamilySpec,
    request: Request,
    refusals: Sequence[str | None],
) -> list[Outcome]:
    """The family's own answer for every symbol, or the reason why there is none."""
    tried = request.tried & np.array([reason is None for reason in refusals], np.bool_)
    waiting: NDArray[np.bool_] = np.zeros_like(tried)
    if spec.carried:
        waiting = tried & waiting_for_a_fit(request)
    tried &= ~waiting
    answers = ask(spec, replace(request, tried=tried)) if tried.any() else []
    outcomes = []
    for j, refusal in enumerate(refusals):
        if refusal is not None:
            outcomes.append(Outcome(spec.model, None, None, refusal))
        elif waiting[j]:
            outcomes.append(Outcome(spec.model, None, None, "waits for its first fit, which is spread over sessions"))
        else:
            outcomes.append(_judged(spec.model, answers[j], len(request.horizons)))
    return outcomes


def _judged(model: ForecastModel, answer: Reply, horizons: int) -> Outcome:
    if isinstance(answer, str):
        return Outcome(model, None, None, answer)
    if isinstance(answer, Refusal):
        return Outcome(model, None, None, answer.reason, answer.evidence)
    if not _is_sound(answer, horizons):
        return Outcome(model, None, None, "the forecast is not finite or has no spread")
    if np.any(np.abs(answer.mean) > LARGEST_MEAN * answer.std):
        worst = float(np.max(np.abs(answer.mean) / answer.std))
        return Outcome(model, None, None, f"the mean is {worst:.3g} standard deviations from zero: not believed")
    return Outcome(model, model, answer)


def _with_stand_ins(
    spec: FamilySpec, outcomes: list[Outcome], naive: Mapping[ForecastModel, list[Outcome]]
) -> list[Outcome]:
    """Outcomes in which a naive answer has taken the place of an absent one, where there is one."""
    done = []
    for j, outcome in enumerate(outcomes):
        if outcome.answer is not None:
            done.append(outcome)
            continue
        reasons = [f"{spec.model.value}: {outcome.reason}"]
        for model in spec.fallbacks:
            other = naive[model][j]
            if other.answer is not None and other.answered_by is model:
                outcome = replace(outcome, answered_by=model, answer=other.answer)
                break
            reasons.append(str(other.reason))
        done.append(replace(outcome, reason="; ".join(reasons)))
    return done


def _named(progress: Progress | None, model: ForecastModel) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(model.value, done, total)


def _is_sound(answer: Answer, horizons: int) -> bool:
    if answer.mean.shape != (horizons,) or answer.std.shape != (horizons,):
        return False
    finite = bool(np.all(np.isfinite(answer.mean)) and np.all(np.isfinite(answer.std)) and np.all(answer.std > 0.0))
    return finite and (answer.quantiles is None or bool(np.all(np.isfinite(answer.quantiles))))


def _rows(outcome: Outcome, session: date, symbol: str, horizons: tuple[int, ...], data_version: int) -> list[Forecast]:
    answer = outcome.answer
    fitted_on = session if answer is None else answer.fitted_on or session
    status = Status.FITTED if fitted_on == session else Status.CARRIED
    if answer is None:
        status = Status.REFUSED
    elif outcome.answered_by is not outcome.model:
        status = Status.FALLBACK
    diagnostics = {} if answer is None else dict(answer.diagnostics)
    if outcome.evidence:
        diagnostics["refused"] = outcome.evidence
    quantiles = None if answer is None or answer.quantiles is None else answer.quantiles.tolist()
    rows = []
    for i, horizon in enumerate(horizons):
        mean = None if answer is None else float(answer.mean[i])
        std = None if answer is None else float(answer.std[i])
        if mean is None or std is None:
            levels: tuple[float, ...] = ()
        else:
            levels = normal_quantiles(mean, std) if quantiles is None else tuple(quantiles[i])
        rows.append(
            Forecast(
                session=session,
                symbol=symbol,
                model=outcome.model,
                horizon=horizon,
                status=status,
                answered_by=outcome.answered_by,
                fitted_on=None if answer is None else fitted_on,
                mean=mean,
                std=std,
                quantiles=levels,
                parameters={} if answer is None else answer.parameters,
                diagnostics=diagnostics,
                data_version=data_version,
                fallback=outcome.reason,
            )
        )
    return rows


def _unusable(history: ReturnHistory, settings: ForecastParameters, session: date) -> list[str | None]:
    """Why a symbol cannot be forecast at all, or None."""
    reasons: list[str | None] = []
    for count, stale, variance in zip(
        history.counts.tolist(), history.stale.tolist(), history.variance.tolist(), strict=True
    ):
        if stale < 0:
            reasons.append(f"no close in the {settings.window + 1} sessions to {session}")
        elif stale > settings.longest_gap:
            reasons.append(
                f"no close in the {stale} sessions to {session}; at most {settings.longest_gap} may be missed"
            )
        elif count < settings.fewest_observations:
            reasons.append(f"{count} returns to {session}, at least {settings.fewest_observations} are needed")
        elif not variance > SMALLEST_VARIANCE:
            reasons.append(f"the price did not move in {count} returns to {session}")
        else:
            reasons.append(None)
    return reasons


def _unready(history: ReturnHistory, settings: ForecastParameters, session: date) -> list[str | None]:
    """Why a symbol that can be forecast should not be modelled, or None."""
    reasons: list[str | None] = []
    for count, stale in zip(history.counts.tolist(), history.stale.tolist(), strict=True):
        if count < settings.min_observations:
            reasons.append(f"{count} returns, the model needs {settings.min_observations}")
        elif stale > 0:
            reasons.append(f"no bar on {session}")
        else:
            reasons.append(None)
    return reasons
