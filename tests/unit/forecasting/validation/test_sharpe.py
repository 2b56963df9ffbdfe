"""Inference on Sharpe ratios against the worked examples of the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from quant_dagster.accounting.performance import sharpe_standard_error
from quant_dagster.forecasting.validation.sharpe import (
    SharpeMoments,
    deflated_sharpe,
    expected_best,
    probabilistic_sharpe,
    standard_error,
)
from tests.unit.forecasting.real_returns import index_returns

# Bailey & Lopez de Prado (2014), "A numerical example": an annualised ratio of 2.5 over five years of 250 days,
# skewness -3, kurtosis 10, the best of 100 trials whose annualised ratios have variance 1/2. The published numbers
# are typed from memory; each is recomputed beside it by numerical integration or from SciPy's distributions.
EXAMPLE = SharpeMoments(2.5 / math.sqrt(250), 1250, -3.0, 10.0)
VARIANCE = 0.5 / 250


def test_the_best_of_a_hundred_by_luck_is_the_papers() -> None:
    found = expected_best(VARIANCE, 100)
    assert found == pytest.approx(0.1132, abs=5e-5)
    # The exact expectation of the largest of 100 standard normals, integrated: the formula is its approximation.
    grid = np.linspace(-8.0, 8.0, 200_001)
    density = 100.0 * stats.norm.pdf(grid) * stats.norm.cdf(grid) ** 99
    exact = float(np.trapezoid(grid * density, grid))
    assert found / math.sqrt(VARIANCE) == pytest.approx(exact, rel=0.02)


def test_the_deflated_ratio_of_the_papers_example_is_090() -> None:
    benchmark = expected_best(VARIANCE, 100)
    found = probabilistic_sharpe(EXAMPLE, benchmark)
    assert found == pytest.approx(0.9004, abs=5e-5)
    s = EXAMPLE.ratio
    z = (s - benchmark) * math.sqrt(1249) / math.sqrt(1 + 3 * s + 9 / 4 * s**2)
    assert found == pytest.approx(stats.norm.cdf(z), abs=1e-12)


def test_with_46_trials_the_papers_example_is_at_95_per_cent() -> None:
    assert probabilistic_sharpe(EXAMPLE, expected_best(VARIANCE, 46)) == pytest.approx(0.9505, abs=5e-5)


def test_with_normal_returns_88_trials_are_allowed() -> None:
    normal = SharpeMoments(EXAMPLE.ratio, 1250, 0.0, 3.0)
    assert probabilistic_sharpe(normal, expected_best(VARIANCE, 88)) == pytest.approx(0.9505, abs=5e-5)


def test_trials_with_that_variance_give_the_same_deflated_ratio() -> None:
    spread = np.random.default_rng(3).standard_normal(100)
    trials = (spread - spread.mean()) / spread.std(ddof=1) * math.sqrt(VARIANCE)
    assert deflated_sharpe(EXAMPLE, trials.tolist()) == pytest.approx(0.9004, abs=5e-5)


def test_one_trial_is_not_deflated() -> None:
    assert deflated_sharpe(EXAMPLE, [EXAMPLE.ratio]) == probabilistic_sharpe(EXAMPLE)


def test_the_standard_error_of_normal_returns_is_los() -> None:
    # Lo (2002), table 1: an annualised error of a ratio per observation of 0.5 over 60 observations is 0.137.
    normal = SharpeMoments(0.5, 60, 0.0, 3.0)
    assert standard_error(normal) == pytest.approx(0.137, abs=5e-4)
    assert standard_error(normal) == pytest.approx(sharpe_standard_error(0.5, 60, periods=1), rel=1e-12)


def test_the_standard_error_is_that_of_the_bootstrap_on_fat_tailed_real_returns() -> None:
    returns = index_returns("sp500", 1000)
    moments = SharpeMoments.of(returns)
    assert moments is not None
    assert moments.skewness == pytest.approx(stats.skew(returns), rel=1e-9)
    assert moments.kurtosis == pytest.approx(stats.kurtosis(returns, fisher=False), rel=1e-9)
    drawn = np.random.default_rng(5).choice(returns, (4000, 1000))
    ratios = drawn.mean(axis=1) / drawn.std(axis=1, ddof=1)
    assert standard_error(moments) == pytest.approx(ratios.std(), rel=0.05)


def test_returns_that_do_not_vary_have_no_ratio() -> None:
    assert SharpeMoments.of(np.zeros(50)) is None
    assert SharpeMoments.of(np.full(50, 1e-3)) is None
