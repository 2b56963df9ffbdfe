"""What is learned from is what was known, and the outcome is what came after it."""

from __future__ import annotations

import numpy as np
import pytest

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.learned.dataset import build_dataset, rank_correlation
from quant_dagster.forecasting.learned.generation import (
    BASES,
    PAIRED,
    Operation,
    Sentence,
    evaluate,
    parsed,
    sentences,
)
from tests.unit.forecasting.learned.market import stock_data
from tests.unit.forecasting.real_returns import panel_of, stock_panel


def test_the_outcome_is_the_log_return_from_the_session_over_the_horizon() -> None:
    panel, data = stock_panel(sessions=420), stock_data()
    t = 17
    session = int(data.sessions[t])
    expected = np.log(panel.close[session + 5] / panel.close[session])
    np.testing.assert_allclose(data.outcome[t], expected, rtol=1e-12)
    order = np.argsort(expected)
    assert np.array_equal(np.argsort(data.label[t]), order)
    assert data.label[t].max() == 0.5
    np.testing.assert_allclose(data.relative.sum(axis=1), 0.0, atol=1e-12)


def test_the_newest_outcome_ends_at_the_last_session_and_none_after() -> None:
    data = stock_data()
    assert data.sessions[-1] == 420 - 1 - 5
    assert np.isfinite(data.outcome).all()


def test_features_of_fields_that_closes_do_not_have_are_left_out() -> None:
    names = stock_data().inputs.names
    assert "return_5" in names
    assert not {"amihud_20", "volume_z_20", "atr_14", "garman_klass_20"} & set(names)


def test_many_rows_are_thinned_by_whole_sessions_back_from_the_newest() -> None:
    panel = stock_panel(sessions=420)
    data = build_dataset(panel, "XNYS", horizon=5, history=300, most_rows=20 * 60)
    assert data.label.size <= 20 * 60
    assert set(np.diff(data.sessions)) == {5}
    assert data.sessions[-1] == stock_data().sessions[-1]


def test_one_symbol_cannot_be_ranked() -> None:
    with pytest.raises(ForecastError, match="load more symbols"):
        build_dataset(panel_of(stock_panel().close[:, :1]), "XNYS", horizon=5, history=300)


def test_rank_correlation_is_spearmans_with_ties_and_absent_values() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(40, 30)).round(1), rng.normal(size=(40, 30)).round(1)
    first[rng.random(first.shape) < 0.2] = np.nan
    found = rank_correlation(first, second)
    for t in range(40):
        both = np.isfinite(first[t])
        assert found[t] == pytest.approx(spearmanr(first[t, both], second[t, both]).statistic, abs=1e-12)
    assert np.isnan(rank_correlation(np.ones((1, 10)), second[:1, :10]))[0], "what does not vary has no rank"


def test_the_grammar_is_bounded_and_its_names_read_back() -> None:
    names = sentences(stock_data().inputs.names)
    assert len(names) == len(set(names)) == 3 * BASES + 3 * PAIRED * (PAIRED - 1) // 2
    assert [parsed(name).name for name in names] == names
    assert parsed("return_5") == Sentence(Operation.VALUE, "return_5")
    with pytest.raises(ForecastError, match="no feature"):
        parsed("cube(return_5)")


def test_generated_features_are_what_they_are_called() -> None:
    inputs, rows = stock_data().inputs, np.array([300, 350])
    x, y = inputs["return_5"], inputs["volatility_20"]
    rank = np.argsort(np.argsort(x[rows], axis=1), axis=1) + 1
    np.testing.assert_allclose(evaluate("rank(return_5)", inputs, rows), rank / 20 - 0.5)
    np.testing.assert_array_equal(evaluate("lag(return_5,5)", inputs, rows), x[rows - 5])
    np.testing.assert_array_equal(evaluate("change(return_5,5)", inputs, rows), x[rows] - x[rows - 5])
    np.testing.assert_array_equal(evaluate("ratio(return_5,volatility_20)", inputs, rows), x[rows] / y[rows])
    other = evaluate("rank(volatility_20)", inputs, rows)
    np.testing.assert_allclose(
        evaluate("difference(return_5,volatility_20)", inputs, rows), rank / 20 - 0.5 - other, atol=1e-15
    )
    np.testing.assert_allclose(evaluate("product(return_5,volatility_20)", inputs, rows), (rank / 20 - 0.5) * other)
    assert np.isnan(evaluate("lag(return_5,5)", inputs, np.array([3]))).all()


def test_generated_features_do_not_change_when_later_sessions_do() -> None:
    inputs = stock_data().inputs
    changed = type(inputs)(inputs.names, inputs.values.copy(), inputs.volatility)
    changed.values[:, 301:] *= -7.0
    rows = np.arange(290, 301)
    for name in sentences(inputs.names):
        np.testing.assert_array_equal(evaluate(name, inputs, rows), evaluate(name, changed, rows))
