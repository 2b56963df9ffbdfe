"""Training: folds, a selection inside each, trees, and what their predictions were worth on sessions they never saw.

A prediction is an expected rank. What it says of the return is found by regressing, over all unseen sessions, each
outcome less its session's mean on the prediction. The slope is shrunk by the positive-part rule of James and Stein,
``1 - 1 / t ** 2`` with the t statistic of the rank correlation, and never below zero: trees that know nothing, or the
wrong way round, move no forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray
from quant_dagster.forecasting.learned.dataset import (
    WARM_UP,
    Dataset,
    build_dataset,
    build_inputs,
    demeaned,
    rank_correlation,
)
from quant_dagster.forecasting.learned.folds import Fold, walk_forward_folds
from quant_dagster.forecasting.learned.generation import Candidates, evaluate
from quant_dagster.forecasting.learned.selection import Merit, Selection, ranked, select_features
from quant_dagster.forecasting.learned.trees import Trees, grow
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.market_data.panel import Panel


@dataclass(frozen=True)
class FoldResult:
    """One fold: its selection, and the trees' predictions of its test sessions, shape (sessions, m)."""

    fold: Fold
    selection: Selection
    predicted: FloatArray
    information_coefficient: float


@dataclass(frozen=True)
class Trained:
    """A trained model: a function of the panel up to ``trained_on``, the settings and the code.

    Attributes
    ----------
    trees
        Grown on all sessions, from the features that were worth most over the folds.
    horizon
        Sessions of the outcome it predicts.
    slope
        Log return, over the horizon and relative to the other symbols, for one unit of prediction; shrunk, at least 0.
    raw_slope
        As it was estimated.
    residual_scale
        Root mean square, over unseen sessions, of the outcome less what was forecast, over volatility times the root of
        the horizon.
    information_coefficient, ic_t
        Mean rank correlation of prediction and outcome over the unseen sessions, and its t statistic, for which
        sessions whose outcomes overlap count as one.
    unseen
        Number of those sessions.
    folds
        Mean rank correlation of each fold.
    importance
        (fold, feature, importance, rank, selected); fold -1 is the final model.
    sessions
        Sessions it was trained on.
    """

    trained_on: date
    trees: Trees
    horizon: int
    slope: float
    raw_slope: float
    residual_scale: float
    information_coefficient: float
    ic_t: float
    unseen: int
    folds: tuple[float, ...]
    importance: tuple[tuple[int, str, float, int, bool], ...]
    sessions: int


def training_rows(settings: ForecastParameters) -> int:
    """Sessions up to the one trained at that a training reads.

    No more than every session until the next training still holds of it in its window of ``window + 1``, so that the
    model can be trained again to the same bits as long as it is in use.
    """
    learned = settings.learned
    return max(1, min(learned.history_sessions + WARM_UP, settings.window + 2 - learned.retrain_sessions))


