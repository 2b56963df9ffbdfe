"""Gradient-boosted trees of scikit-learn: shallow, slow to learn, and the same bits on every run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from quant_dagster.forecasting.columns import FloatArray, IntArray
from quant_dagster.forecasting.learned.generation import Candidates

SETTINGS: dict[str, object] = {
    "loss": "squared_error",
    "max_iter": 60,
    "learning_rate": 0.05,
    "max_leaf_nodes": 15,
    "l2_regularization": 10.0,
    "max_features": 0.5,
    "early_stopping": False,
    "random_state": 0,
}
QUICK: dict[str, object] = {"max_iter": 30, "learning_rate": 0.1}
"""Half as many steps of twice the length: for trees that only compare features with each other."""
SMALLEST_LEAF, LEAF_SHARE = 20, 1.0 / 300.0
"""Cells a leaf must hold: this many, and this share of all."""


@dataclass(frozen=True)
class Trees:
    """Grown trees and the features, in order, that they take."""

    features: tuple[str, ...]
    estimator: Any

    def predict(self, table: FloatArray) -> FloatArray:
        """Expected centred rank of each row of ``table``, shape (cells, features)."""
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        with threadpool_limits(1, user_api="openmp"):
            return np.asarray(self.estimator.predict(table), dtype=np.float64)


def grow(
    candidates: Candidates, label: FloatArray, features: Sequence[str], rows: IntArray, *, quick: bool = False
) -> Trees:
    """Trees for the labels of the sessions in ``rows``, from ``features``; ``quick`` ones are fewer.

    One OpenMP thread: on cores that others use, more of them wait for each other longer than they work. Folds are
    trained side by side instead.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    wanted = np.isfinite(label[rows])
    leaf = max(SMALLEST_LEAF, int(wanted.sum() * LEAF_SHARE))
    estimator = HistGradientBoostingRegressor(min_samples_leaf=leaf, **(SETTINGS | QUICK if quick else SETTINGS))
    with threadpool_limits(1, user_api="openmp"):
        estimator.fit(candidates.table(features, rows, wanted), label[rows][wanted])
    return Trees(tuple(features), estimator)
