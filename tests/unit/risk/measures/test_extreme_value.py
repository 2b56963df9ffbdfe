"""Pareto tails against scipy.stats.genpareto."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from quant_dagster.errors import RiskError
from quant_dagster.risk.measures.extreme_value import ParetoTail, fit_pareto, fit_tail
from tests.unit.forecasting.real_returns import index_returns


@pytest.mark.parametrize("shape", [-0.3, 0.05, 0.3, 0.7])
@pytest.mark.parametrize("scale", [1e-3, 2e4])
def test_the_likelihood_is_as_high_as_scipys(shape: float, scale: float) -> None:
    excesses = stats.genpareto.rvs(shape, scale=scale, size=150, random_state=np.random.default_rng(11))
    found_shape, found_scale = fit_pareto(excesses[None, :])
    theirs = stats.genpareto.fit(excesses / scale, floc=0.0)
    mine = stats.genpareto.logpdf(excesses, found_shape[0], scale=found_scale[0]).sum()
    assert mine >= stats.genpareto.logpdf(excesses, theirs[0], scale=theirs[2] * scale).sum() - 1e-9
    assert found_shape[0] == pytest.approx(theirs[0], abs=2e-3)
    assert found_scale[0] == pytest.approx(theirs[2] * scale, rel=2e-3)


def test_the_fit_is_a_maximum_in_both_directions() -> None:
    excesses = fit_tail(-np.abs(index_returns("nasdaq"))[None, :], 0.1).excesses
    shape, scale = fit_pareto(excesses)

    def height(by_shape: float, by_scale: float) -> float:
        return float(stats.genpareto.logpdf(excesses[0], shape[0] + by_shape, scale=scale[0] * by_scale).sum())

    top = height(0.0, 1.0)
    for by_shape in (-1e-4, 0.0, 1e-4):
        for by_scale in (1.0 - 1e-4, 1.0, 1.0 + 1e-4):
            assert height(by_shape, by_scale) <= top + 1e-12
    # the score, whose zero is the maximum, to rounding
    assert height(1e-5, 1.0) - height(-1e-5, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert height(0.0, 1.0 + 1e-5) - height(0.0, 1.0 - 1e-5) == pytest.approx(0.0, abs=1e-9)


def test_exponential_excesses_have_shape_nearly_zero_and_their_mean_as_scale() -> None:
    excesses = -np.log1p(-(np.arange(4000) + 0.5) / 4000)
    shape, scale = fit_pareto(excesses[None, :])
    assert shape[0] == pytest.approx(0.0, abs=0.005)
    assert scale[0] == pytest.approx(1.0, abs=0.005)


@pytest.mark.parametrize("shape", [-0.45, -0.2, 0.4, 0.9])
def test_quantiles_of_a_pareto_tail_have_its_parameters(shape: float) -> None:
    excesses = stats.genpareto.ppf((np.arange(20_000) + 0.5) / 20_000, shape, scale=3.0)
    found_shape, found_scale = fit_pareto(excesses[None, :])
    assert found_shape[0] == pytest.approx(shape, abs=0.01)
    assert found_scale[0] == pytest.approx(3.0, rel=0.01)


def test_where_no_shape_above_minus_a_half_is_best_the_search_ends_just_below() -> None:
    falling = np.linspace(1.0, 100.0, 40)[None, :]  # uniform: shape -1
    shape, scale = fit_pareto(falling)
    assert -0.6 < shape[0] <= -0.5
    assert 0.0 < scale[0] < np.inf


def test_one_loss_far_beyond_all_others_still_has_a_fit() -> None:
    excesses = np.append(np.linspace(2e-9, 1e-9, 20), 1.0)[None, :]
    shape, scale = fit_pareto(excesses)
    assert shape[0] > 0.7  # the end of the search
    assert 0.0 < scale[0] < np.inf
    together = fit_pareto(np.stack([excesses[0], np.linspace(2.0, 0.1, 21)]))
    np.testing.assert_array_equal(together[0][:1], shape)


def test_rows_are_fitted_each_on_its_own() -> None:
    rows = np.stack([stats.genpareto.rvs(0.2, size=60, random_state=np.random.default_rng(s)) for s in range(5)])
    together = fit_pareto(rows)
    for row in range(5):
        alone = fit_pareto(rows[row : row + 1])
        np.testing.assert_array_equal(alone[0], together[0][row : row + 1])
        np.testing.assert_array_equal(alone[1], together[1][row : row + 1])


def test_the_threshold_is_the_largest_loss_that_is_no_exceedance() -> None:
    pnl = -(np.random.default_rng(5).permutation(np.arange(1.0, 201.0)) ** 2)
    tail = fit_tail(np.stack([pnl, 2.0 * pnl]), 0.1)
    assert tail.exceedances == 20
    assert tail.observations == 200
    assert tail.threshold.tolist() == [180.0**2, 2.0 * 180.0**2]
    assert tail.excesses[0].tolist() == [loss**2 - 180.0**2 for loss in range(200, 180, -1)]
    np.testing.assert_allclose(tail.shape[1], tail.shape[0], rtol=1e-9)
    np.testing.assert_allclose(tail.scale[1], 2.0 * tail.scale[0], rtol=1e-9)


def test_a_share_is_rounded_down_to_whole_losses() -> None:
    pnl = -(np.arange(1.0, 301.0)[None, :] ** 2)
    assert fit_tail(pnl, 0.07).exceedances == 21  # 300 x 0.07 is 21.000000000000004, 300 x 0.29 86.99999999999999
    assert fit_tail(pnl, 0.29).exceedances == 87
    assert fit_tail(pnl, 0.0699).exceedances == 20


def test_ten_exceedances_are_enough_and_nine_are_not() -> None:
    pnl = -(np.arange(1.0, 101.0)[None, :] ** 2)
    assert fit_tail(pnl, 0.1).exceedances == 10
    with pytest.raises(RiskError) as refused:
        fit_tail(pnl, 0.09)
    assert str(refused.value) == (
        "extreme-value VaR: 9 of 100 losses lie beyond the threshold, 10 are needed; load more history or raise "
        "tail_share"
    )


def test_losses_that_are_all_the_same_have_no_tail() -> None:
    pnl = -(np.arange(1.0, 201.0) ** 2)
    pnl[100:] = -1e6
    with pytest.raises(RiskError) as refused:
        fit_tail(np.stack([-(np.arange(1.0, 201.0) ** 2), pnl]), 0.1)
    assert str(refused.value) == (
        "extreme-value VaR: the largest losses are all the same; check the positions and the history"
    )


@pytest.mark.parametrize("shape", [-0.25, 0.3])
@pytest.mark.parametrize("confidence", [0.95, 0.99, 0.999])
def test_var_and_es_are_those_of_the_tails_distribution(shape: float, confidence: float) -> None:
    excesses = np.linspace(9.0, 0.1, 50)[None, :]
    tail = ParetoTail(np.array([4.0]), np.array([shape]), np.array([2.0]), excesses, 500)
    beyond = stats.genpareto(shape, loc=4.0, scale=2.0)
    var = tail.value_at_risk(confidence)[0]
    assert var == pytest.approx(beyond.ppf(1.0 - 10.0 * (1.0 - confidence)), rel=1e-9)
    mean, _ = integrate.quad(lambda p: beyond.isf(10.0 * p), 0.0, 1.0 - confidence)
    assert tail.expected_shortfall(confidence)[0] == pytest.approx(mean / (1.0 - confidence), rel=1e-6)


def test_at_the_threshold_var_is_the_threshold_and_below_it_nothing_is_known() -> None:
    tail = ParetoTail(np.array([4.0]), np.array([0.2]), np.array([2.0]), np.ones((1, 25)), 500)
    assert tail.value_at_risk(0.95)[0] == pytest.approx(4.0, rel=1e-9)  # 500 x 0.05 is 25.000000000000021
    with pytest.raises(RiskError) as refused:
        tail.value_at_risk(0.949)
    assert str(refused.value) == (
        "extreme-value VaR at 94.90%: the tail begins at the worst 25 of 500 losses; raise tail_share above 5.10% or "
        "the confidence"
    )


def test_a_tail_without_a_mean_has_infinite_es() -> None:
    shapes = np.array([0.5, 1.0, 1.5, 0.99])
    tail = ParetoTail(np.full(4, 4.0), shapes, np.full(4, 2.0), np.ones((4, 25)), 500)
    es = tail.expected_shortfall(0.99)
    assert es[1] == es[2] == np.inf
    var = tail.value_at_risk(0.99)
    assert es[0] == pytest.approx((var[0] + 2.0 - 0.5 * 4.0) / 0.5)
    assert es[3] == pytest.approx((var[3] + 2.0 - 0.99 * 4.0) / 0.01)