def train(
    panel: Panel,
    settings: ForecastParameters,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Trained:
    """Train at the panel's last session.

    Parameters
    ----------
    panel
        What is read of it: see :func:`training_rows`; the caller cuts it.
    workers
        Folds trained side by side. The result does not depend on it.
    progress
        Called with the steps done and all steps.

    Raises
    ------
    ForecastError
        There is too little history or there are too few symbols.
    """
    learned = settings.learned
    dataset = build_dataset(panel, settings.exchange, learned.horizon, learned.history_sessions, workers)
    candidates = Candidates(dataset.inputs, dataset.sessions)
    merit = Merit(dataset, candidates)
    folds = walk_forward_folds(dataset.sessions, learned.folds, learned.horizon, embargo=learned.horizon)
    results: list[FoldResult] = []
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        jobs = pool.map(lambda fold: judge_fold(dataset, candidates, merit, fold, learned.features), folds)
        for result in jobs:
            results.append(result)
            if progress is not None:
                progress(len(results), len(folds) + 1)
    final = ranked(*_over_folds(results), keep=learned.features)
    trees = grow(candidates, dataset.label, final.kept, np.arange(len(dataset.sessions)))
    if progress is not None:
        progress(len(folds) + 1, len(folds) + 1)
    return _calibrated(panel, dataset, results, final, trees)


def judge_fold(dataset: Dataset, candidates: Candidates, merit: Merit, fold: Fold, keep: int) -> FoldResult:
    """Select and grow on the fold's training part, predict its test part."""
    selection = select_features(dataset, candidates, merit, fold.train, keep)
    trees = grow(candidates, dataset.label, selection.kept, fold.train)
    wanted = np.isfinite(dataset.outcome[fold.test])
    predicted = np.full(wanted.shape, np.nan)
    predicted[wanted] = trees.predict(candidates.table(selection.kept, fold.test, wanted))
    found = _informed(rank_correlation(predicted, dataset.outcome[fold.test]))
    return FoldResult(fold, selection, predicted, float(found.mean()))


def predict(trained: Trained, panel: Panel, exchange: str, threads: int | None = None) -> tuple[FloatArray, FloatArray]:
    """What the trees expect of each symbol at the panel's last session, and its volatility of one session.

    Returns
    -------
    tuple of FloatArray
        Prediction (an expected centred rank less the mean over the symbols) and standard deviation, shape (m,) each;
        NaN for symbols without a close, or without a volatility.
    """
    inputs = build_inputs(panel, exchange, threads)
    last = np.array([len(panel.sessions) - 1])
    table = np.column_stack([evaluate(name, inputs, last)[0] for name in trained.trees.features])
    here = panel.close[-1] > 0.0
    predicted = np.full(len(panel.symbols), np.nan)
    if here.any():
        predicted[here] = trained.trees.predict(table[here])
    return demeaned(predicted[None, :])[0], inputs.volatility[-1]


def _over_folds(results: list[FoldResult]) -> tuple[list[str], FloatArray]:
    """Every candidate of a fold with its mean importance; 0 where a fold did not consider it."""
    total: dict[str, float] = {}
    for result in results:
        for name, worth in zip(result.selection.names, result.selection.importance.tolist(), strict=True):
            total[name] = total.get(name, 0.0) + worth / len(results)
    names = sorted(total)
    return names, np.array([total[name] for name in names])


def _calibrated(panel: Panel, dataset: Dataset, results: list[FoldResult], final: Selection, trees: Trees) -> Trained:
    tested = np.concatenate([result.fold.test for result in results])
    predicted = demeaned(np.concatenate([result.predicted for result in results]))
    outcome = dataset.outcome[tested]
    correlation = _informed(rank_correlation(predicted, outcome))
    mean, spread = float(correlation.mean()), float(correlation.std(ddof=1))
    step = int(dataset.sessions[-1] - dataset.sessions[-2])
    apart = len(tested) / max(1.0, dataset.horizon / step)
    t = mean / spread * float(np.sqrt(apart)) if spread > 0.0 else 0.0
    known = np.isfinite(predicted) & np.isfinite(outcome)
    power = float(np.sum(predicted[known] ** 2))
    raw = float(np.sum(predicted[known] * demeaned(outcome)[known])) / power if power > 0.0 else 0.0
    slope = max(raw, 0.0) * max(0.0, 1.0 - 1.0 / t**2) if t > 0.0 else 0.0
    deviation = dataset.inputs.volatility[dataset.sessions[tested]] * np.sqrt(dataset.horizon)
    standard = ((outcome - slope * np.where(np.isfinite(predicted), predicted, 0.0)) / deviation)[known]
    standard = standard[np.isfinite(standard)]
    scale = float(np.sqrt(np.mean(standard**2))) if len(standard) else 0.0
    if not scale > 0.0:
        raise ForecastError("the learned model has no unseen outcome to judge its errors by: load more history")
    rows = [
        (number, name, float(worth), place + 1, place < chosen.selected)
        for number, chosen in [*enumerate(result.selection for result in results), (-1, final)]
        for place, (name, worth) in enumerate(zip(chosen.names, chosen.importance.tolist(), strict=True))
    ]
    return Trained(
        trained_on=panel.last_session,
        trees=trees,
        horizon=dataset.horizon,
        slope=slope,
        raw_slope=raw,
        residual_scale=scale,
        information_coefficient=mean,
        ic_t=t,
        unseen=len(tested),
        folds=tuple(result.information_coefficient for result in results),
        importance=tuple(rows),
        sessions=len(dataset.sessions),
    )


def _informed(correlation: FloatArray) -> FloatArray:
    """Rank correlations by session; one that does not exist counts as 0: nothing was known then."""
    return np.where(np.isfinite(correlation), correlation, 0.0)
