"""Tests of equal accuracy against published outputs and reference libraries."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy import stats

from quant_dagster.forecasting.validation.comparison import confidence_set, diebold_mariano, paired_t
from tests.unit.forecasting.real_returns import index_returns


def published_series() -> tuple[np.ndarray, np.ndarray]:
    """Errors of the published example (seed 123): Python 2's ``random.sample``, written out."""
    numbers = random.Random(123)

    def sample() -> np.ndarray:
        pool = list(range(100))
        drawn = []
        for taken in range(100):
            at = int(numbers.random() * (100 - taken))
            drawn.append(pool[at])
            pool[at] = pool[99 - taken]
        return np.array(drawn, np.float64)

    actual, first, second = sample(), sample(), sample()
    return actual - first, actual - second


@pytest.mark.parametrize(
    ("power", "statistic", "p_value"),
    [
        (1.0, 1.3275742446369585, 0.18737195617455585),
        (2.0, 1.2112523589452902, 0.22868210381769466),
        (4.0, 0.9124498079287283, 0.36374861695187799),
    ],
)
def test_diebold_mariano_gives_the_output_of_a_published_implementation(
    power: float, statistic: float, p_value: float
) -> None:
    # Output in the README of johntwk/Diebold-Mariano-Test, which follows Harvey, Leybourne & Newbold (1997).
    first, second = published_series()
    found = diebold_mariano(np.abs(first) ** power, np.abs(second) ** power)
    assert found.statistic == pytest.approx(statistic, rel=1e-12)
    assert found.p_value == pytest.approx(p_value, rel=1e-12)


def test_diebold_mariano_over_three_sessions_gives_a_published_value() -> None:
    # tests/dieboldmarianotest.py of edoannunziata/dieboldmariano: absolute errors, h=3: 1.2109, one-sided p 0.877.
    first = [
        0.3675225224615024, 0.5450608127223211, 0.22044990720021074, 0.8688743471040006, 0.6072512228948467,
        0.8582283746501538, 0.41662295816718187, 0.3812100211114714, 0.7185133356116706, 0.30827323290318875,
        0.4297093624074402, 0.8615974488577858, 0.7240514514808826, 0.3450839595261038, 0.19675301374013598,
    ]  # fmt: skip
    second = [
        0.12794132529988733, 0.3679643204341153, 0.768715420996091, 0.09972248964114683, 0.27197653636654284,
        0.28797629010039505, 0.9160213458582482, 0.6112628048698798, 0.5452873235576241, 0.06785907231746158,
        0.6072666485541124, 0.6241575753989782, 0.39998026828867217, 0.19895665605941748, 0.8094941215215619,
    ]  # fmt: skip
    found = diebold_mariano(np.array(first), np.array(second), 3)
    assert found.statistic == pytest.approx(1.2109, abs=5e-5)
    assert found.p_value == pytest.approx(2.0 * (1.0 - 0.877), abs=1e-3)


@pytest.mark.parametrize("horizon", [1, 2, 5, 8])
def test_the_long_run_variance_is_that_of_statsmodels(horizon: int) -> None:
    import statsmodels.api as sm

    returns = index_returns("sp500", 600)
    loss, other = np.convolve(returns, np.ones(horizon), "valid") ** 2, np.full(601 - horizon, 1e-4)
    regression = sm.OLS(loss - other, np.ones(len(loss))).fit(
        cov_type="HAC",
        cov_kwds={"maxlags": horizon - 1, "kernel": "uniform", "use_correction": False},
    )
    n = len(loss)
    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    found = diebold_mariano(loss, other, horizon)
    assert found.statistic == pytest.approx(regression.tvalues[0] * correction, rel=1e-9)


def test_a_long_run_variance_that_is_not_positive_is_taken_with_bartletts_weights() -> None:
    import statsmodels.api as sm

    returns = index_returns("sp500", 400)
    loss = np.diff(np.diff(returns))  # differenced twice: neighbouring losses cancel
    horizon = 2
    centred = loss - loss.mean()
    assert np.mean(centred**2) + 2.0 * np.sum(centred[1:] * centred[:-1]) / len(loss) < 0.0
    regression = sm.OLS(loss, np.ones(len(loss))).fit(
        cov_type="HAC",
        cov_kwds={"maxlags": horizon - 1, "kernel": "bartlett", "use_correction": False},
    )
    n = len(loss)
    correction = np.sqrt((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n)
    found = diebold_mariano(loss, np.zeros(n), horizon)
    assert found.statistic == pytest.approx(regression.tvalues[0] * correction, rel=1e-9)


def test_the_smaller_loss_has_the_negative_statistic() -> None:
    returns = index_returns("nasdaq", 300)
    small, large = returns**2, returns**2 + np.abs(returns)
    assert (diebold_mariano(small, large).statistic or 0.0) < -3.0
    assert (diebold_mariano(large, small).statistic or 0.0) > 3.0


def test_paired_t_is_scipys() -> None:
    loss, other = index_returns("sp500", 300) ** 2, index_returns("nasdaq", 300) ** 2
    expected = stats.ttest_rel(loss, other)
    found = paired_t(loss, other)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-12)


def test_equal_losses_tell_nothing() -> None:
    loss = index_returns("sp500", 100) ** 2
    for found in (diebold_mariano(loss, loss), diebold_mariano(loss, loss, 5), paired_t(loss, loss)):
        assert (found.statistic, found.p_value) == (None, None)


def test_fewer_origins_than_overlapping_outcomes_tell_nothing() -> None:
    loss, other = index_returns("sp500", 8) ** 2, index_returns("nasdaq", 8) ** 2
    assert diebold_mariano(loss, other, 8).p_value is None
    assert diebold_mariano(loss, other, 1).p_value is not None


def test_the_size_of_the_test_is_right_under_the_null() -> None:
    numbers = np.random.default_rng(7)
    rejected = 0
    for _ in range(1000):
        noise = numbers.standard_normal(204)
        overlapping = noise[:-4] + noise[1:-3] + noise[2:-2] + noise[3:-1] + noise[4:]
        found = diebold_mariano(overlapping, np.zeros(200), 5)
        rejected += found.p_value is not None and found.p_value < 0.05
    # Overlapping outcomes make it reject somewhat more than it should; a plain t test does in more than 30 %.
    assert 30 <= rejected <= 130


def test_the_confidence_set_holds_what_is_as_good_as_the_best_and_not_what_is_worse() -> None:
    numbers = np.random.default_rng(11)
    base = index_returns("sp500", 500) ** 2 * 1e4
    losses = np.stack([base + 0.05 * numbers.standard_normal(500) for _ in range(3)], axis=1)
    losses = np.column_stack([losses, base + 0.5, losses[:, 0]])
    included = confidence_set(losses, 0.05)
    assert included == [True, True, True, False, True]
    assert confidence_set(losses, 0.05) == included


def test_forecasts_with_the_same_losses_are_all_in_the_set() -> None:
    loss = index_returns("sp500", 100) ** 2
    assert confidence_set(np.column_stack([loss, loss]), 0.05) == [True, True]


def test_a_forecast_that_exploded_is_out_and_does_not_hide_the_others() -> None:
    numbers = np.random.default_rng(11)
    base = index_returns("sp500", 300) ** 2
    losses = np.column_stack([base, base + 1e-7 * numbers.standard_normal(300), base + 1e-4, np.full(300, 1e39)])
    assert confidence_set(losses, 0.05) == [True, True, False, False]
