"""Forecasts of every symbol for one session: all model families, each falling back on its own, in one table."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import polars as pl

from quant_dagster.errors import ConfigurationError, ForecastError
from quant_dagster.forecasting.families import Answer, Family, Request, chains
from quant_dagster.forecasting.history import ReturnHistory, return_history
from quant_dagster.forecasting.parameters import LONGEST_HORIZON, ForecastParameters
from quant_dagster.forecasting.records import Forecast, ForecastModel, forecast_table, normal_quantiles
from quant_dagster.market_data.panel import Panel

SMALLEST_VARIANCE = 1e-14  # of a daily log return; below it the price does not move and is not forecast
NEEDS_HISTORY = frozenset(
    {ForecastModel.AR, ForecastModel.SARIMAX, ForecastModel.GARCH, ForecastModel.HMM_2, ForecastModel.HMM_3}
)  # the rest are fallbacks, which need no more than moments

Progress = Callable[[str, int, int], None]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForecastFailure:
    """A model that did not answer for a symbol; ``fell_back_to`` is None when the symbol is not forecast at all."""

    symbol: str
    model: str
    reason: str
    fell_back_to: str | None


@dataclass(frozen=True)
class ForecastRun:
    """One session's forecasts (``FORECAST_SCHEMA``) and everything that did not go as planned."""

    frame: pl.DataFrame
    failures: tuple[ForecastFailure, ...]


@dataclass(frozen=True)
class _Chosen:
    """The answer kept for one symbol, and the (model, reason) pairs of those before it in the chain."""

    model: ForecastModel
    answer: Answer
    refused: tuple[tuple[str, str], ...]

    @property
    def fallback(self) -> str | None:
        return "; ".join(f"{model}: {reason}" for model, reason in self.refused) or None


def forecast_session(
    panel: Panel,
    *,
    horizons: tuple[int, ...] = (1, 5),
    data_version: int,
    settings: ForecastParameters | None = None,
    progress: Progress | None = None,
) -> ForecastRun:
    """Forecast the log return of every symbol after the panel's last session.

    For each symbol and horizon there is one row for the mean, the variance and the regime model, and a ``combined``
    row with the mean model's mean and the variance model's standard deviation. A model that fails, for one symbol or
    altogether, is replaced by a simpler one under that one's name, with what failed and why in ``fallback``.

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
    progress
        Called on this thread with a model's name, the symbols done and all symbols.

    Raises
    ------
    ConfigurationError
        For horizons out of range.
    ForecastError
        For a panel without sessions.
    """
    settings = settings if settings is not None else ForecastParameters()
    increasing = bool(horizons) and sorted(set(horizons)) == list(horizons)
    if not increasing or horizons[0] < 1 or horizons[-1] > LONGEST_HORIZON:
        raise ConfigurationError(
            f"forecasts: horizons are {horizons}; give increasing numbers from 1 to {LONGEST_HORIZON}"
        )
    if len(panel.sessions) == 0:
        raise ForecastError("forecasts: the panel has no sessions; load prices first")
    session, workers = panel.last_session, settings.workers or os.cpu_count() or 1
    history = return_history(panel, settings.window, settings.longest_gap)
    unusable = _unusable(history, settings, session)
    unready = _unready(history, settings, session)
    failures = [
        ForecastFailure(symbol, "all", reason, None)
        for symbol, reason in zip(panel.symbols, unusable, strict=True)
        if reason is not None
    ]
    usable = np.array([reason is None for reason in unusable], np.bool_)
    request = Request(history, horizons, settings, workers, usable)
    answered = [_ask(chain, request, unready, progress) for chain in chains(settings).values()]
    forecasts: list[Forecast] = []
    for j in np.flatnonzero(usable).tolist():
        symbol = panel.symbols[j]
        rows = []
        for kept, refused in answered:
            fell_back_to = kept[j].model.value if j in kept else None
            failures.extend(ForecastFailure(symbol, model, why, fell_back_to) for model, why in refused[j])
            if j in kept:
                rows.append(kept[j])
        (means, _), (variances, _) = answered[:2]
        if j in means and j in variances:
            rows.append(_combined(means[j], variances[j]))
        for row in rows:
            forecasts.extend(_rows(row, session, symbol, horizons, data_version))
    return ForecastRun(forecast_table(forecasts), tuple(failures))


def _ask(
    chain: list[tuple[ForecastModel, Family]],
    request: Request,
    unready: list[str | None],
    progress: Progress | None,
) -> tuple[dict[int, _Chosen], dict[int, list[tuple[str, str]]]]:
    """The first answer in the chain for each symbol asked about, and each symbol's (model, reason) refusals.

    A symbol that is not ready for models goes to the fallbacks at once. A family that raises has refused every
    symbol; what it raised is logged.
    """
    kept: dict[int, _Chosen] = {}
    refused: dict[int, list[tuple[str, str]]] = {j: [] for j in np.flatnonzero(request.tried).tolist()}
    for model, family in chain:
        waiting = [j for j in refused if j not in kept]
        if not waiting:
            break
        asked = np.zeros_like(request.tried)
        for j in waiting:
            reason = unready[j] if model in NEEDS_HISTORY else None
            if reason is None:
                asked[j] = True
            else:
                refused[j].append((model.value, reason))
        if not asked.any():
            continue
        answers = _isolated(model, family, replace(request, tried=asked, progress=_named(progress, model)))
        for j in np.flatnonzero(asked).tolist():
            answer = answers[j]
            if isinstance(answer, str):
                refused[j].append((model.value, answer))
            elif not _is_sound(answer):
                refused[j].append((model.value, "the forecast is not finite or has no spread"))
            else:
                kept[j] = _Chosen(model, answer, tuple(refused[j]))
    return kept, refused


def _isolated(model: ForecastModel, family: Family, request: Request) -> list[Answer | str]:
    try:
        return family(request)
    except Exception as error:  # noqa: BLE001 - recorded and logged; must not cost the other families
        _LOG.exception("model family %s failed for all symbols", model.value)
        return [f"{type(error).__name__}: {error}"] * len(request.tried)


def _named(progress: Progress | None, model: ForecastModel) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(model.value, done, total)


def _is_sound(answer: Answer) -> bool:
    finite = bool(np.all(np.isfinite(answer.mean)) and np.all(np.isfinite(answer.std)) and np.all(answer.std > 0.0))
    return finite and (answer.quantiles is None or bool(np.all(np.isfinite(answer.quantiles))))


def _combined(means: _Chosen, variances: _Chosen) -> _Chosen:
    sources = {"distribution": "normal", "mean_model": means.model.value, "std_model": variances.model.value}
    answer = Answer(means.answer.mean, variances.answer.std, sources, {})
    return _Chosen(ForecastModel.COMBINED, answer, means.refused + variances.refused)


def _rows(kept: _Chosen, session: date, symbol: str, horizons: tuple[int, ...], data_version: int) -> list[Forecast]:
    means, stds = kept.answer.mean.tolist(), kept.answer.std.tolist()
    quantiles = None if kept.answer.quantiles is None else kept.answer.quantiles.tolist()
    return [
        Forecast(
            session=session,
            symbol=symbol,
            model=kept.model,
            horizon=horizon,
            mean=means[i],
            std=stds[i],
            quantiles=normal_quantiles(means[i], stds[i]) if quantiles is None else tuple(quantiles[i]),
            parameters=kept.answer.parameters,
            diagnostics=kept.answer.diagnostics,
            data_version=data_version,
            fallback=kept.fallback,
        )
        for i, horizon in enumerate(horizons)
    ]


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
