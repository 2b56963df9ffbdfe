"""Which features are worth keeping, found on a training part alone.

The newest quarter of the part is set aside (purged as any fold). On the older sessions features are screened by the t
statistic of their own rank correlation with the outcome, the grammar is applied to the best, and trees are grown on
what passes. A feature is then worth what the trees' rank correlation loses on the sessions set aside when the feature's
values are dealt out anew among the symbols of each session. Nothing outside the training part is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.learned.dataset import Dataset, rank_correlation
from quant_dagster.forecasting.learned.generation import BASES, Candidates, sentences
from quant_dagster.forecasting.learned.trees import Trees, grow

SCREENED = 60
"""Features that trees are grown on to tell what they are worth."""
FEWEST = 5
"""Features kept even where none was worth anything."""
SET_ASIDE = 0.25


@dataclass(frozen=True)
class Selection:
    """What features were worth on unseen sessions.

    Attributes
    ----------
    names
        The candidates, the most important first.
    importance
        float64, shape (len(names),): mean loss of rank correlation.
    selected
        How many of the first are kept.
    """

    names: tuple[str, ...]
    importance: FloatArray
    selected: int

    @property
    def kept(self) -> tuple[str, ...]:
        """The features that are kept, the most important first."""
        return self.names[: self.selected]


class Merit:
    """Rank correlation of each candidate with the outcome, session by session, worked out once for all folds.

    A session's value depends on that session only; a fold reads those of its training part.
    """

    def __init__(self, dataset: Dataset, candidates: Candidates) -> None:
        self.dataset, self.candidates = dataset, candidates
        self._known: dict[str, FloatArray] = {}
        self._lock = Lock()

    def strength(self, name: str, rows: IntArray) -> float:
        """Absolute t statistic of the mean rank correlation over ``rows``; 0 where fewer than half of them have one."""
        found = self._known.get(name)
        if found is None:
            found = rank_correlation(self.candidates[name], self.dataset.label)
            with self._lock:
                self._known[name] = found
        used = found[rows]
        used = used[np.isfinite(used)]
        if 2 * len(used) < max(len(rows), 4):
            return 0.0
        # Correlations that never vary are those of the outcome itself: as strong as can be, not a division by zero.
        spread = max(float(used.std()), 1e-9)
        return abs(float(used.mean())) / spread * float(np.sqrt(len(used)))


def select_features(dataset: Dataset, candidates: Candidates, merit: Merit, train: IntArray, keep: int) -> Selection:
    """Rank candidates by what they are worth, on the sessions ``train`` (places in ``dataset.sessions``) alone.

    Parameters
    ----------
    keep
        Most features to keep. Those that were worth nothing are dropped, down to ``FEWEST``.

    Raises
    ------
    ForecastError
        The training part is too short to set sessions aside.
    """
    numbers = dataset.sessions
    aside = train[int(len(train) * (1.0 - SET_ASIDE)) :]
    older = train[numbers[train] + 2 * dataset.horizon <= numbers[aside[0]]]
    if len(older) < 2 or len(aside) < 2:
        raise ForecastError(
            f"{len(train)} training sessions are too few to select features on: lengthen "
            "forecasting.learned.history_sessions or take fewer folds"
        )
    screened = _screened(dataset.inputs.names, merit, older)
    trees = grow(candidates, dataset.label, screened, older, quick=True)
    return ranked(screened, importances(trees, dataset, candidates, aside), keep)


def ranked(names: Sequence[str], importance: FloatArray, keep: int) -> Selection:
    """Candidates in order of importance (ties: of their place), the first ``keep`` of worth selected."""
    order = np.argsort(-importance, kind="stable")
    selected = min(len(names), keep, max(FEWEST, int(np.sum(importance > 0.0))))
    return Selection(tuple(names[i] for i in order), importance[order], selected)


def importances(trees: Trees, dataset: Dataset, candidates: Candidates, rows: IntArray) -> FloatArray:
    """Loss of mean rank correlation over ``rows`` when each of the trees' features is permuted within sessions."""
    label = dataset.label[rows]
    wanted = np.isfinite(label)
    table = candidates.table(trees.features, rows, wanted)
    correct = _skill(trees, table, label, wanted)
    sizes = wanted.sum(axis=1)
    session = np.repeat(np.arange(len(rows)), sizes)
    lost = np.zeros(len(trees.features))
    for i in range(len(trees.features)):
        original = table[:, i].copy()
        # One deal is enough: it averages over every symbol of every session. Seeded by place, so always the same.
        dealt = np.lexsort((np.random.default_rng(i).random(len(session)), session))
        table[:, i] = original[dealt]
        lost[i] = correct - _skill(trees, table, label, wanted)
        table[:, i] = original
    return lost


def _skill(trees: Trees, table: FloatArray, label: FloatArray, wanted: np.ndarray) -> float:
    predicted = np.full(label.shape, np.nan)
    predicted[wanted] = trees.predict(table)
    found = rank_correlation(predicted, label)
    # Trees that tell no symbol from another know nothing of the session.
    return float(np.where(np.isfinite(found), found, 0.0).mean())


def _screened(names: Sequence[str], merit: Merit, rows: IntArray) -> list[str]:
    """The strongest features and generated features; those that are alike for all symbols rank nobody."""
    alone = {name: merit.strength(name, rows) for name in names}
    bases = sorted((name for name in names if alone[name] > 0.0), key=lambda name: -alone[name])
    made = {name: merit.strength(name, rows) for name in sentences(bases[:BASES])}
    # A rank is the same to a rank correlation as the feature itself: the plain feature goes first.
    every = {**alone, **made}
    best = sorted((name for name in every if every[name] > 0.0), key=lambda name: -every[name])
    if not best:
        raise ForecastError("no feature differs between symbols in the training sessions: load more symbols or history")
    return best[:SCREENED]
