"""No outcome that is trained on shares a session with one that is tested."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.learned.folds import Fold, walk_forward_folds

SIZES = {
    "count": st.integers(2, 160),
    "step": st.integers(1, 7),
    "folds": st.integers(2, 8),
    "horizon": st.integers(1, 25),
    "embargo": st.integers(0, 12),
}


def outcome(session: int, horizon: int) -> set[int]:
    """Sessions whose return is part of the outcome: those after ``session``."""
    return set(range(session + 1, session + horizon + 1))


def assert_apart(sessions: np.ndarray, fold: Fold, horizon: int, embargo: int) -> None:
    tested = set().union(*(outcome(int(s), horizon) for s in sessions[fold.test]))
    assert not set(fold.train.tolist()) & set(fold.test.tolist())
    for s in sessions[fold.train].tolist():
        widened = {near for one in outcome(s, horizon) for near in range(one - embargo, one + embargo + 1)}
        assert not widened & tested, f"session {s} is trained on, {sorted(widened & tested)} are tested"


@given(**SIZES)
def test_walk_forward_training_never_reaches_into_the_test(
    count: int, step: int, folds: int, horizon: int, embargo: int
) -> None:
    sessions = np.arange(count, dtype=np.int64) * step + 3
    try:
        found = walk_forward_folds(sessions, folds, horizon, embargo)
    except ForecastError:
        assume(False)
        return
    assert len(found) == folds
    for fold in found:
        assert_apart(sessions, fold, horizon, embargo)
        assert fold.train[-1] < fold.test[0]
    tested = np.concatenate([fold.test for fold in found])
    assert np.array_equal(tested, np.arange(tested[0], count)), "every session after the first block is tested once"


def test_no_session_is_purged_that_need_not_be() -> None:
    sessions = np.arange(100, dtype=np.int64)
    first = walk_forward_folds(sessions, 4, horizon=5, embargo=2)[0]
    assert first.test[0] == 20
    assert first.train[-1] == 13  # its outcome ends with session 18, two sessions before the test's decisions begin


def test_a_plain_split_would_overlap() -> None:
    sessions = np.arange(40, dtype=np.int64)
    with pytest.raises(AssertionError, match="are tested"):
        assert_apart(sessions, Fold(np.arange(20), np.arange(20, 40)), horizon=5, embargo=0)


def test_too_few_sessions_are_refused_with_what_to_do() -> None:
    with pytest.raises(ForecastError, match="history_sessions"):
        walk_forward_folds(np.arange(12, dtype=np.int64), 5, horizon=5, embargo=5)
