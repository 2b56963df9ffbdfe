"""Diagnostics of a tail: errors by simulation, distance by scipy, warnings one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from quant_dagster.risk.measures.extreme_value import ParetoTail, fit_pareto, fit_tail
from quant_dagster.risk.measures.threshold import (
    ThresholdRow,
    anderson_darling,
    fit_p_value,
    threshold_row,
    threshold_table,
    threshold_warnings,
)
from tests.unit.forecasting.real_returns import index_returns


def test_a_row_says_what_the_tail_is() -> None:
    tail = fit_tail(index_returns("sp500", 500)[None, :], 0.1)
    row = threshold_row(tail, 0.1)
    assert (row.tail_share, row.exceedances) == (0.1, 50)
    assert row.threshold == tail.threshold[0]
    assert row.mean_excess == pytest.approx(tail.excesses[0].sum() / 50)
    assert (row.shape, row.scale) == (tail.shape[0], tail.scale[0])
    assert row.shape_error == pytest.approx((1.0 + row.shape) / np.sqrt(50.0))
    assert row.scale_error == pytest.approx(row.scale * np.sqrt(2.0 * (1.0 + row.shape) / 50.0))


def test_standard_errors_are_the_spread_of_fits_to_simulated_tails() -> None:
    samples = stats.genpareto.rvs(0.2, scale=3.0, size=(1500, 400), random_state=np.random.default_rng(8))
    shapes, scales = fit_pareto(samples)
    row = threshold_row(ParetoTail(np.zeros(1), np.array([0.2]), np.array([3.0]), samples[:1], 4000), 0.1)
    assert shapes.std() == pytest.approx(row.shape_error, rel=0.07)
    assert scales.std() == pytest.approx(row.scale_error, rel=0.07)


def test_the_scale_error_of_the_shortest_tail_is_none_but_a_number() -> None:
    tail = ParetoTail(np.zeros(1), np.array([-1.2]), np.array([3.0]), np.ones((1, 20)), 200)
    assert threshold_row(tail, 0.1).scale_error == 0.0


def test_the_table_has_the_candidates_with_ten_exceedances_or_more() -> None:
    pnl = index_returns("sp500", 200)
    rows = threshold_table(pnl)
    assert [row.tail_share for row in rows] == [0.05, 0.075, 0.1, 0.125, 0.15, 0.2]
    assert [row.exceedances for row in rows] == [10, 15, 20, 25, 30, 40]
    assert rows[2] == threshold_row(fit_tail(pnl[None, :], 0.1), 0.1)
    assert [row.tail_share for row in threshold_table(pnl[1:])] == [0.075, 0.1, 0.125, 0.15, 0.2]
    assert [row.exceedances for row in threshold_table(pnl, (0.3, 0.04))] == [60]


@pytest.mark.parametrize("shape", [-0.2, 0.3])
def test_the_distance_is_scipys(shape: float) -> None:
    sample = stats.genpareto.rvs(shape, scale=2.0, size=60, random_state=np.random.default_rng(4))
    known = {"loc": 0.0, "c": shape, "scale": 2.0}
    theirs = stats.goodness_of_fit(stats.genpareto, sample, known_params=known, statistic="ad", n_mc_samples=1)
    mine = anderson_darling(np.stack([sample, 2.0 * sample]), np.full(2, shape), np.array([2.0, 4.0]))
    np.testing.assert_allclose(mine, theirs.statistic, rtol=1e-9)


def test_an_excess_of_nothing_is_far_but_not_infinitely_far() -> None:
    sample = np.append(np.linspace(0.1, 5.0, 29), 0.0)
    assert np.isfinite(anderson_darling(sample[None, :], np.array([0.1]), np.array([2.0])))[0]


def test_the_p_value_is_uniform_when_the_tail_is_pareto() -> None:
    p_values = [
        fit_p_value(_tail(stats.genpareto.rvs(0.2, size=40, random_state=np.random.default_rng(s))), seed=s)
        for s in range(100)
    ]
    assert stats.kstest(p_values, "uniform").pvalue > 0.01
    assert min(p_values) >= 0.005
    assert max(p_values) <= 1.0


def test_the_p_value_is_the_share_of_simulated_tails_that_fit_no_better() -> None:
    tail = _tail(stats.genpareto.rvs(0.2, size=40, random_state=np.random.default_rng(3)))
    distance = anderson_darling(tail.excesses, tail.shape, tail.scale)[0]
    uniform = np.random.default_rng(17).random((199, 40))
    samples = stats.genpareto.ppf(uniform, tail.shape[0])
    further = sum(
        anderson_darling(samples[j : j + 1], *fit_pareto(samples[j : j + 1]))[0] >= distance for j in range(199)
    )
    assert fit_p_value(tail, seed=17) == (1 + further) / 200
    assert fit_p_value(tail, seed=17) == fit_p_value(tail, seed=17)


def test_two_clusters_are_not_a_pareto_tail() -> None:
    clusters = np.concatenate([np.linspace(1.0, 1.1, 30), np.linspace(10.0, 10.1, 30)])
    assert fit_p_value(_tail(clusters), seed=1) == 1 / 200


CHOSEN = ThresholdRow(0.1, 1.0, 50, 0.5, 0.1, 0.05, 0.4, 0.1)


def test_a_tail_that_nothing_speaks_against_has_no_warnings() -> None:
    stable = [replace(CHOSEN, shape=0.199), replace(CHOSEN, shape=0.001)]
    assert threshold_warnings(replace(CHOSEN, exceedances=30), stable, 0.05) == []


def test_few_exceedances_are_warned_of() -> None:
    assert threshold_warnings(replace(CHOSEN, exceedances=29), [], 0.5) == ["29 exceedances; 30 or more are wanted"]


def test_a_poor_fit_is_warned_of() -> None:
    expected = ["the excesses do not look generalised Pareto (p-value 0.045)"]
    assert threshold_warnings(CHOSEN, [], 0.045) == expected


@pytest.mark.parametrize(("shape", "warned"), [(-0.51, 1), (-0.5, 1), (-0.49, 0), (0.49, 0), (0.5, 1), (0.6, 1)])
def test_shapes_whose_errors_or_variance_do_not_exist_are_warned_of(shape: float, warned: int) -> None:
    warnings = threshold_warnings(replace(CHOSEN, shape=shape), [], 0.5)
    assert (
        warnings
        == [
            f"shape {shape:.2f}: below -0.5 its errors, from 0.5 on the variance does not exist",
        ][:warned]
    )


def test_a_shape_that_changes_with_the_threshold_is_warned_of() -> None:
    table = [replace(CHOSEN, shape=0.21, tail_share=0.05), CHOSEN, replace(CHOSEN, shape=-0.01, tail_share=0.2)]
    expected = ["shape 0.10 changes with the threshold: 0.21 at 5.0%, -0.01 at 20.0%"]
    assert threshold_warnings(CHOSEN, table, 0.5) == expected


def _tail(excesses: np.ndarray) -> ParetoTail:
    rows = excesses[None, :]
    return ParetoTail(np.zeros(1), *fit_pareto(rows), rows, 10 * len(excesses))
