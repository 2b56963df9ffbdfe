"""Folds whose training outcomes never overlap the outcomes they are judged on.

The outcome of session t is known from the close of t to that of t + horizon. A training session whose outcome shares a
session with one of the test's would hand over its answer: it is purged. An embargo keeps further sessions apart,
because features of neighbouring sessions resemble each other (Lopez de Prado 2018, Advances in Financial Machine
Learning, chapter 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.columns import IntArray


@dataclass(frozen=True)
class Fold:
    """Places, in the list of sessions that was split, of what is trained on and of what it is judged on."""

    train: IntArray
    test: IntArray


def walk_forward_folds(sessions: IntArray, folds: int, horizon: int, embargo: int) -> list[Fold]:
    """Test blocks that follow each other, each trained on everything before it that does not reach into it.

    Parameters
    ----------
    sessions
        Numbers of the sessions on the exchange's calendar, increasing; they may leave some out. Cut into ``folds + 1``
        blocks of equal length, the first of which is only trained on.
    folds
        Test blocks.
    horizon, embargo
        Sessions over which an outcome comes about, and further ones kept free before each test.

    Raises
    ------
    ForecastError
        There are too few sessions for every fold to have a training and a test part.
    """
    blocks = np.array_split(np.arange(len(sessions)), folds + 1)
    found = []
    for test in blocks[1:]:
        if len(test) == 0:
            raise _too_few(len(sessions), folds, horizon, embargo)
        train = np.flatnonzero(sessions + horizon + embargo <= sessions[test[0]])
        if len(train) == 0:
            raise _too_few(len(sessions), folds, horizon, embargo)
        found.append(Fold(train, test))
    return found


def _too_few(count: int, folds: int, horizon: int, embargo: int) -> ForecastError:
    return ForecastError(
        f"{count} training sessions are too few for {folds} folds with a horizon of {horizon} and an embargo of "
        f"{embargo} sessions: lengthen forecasting.learned.history_sessions or take fewer folds"
    )
