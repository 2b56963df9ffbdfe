"""Cointegration of all pairs against statsmodels and published tables, on real prices and the Danish money data."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from quant_dagster.features.information import false_discovery_rates
from quant_dagster.strategies.cointegration import (
    LEVELS,
    MAXIMUM_CRITICAL,
    TRACE_CRITICAL,
    cointegration_tests,
    critical_values,
    engle_granger_p,
)
from tests.unit.forecasting.real_returns import stock_panel


@cache
def log_closes() -> np.ndarray:
    """500 sessions of eight stocks."""
    panel = stock_panel().last(500)
    complete = np.flatnonzero(np.isfinite(panel.close).all(axis=0))[:8]
    assert len(complete) == 8
    return np.log(panel.close[:, complete])


PAIRS = [(i, j) for i in range(8) for j in range(8) if i != j]


def test_engle_granger_is_that_of_statsmodels_on_every_ordered_pair() -> None:
    from statsmodels.tsa.stattools import coint

    levels = log_closes()
    tests = cointegration_tests(levels)
    for i, j in PAIRS:
        statistic, p, _ = coint(levels[:, i], levels[:, j], trend="c", maxlag=1, autolag=None)
        assert tests.statistic[i, j] == pytest.approx(statistic, rel=1e-8)
        assert tests.p_value[i, j] == pytest.approx(p, abs=1e-9)


def test_johansen_is_that_of_statsmodels_on_every_pair() -> None:
    from statsmodels.tsa.vector_ar.vecm import coint_johansen

    levels = log_closes()
    tests = cointegration_tests(levels)
    for i, j in PAIRS:
        found = coint_johansen(levels[:, [i, j]], det_order=0, k_ar_diff=1)
        assert [tests.trace[i, j], tests.second_trace[i, j]] == pytest.approx(list(found.lr1), rel=1e-7, abs=1e-7)
        assert tests.maximum[i, j] == pytest.approx(found.lr2[0], rel=1e-7)


def test_the_p_value_is_mackinnons_over_its_whole_range() -> None:
    from statsmodels.tsa.adfvalues import mackinnonp

    grid = np.concatenate([np.linspace(-20, 2, 221), [-2.62, -18.86, 0.92]])
    expected = [mackinnonp(t, regression="c", N=2) for t in grid]
    assert engle_granger_p(grid) == pytest.approx(expected, abs=1e-12)


def test_critical_values_are_the_tabled_ones_and_never_laxer_than_asked() -> None:
    from statsmodels.tsa.coint_tables import c_sja, c_sjt

    assert np.allclose(TRACE_CRITICAL, c_sjt(2, 0)[::-1], rtol=0, atol=0)
    assert np.allclose(MAXIMUM_CRITICAL, c_sja(2, 0)[::-1], rtol=0, atol=0)
    for significance, level in ((0.001, 0), (0.01, 0), (0.02, 0), (0.05, 1), (0.07, 1), (0.10, 2), (0.5, 2)):
        assert critical_values(significance) == (TRACE_CRITICAL[level], MAXIMUM_CRITICAL[level]), LEVELS[level]


def test_hedge_ratio_persistence_and_deviation_are_those_of_the_regression() -> None:
    levels = log_closes()
    tests = cointegration_tests(levels)
    for i, j in PAIRS[:10]:
        design = np.column_stack([levels[:, j], np.ones(len(levels))])
        slope, intercept = np.linalg.lstsq(design, levels[:, i], rcond=None)[0]
        residual = levels[:, i] - slope * levels[:, j] - intercept
        assert (tests.hedge_ratio[i, j], tests.intercept[i, j]) == pytest.approx((slope, intercept), rel=1e-8)
        assert tests.spread_std[i, j] == pytest.approx(residual.std(), rel=1e-8)
        before, after = residual[1:-1], residual[2:]
        persistence = before @ after / (before @ before)
        assert tests.persistence[i, j] == pytest.approx(persistence, rel=1e-8)
        expected = -np.log(2) / np.log(persistence) if persistence < 1 else np.inf
        assert tests.half_life[i, j] == pytest.approx(expected, rel=1e-6)


def test_a_pair_that_shares_a_random_walk_is_found_and_independent_walks_are_refused_at_their_level() -> None:
    random = np.random.default_rng(5)
    common = np.cumsum(random.normal(size=600))
    noise = np.zeros((600, 2))
    for t in range(1, 600):
        noise[t] = 0.8 * noise[t - 1] + random.normal(size=2)
    tests = cointegration_tests(np.column_stack([common + noise[:, 0], 0.5 * common + noise[:, 1]]))
    assert tests.p_value[0, 1] < 0.01 and tests.trace[0, 1] > critical_values(0.01)[0]
    assert tests.hedge_ratio[0, 1] == pytest.approx(2.0, abs=0.4)
    walks = np.cumsum(random.normal(size=(500, 120)), axis=0)
    p = cointegration_tests(walks).p_value[np.triu_indices(120, 1)]
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_a_series_and_itself_are_no_pair() -> None:
    levels = log_closes()[:, [0, 0, 1]]
    tests = cointegration_tests(levels)
    assert np.isnan(tests.p_value[0, 1]) and np.isnan(np.diag(tests.p_value)).all()
    assert np.isfinite(tests.p_value[0, 2])


def test_false_discovery_rates_are_benjamini_and_hochbergs() -> None:
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(2).uniform(size=200) ** 3
    assert false_discovery_rates(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], rel=1e-12)
