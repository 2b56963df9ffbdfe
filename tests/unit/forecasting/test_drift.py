"""False alarms and power are measured by simulation: seeded normal and autocorrelated losses."""

import numpy as np
import pytest

from quant_dagster.forecasting.drift import calibration, drift_tests, long_run_variance, loss_cusum, loss_shift


def autocorrelated(generator, runs, n, phi=0.3):
    shocks = generator.standard_normal((runs, n))
    values = np.empty_like(shocks)
    values[:, 0] = shocks[:, 0]
    for t in range(1, n):
        values[:, t] = phi * values[:, t - 1] + shocks[:, t]
    return values


def test_long_run_variance_is_statsmodels():
    from statsmodels.stats.sandwich_covariance import S_hac_simple

    values = autocorrelated(np.random.default_rng(1), 1, 300)[0]
    centred = values - values.mean()
    expected = S_hac_simple(centred[:, None], nlags=5)[0, 0] / len(values)
    assert long_run_variance(values) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("phi", [0.0, 0.3])
def test_unchanged_losses_are_rarely_taken_for_drift(phi):
    values = autocorrelated(np.random.default_rng(2), 2000, 310, phi)
    for test in (loss_shift, loss_cusum):
        alarms = np.mean([test(one[:250], one[250:]).p_value < 0.05 for one in values])
        assert alarms < 0.11, (test.__name__, alarms)  # nominal 0.05; long-run variances of short samples are small


def test_losses_that_grow_by_a_standard_deviation_are_found():
    values = autocorrelated(np.random.default_rng(3), 300, 310)
    values[:, 250:] += 1.0
    for test in (loss_shift, loss_cusum):
        found = np.mean([test(one[:250], one[250:]).p_value < 0.01 for one in values])
        assert found > 0.95, (test.__name__, found)


def test_losses_that_shrink_are_no_drift():
    values = autocorrelated(np.random.default_rng(4), 1, 310)[0]
    values[250:] -= 2.0
    assert all(test.p_value > 0.5 for test in drift_tests(values[:250], values[250:], np.ones(60))[:2])


def test_a_variance_half_of_what_it_should_be_is_found_and_an_honest_one_is_not():
    squares = np.random.default_rng(5).standard_normal((400, 60, 20)) ** 2
    honest = squares.mean(axis=2)
    assert np.mean([calibration(one).p_value < 0.05 for one in honest]) < 0.1
    assert np.mean([calibration(2.0 * one).p_value < 0.01 for one in honest]) > 0.99


def test_nothing_is_tested_on_a_handful_of_sessions():
    assert drift_tests(np.zeros(250), np.ones(19), np.ones(19)) == []
    assert drift_tests(np.zeros(19), np.ones(250), np.ones(250)) == []


def test_losses_that_do_not_vary_are_no_drift():
    assert [test.p_value for test in drift_tests(np.zeros(100), np.zeros(60), np.ones(60))] == [0.5, 1.0, 1.0]
