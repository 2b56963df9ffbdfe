"""Selection reads its own fold's training part and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.learned.boosting import judge_fold
from quant_dagster.forecasting.learned.dataset import Dataset, Inputs
from quant_dagster.forecasting.learned.folds import Fold, walk_forward_folds
from quant_dagster.forecasting.learned.generation import Candidates
from quant_dagster.forecasting.learned.selection import Merit, Selection, select_features
from tests.unit.forecasting.learned.market import stock_data

KEEP = 8


def planted(data: Dataset, knowing: np.ndarray) -> Dataset:
    """The data with a feature ``planted`` that is the outcome itself in the sessions ``knowing``, else noise."""
    inputs = data.inputs
    column = np.random.default_rng(11).normal(size=inputs.values.shape[1:])
    column[data.sessions[knowing]] = data.label[knowing]
    with_it = Inputs((*inputs.names, "planted"), np.concatenate([inputs.values, column[None]]), inputs.volatility)
    return replace(data, inputs=with_it)


def select(data: Dataset, fold: Fold) -> Selection:
    candidates = Candidates(data.inputs, data.sessions)
    return select_features(data, candidates, Merit(data, candidates), fold.train, KEEP)


def the_fold() -> Fold:
    return walk_forward_folds(stock_data().sessions, 3, horizon=5, embargo=5)[-1]


def uses(selection: Selection) -> list[str]:
    return [name for name in selection.kept if "planted" in name]


def test_a_feature_that_leaks_through_the_test_part_only_is_not_selected() -> None:
    fold = the_fold()
    assert uses(select(planted(stock_data(), fold.test), fold)) == []


def test_a_feature_that_knows_the_outcome_in_the_training_part_is_selected_first() -> None:
    fold = the_fold()
    assert "planted" in select(planted(stock_data(), fold.train), fold).kept[0]


def test_nothing_outside_the_training_part_changes_the_selection_by_a_bit() -> None:
    data, fold = stock_data(), the_fold()
    used = np.zeros(data.inputs.values.shape[1], np.bool_)
    used[: data.sessions[fold.train[-1]] + 1] = True
    values, label = data.inputs.values.copy(), data.label.copy()
    values[:, ~used] *= -3.0
    label[fold.test] = -label[fold.test]
    changed = replace(data, inputs=replace(data.inputs, values=values), label=label, outcome=-data.outcome)
    before, after = select(data, fold), select(changed, fold)
    assert before.names == after.names
    assert before.selected == after.selected
    np.testing.assert_array_equal(before.importance, after.importance)


def test_importance_is_in_order_and_what_is_kept_comes_first() -> None:
    found = select(stock_data(), the_fold())
    assert np.all(np.diff(found.importance) <= 0.0)
    assert len(found.kept) <= KEEP
    assert found.kept == found.names[: len(found.kept)]


def test_the_fold_predicts_its_test_sessions_from_what_it_kept() -> None:
    data, fold = planted(stock_data(), np.arange(len(stock_data().sessions))), the_fold()
    candidates = Candidates(data.inputs, data.sessions)
    result = judge_fold(data, candidates, Merit(data, candidates), fold, KEEP)
    assert result.predicted.shape == (len(fold.test), 20)
    assert result.information_coefficient > 0.9, "the outcome itself is among the features"


def test_a_feature_without_a_value_in_most_sessions_has_no_merit() -> None:
    data = planted(stock_data(), np.arange(len(stock_data().sessions)))
    data.inputs.values[-1][data.sessions[20:]] = np.nan
    merit = Merit(data, Candidates(data.inputs, data.sessions))
    assert merit.strength("planted", np.arange(100)) == 0.0
    assert merit.strength("planted", np.arange(20)) > 1e6


def test_too_short_a_training_part_is_refused() -> None:
    with pytest.raises(ForecastError, match="too few"):
        select(stock_data(), Fold(np.arange(6), np.arange(40, 60)))
