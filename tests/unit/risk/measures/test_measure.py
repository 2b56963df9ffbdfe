"""All methods at once on real stocks: each against its own closed form or parts, and what is refused."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from quant_dagster.errors import RiskError
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.measures.backtest_statistics import LikelihoodRatio
from quant_dagster.risk.measures.backtests import Backtest, Verdict
from quant_dagster.risk.measures.correlations import Correlations, dynamic_correlation, shrunk_correlation
from quant_dagster.risk.measures.empirical import Contributions, scenario_contributions, value_at_risk
from quant_dagster.risk.measures.extreme_value import ParetoTail, fit_tail
from quant_dagster.risk.measures.filtered import Volatility, conditional_volatility
from quant_dagster.risk.measures.heat import Heat
from quant_dagster.risk.measures.holdings import Holdings
from quant_dagster.risk.measures.measure import Measure, Method, measure
from quant_dagster.risk.measures.parametric import (
    deviation,
    normal_multipliers,
    scaled_contributions,
    student_freedom,
    student_multipliers,
)
from quant_dagster.risk.measures.threshold import (
    ThresholdRow,
    fit_p_value,
    threshold_row,
    threshold_table,
    threshold_warnings,
)
from quant_dagster.settings import RiskMeasureSettings
from tests.unit.forecasting.real_returns import stock_returns

SETTINGS = RiskMeasureSettings(window=300)
NAMES = ("A", "B", "C", "D")
VALUES = np.array([5e4, -2e4, 3e4, 4e4])


def real(sessions: int = 400) -> np.ndarray:
    return np.array(stock_returns()[-sessions:, :4])


@pytest.fixture(scope="module")
def measures() -> list[Measure]:
    return measure(real(), VALUES, NAMES, [0.95, 0.99], 1, SETTINGS)


@pytest.fixture(scope="module")
def over_nine() -> list[Measure]:
    return measure(real(), VALUES, NAMES, [0.95], 9, SETTINGS)


def one(measures: list[Measure], method: Method, confidence: float = 0.95) -> Measure:
    (found,) = [found for found in measures if (found.method, found.confidence) == (method, confidence)]
    return found


def same_parts(found: Measure, expected: object) -> None:
    for name, values in asdict(expected).items():  # type: ignore[call-overload]
        np.testing.assert_allclose(getattr(found.contributions, name), values, rtol=1e-9)


def test_every_method_speaks_at_every_confidence_in_order(measures: list[Measure]) -> None:
    assert [(found.method.value, found.confidence) for found in measures] == [
        (method, confidence)
        for method in (
            "historical",
            "parametric",
            "student_t",
            "filtered_historical",
            "extreme_value",
            "conditional_extreme_value",
        )
        for confidence in (0.95, 0.99)
    ]
    for found in measures:
        assert found.horizon == 1
        assert found.symbols == NAMES
        assert found.diagnostics["observations"] == 300
        assert found.diagnostics["coverage"] == {}
        assert json.loads(json.dumps(found.diagnostics)) == found.diagnostics


@pytest.mark.parametrize(
    "kind",
    [Backtest, Contributions, Correlations, Heat, Holdings, LikelihoodRatio, Measure, ParetoTail, ThresholdRow, Verdict,
     Volatility],
)  # fmt: skip
def test_what_was_measured_cannot_be_written_over(kind: type) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]


def test_es_is_more_than_var_and_the_parts_sum(measures: list[Measure], over_nine: list[Measure]) -> None:
    for found in measures + over_nine:
        assert found.es > found.var > 0.0
        assert found.contributions.component_var.sum() == pytest.approx(found.var, rel=1e-9)
        assert found.contributions.component_es.sum() == pytest.approx(found.es, rel=1e-9)
        assert found.contributions.component_es[1] < found.contributions.component_es[0]  # the short one hedges


def test_historical_is_of_the_newest_window(measures: list[Measure]) -> None:
    returns = real()[-300:]
    pnl = returns @ VALUES
    found = one(measures, Method.HISTORICAL, 0.99)
    assert (found.var, found.es) == (value_at_risk(pnl, 0.99), expected_shortfall(pnl, 0.99))
    assert found.volatility == pytest.approx(pnl.std())
    assert found.diagnostics == {"scenarios": 300, "warnings": [], "observations": 300, "coverage": {}}
    same_parts(found, scenario_contributions(returns, VALUES, 0.99, found.var, found.es))


def test_historical_over_nine_sessions_is_of_overlapping_sums(over_nine: list[Measure]) -> None:
    returns = real()[-300:]
    sums = np.stack([returns[t : t + 9].sum(axis=0) for t in range(292)])
    found = one(over_nine, Method.HISTORICAL)
    assert found.var == pytest.approx(value_at_risk(sums @ VALUES, 0.95), rel=1e-9)
    assert found.es == pytest.approx(expected_shortfall(sums @ VALUES, 0.95), rel=1e-9)
    assert found.volatility == pytest.approx(3.0 * (returns @ VALUES).std())
    assert (found.horizon, found.diagnostics["scenarios"]) == (9, 292)
    same_parts(found, scenario_contributions(sums, VALUES, 0.95, found.var, found.es))


@pytest.mark.parametrize("horizon", [1, 9])
def test_parametric_is_the_deviation_times_the_multipliers(
    horizon: int, measures: list[Measure], over_nine: list[Measure]
) -> None:
    returns = real()[-300:]
    correlations = shrunk_correlation(returns, NAMES)
    std, gradient = deviation(correlations.covariance, VALUES, horizon)
    freedom = student_freedom(returns @ VALUES)
    about = {"correlation": "shrinkage", "shrinkage": correlations.shrinkage, "warnings": []}
    for method, (var, es), diagnostics in (
        (Method.PARAMETRIC, normal_multipliers(0.95), about),
        (Method.STUDENT_T, student_multipliers(0.95, freedom), about | {"degrees_of_freedom": freedom}),
    ):
        found = one(measures if horizon == 1 else over_nine, method)
        assert found.volatility == pytest.approx(std)
        assert (found.var, found.es) == (pytest.approx(var * std), pytest.approx(es * std))
        assert found.diagnostics == diagnostics | {"observations": 300, "coverage": {}}
        same_parts(found, scaled_contributions(gradient, VALUES, var, es))


@pytest.mark.parametrize("horizon", [1, 9])
def test_filtered_scenarios_are_the_past_at_tomorrows_volatility(
    horizon: int, measures: list[Measure], over_nine: list[Measure]
) -> None:
    returns = real()[-300:]
    volatility = conditional_volatility((returns @ VALUES)[:, None], horizon, 1)
    scaled = returns * volatility.ahead[0] / np.sqrt(horizon) / volatility.past
    sums = np.stack([scaled[t : t + horizon].sum(axis=0) for t in range(301 - horizon)])
    found = one(measures if horizon == 1 else over_nine, Method.FILTERED_HISTORICAL)
    assert found.var == pytest.approx(value_at_risk(sums @ VALUES, 0.95), rel=1e-9)
    assert found.es == pytest.approx(expected_shortfall(sums @ VALUES, 0.95), rel=1e-9)
    assert found.volatility == volatility.ahead[0]
    fits = volatility.fits
    assert found.diagnostics["garch"] == {
        "mu": fits.mu[0],
        "omega": fits.omega[0],
        "alpha": fits.alpha[0],
        "beta": fits.beta[0],
    }
    assert found.diagnostics["warnings"] == []
    same_parts(found, scenario_contributions(sums, VALUES, 0.95, found.var, found.es))


@pytest.mark.parametrize("horizon", [1, 9])
@pytest.mark.parametrize("conditional", [False, True])
def test_extreme_value_is_the_tail_of_the_one_session_scenarios_times_the_square_root_of_time(
    conditional: bool, horizon: int, measures: list[Measure], over_nine: list[Measure]
) -> None:
    returns = real()[-300:]
    volatility = conditional_volatility((returns @ VALUES)[:, None], horizon, 1)
    scenarios = returns * volatility.ahead[0] / np.sqrt(horizon) / volatility.past if conditional else returns
    tail = fit_tail((scenarios @ VALUES)[None, :], 0.1)
    method = Method.CONDITIONAL_EXTREME_VALUE if conditional else Method.EXTREME_VALUE
    found = one(measures if horizon == 1 else over_nine, method)
    root = np.sqrt(horizon)
    assert found.var == pytest.approx(root * tail.value_at_risk(0.95)[0], rel=1e-9)
    assert found.es == pytest.approx(root * tail.expected_shortfall(0.95)[0], rel=1e-9)
    expected = volatility.ahead[0] if conditional else root * (returns @ VALUES).std()
    assert found.volatility == pytest.approx(expected)
    row, table = threshold_row(tail, 0.1), threshold_table(scenarios @ VALUES)
    p_value = fit_p_value(tail, SETTINGS.seed)
    assert found.diagnostics["tail"] == pytest.approx(asdict(row), rel=1e-6)
    assert found.diagnostics["fit_p_value"] == p_value
    assert len(found.diagnostics["thresholds"]) == len(table) == 6
    assert found.diagnostics["thresholds"][2] == pytest.approx(asdict(table[2]), rel=1e-6)
    assert found.diagnostics["warnings"] == threshold_warnings(row, table, p_value)
    assert ("garch" in found.diagnostics) is conditional
    same_parts(found, scenario_contributions(scenarios, VALUES, 0.95, found.var, found.es))


def test_twice_the_positions_are_twice_the_risk(measures: list[Measure]) -> None:
    for found, twice in zip(measures, measure(real(), 2.0 * VALUES, NAMES, [0.95, 0.99], 1, SETTINGS), strict=True):
        assert twice.var == pytest.approx(2.0 * found.var, rel=1e-3)
        assert twice.es == pytest.approx(2.0 * found.es, rel=1e-3)


def test_the_same_question_has_the_same_answer_to_the_bit(measures: list[Measure]) -> None:
    again = measure(real(), VALUES, NAMES, [0.95, 0.99], 1, SETTINGS)
    assert [(found.var, found.es) for found in again] == [(found.var, found.es) for found in measures]


def test_dynamic_correlations_serve_where_the_settings_say_so() -> None:
    settings = SETTINGS.model_copy(update={"correlation": "dcc", "window": 120})
    returns = real(120)[:, :2]
    found = one(measure(returns, VALUES[:2], NAMES[:2], [0.95], 1, settings), Method.PARAMETRIC)
    correlations = dynamic_correlation(returns, NAMES[:2], 1)
    std, _ = deviation(correlations.covariance, VALUES[:2], 1)
    assert found.volatility == pytest.approx(std)
    assert found.diagnostics["correlation"] == "dcc"
    assert found.diagnostics["shrinkage"] == correlations.shrinkage


def test_a_young_symbol_is_completed_and_said_so() -> None:
    returns = real()
    returns[-300:-200, 2] = np.nan
    for found in measure(returns, VALUES, NAMES, [0.95], 1, SETTINGS):
        assert found.diagnostics["coverage"] == {"C": 200 / 300}
        assert np.isfinite(found.var)


def test_one_position_is_all_of_the_risk() -> None:
    values = np.array([0.0, 0.0, 1e4, 0.0])
    for found in measure(real(), values, NAMES, [0.95], 1, SETTINGS):
        assert found.symbols == ("C",)
        np.testing.assert_allclose(found.contributions.component_var, [found.var])
        np.testing.assert_allclose(found.contributions.marginal_es, [found.es / 1e4])


@pytest.mark.parametrize("confidence", [0.5, 1.0, 99.0, float("nan")])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(RiskError) as refused:
        measure(real(), VALUES, NAMES, [0.95, confidence], 1, SETTINGS)
    assert str(refused.value) == (
        f"risk measures: confidence {confidence} is not between 0.5 and 1; correct risk.measures"
    )


def test_a_pnl_that_garch_cannot_be_fitted_to_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    returns = real()
    returns[:, 0] = returns[:, 1] + 1e-3
    with pytest.raises(RiskError) as refused:
        measure(returns, np.array([1e4, -1e4, 0.0, 0.0]), NAMES, [0.95], 1, SETTINGS)
    assert str(refused.value) == (
        "filtered historical VaR: GARCH(1,1) could not be fitted to 300 sessions of the portfolio's P&L (the returns "
        "do not vary); check the history or change risk.measures.window"
    )


def test_a_tail_without_a_mean_is_refused() -> None:
    # returns of so heavy a tail that no ES exists: Pareto losses of shape 2
    uniform = (np.random.default_rng(4).permutation(300) + 0.5) / 300
    losses = 1e-6 * (uniform**-2.0)
    returns = np.where(np.arange(300) % 2 == 0, -losses, losses)[:, None]
    with pytest.raises(
        RiskError,
        match=r"^extreme_value ES: the tail's shape is \d\.\d\d, and from 1 on it has no mean; "
        r"look for wrong prices in the history or change risk\.measures\.tail_share$",
    ):
        measure(returns, np.array([1e4]), ("A",), [0.95], 1, SETTINGS)
