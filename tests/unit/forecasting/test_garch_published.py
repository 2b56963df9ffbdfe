"""GARCH estimates and standard errors that others have published."""

import os
from pathlib import Path

import numpy as np
import pytest
from arch import arch_model

from quant_dagster.forecasting.garch import fit_garch, fit_gjr
from quant_dagster.forecasting.garch_inference import scores, standard_errors
from quant_dagster.forecasting.parameters import Backcast
from tests.unit.forecasting.real_returns import columns, index_returns


def dem_gbp():
    """Bollerslev & Ghysels (1996): 1,974 daily percentage returns, one a line after a heading."""
    path = Path(os.environ.get("QUANT_TEST_DATA", "")) / "dem_gbp.csv"
    if "QUANT_TEST_DATA" not in os.environ or not path.exists():
        pytest.skip(
            "dem_gbp.csv is not on this machine: it is in no package (put R fGarch's dem2gbp in QUANT_TEST_DATA)"
        )
    return np.loadtxt(path, skiprows=1)


def test_the_dem_gbp_benchmark_is_met_to_the_digits_published():
    # Fiorentini, Calzolari & Panattoni (1996), the benchmark of Brooks, Burke & Persand (2001): mu, omega, alpha,
    # beta; standard errors from the Hessian
    y = dem_gbp()
    assert len(y) == 1974
    fits = fit_garch(*columns(y), steps=1, starts=4, backcast=Backcast.SAMPLE_VARIANCE)
    found = np.array([fits.mu[0], fits.omega[0], fits.alpha[0], fits.beta[0]])
    np.testing.assert_allclose(found, [-0.00619041, 0.0107613, 0.153134, 0.805974], rtol=2e-5)
    np.testing.assert_allclose(standard_errors(y, found), [0.00846212, 0.00285271, 0.0265228, 0.0335527], rtol=5e-6)
    np.testing.assert_allclose(fits.log_likelihood, -1106.6078, atol=1e-4)


def sp500_percentages():
    """Simple returns, as the arch documentation has them (not logarithmic ones)."""
    from arch.data import sp500

    return (100 * sp500.load()["Adj Close"].pct_change().dropna()).to_numpy()


# "ARCH Modeling" in the documentation of arch: log-likelihood, then mu, omega, alpha, (gamma,) beta with their robust
# standard errors, as printed there; arch itself confirms them below
PUBLISHED = {
    0: (-6936.72, [0.0564, 0.0175, 0.1022, 0.8852], [1.149e-02, 4.683e-03, 1.301e-02, 1.380e-02]),
    1: (-6822.88, [0.0175, 0.0196, 0.0, 0.1831, 0.8922], [1.145e-02, 4.051e-03, 1.026e-02, 2.266e-02, 1.458e-02]),
}


@pytest.mark.parametrize("asymmetric", [0, 1])
def test_the_s_and_p_500_of_the_arch_documentation_is_reproduced(asymmetric):
    y = sp500_percentages()
    likelihood, parameters, errors = PUBLISHED[asymmetric]
    reference = arch_model(y, p=1, o=asymmetric, q=1)
    theirs = reference.fit(disp="off")
    np.testing.assert_allclose(theirs.params, parameters, atol=6e-5)
    np.testing.assert_allclose(theirs.std_err, errors, rtol=5e-4)
    fits = (fit_gjr if asymmetric else fit_garch)(*columns(y), steps=1, starts=4, backcast=Backcast.ARCH)
    found = np.array([fits.mu[0], fits.omega[0], fits.alpha[0], fits.gamma[0], fits.beta[0]])
    if not asymmetric:
        found = np.delete(found, 3)
    np.testing.assert_allclose(fits.log_likelihood[0], likelihood, atol=6e-3)
    assert fits.log_likelihood[0] >= theirs.loglikelihood - 1e-6
    np.testing.assert_allclose(found, parameters, atol=6e-5)
    np.testing.assert_allclose(standard_errors(y, found, backcast=Backcast.ARCH, robust=True), errors, rtol=1e-3)
    np.testing.assert_allclose(
        standard_errors(y, found, backcast=Backcast.ARCH),
        reference.fit(disp="off", cov_type="classic").std_err,
        rtol=1e-3,
    )


@pytest.mark.parametrize("presample", [None, 1.3])
def test_the_scores_are_the_derivatives_of_each_observation_s_likelihood(presample):
    y = index_returns("sp500", 300)
    y = y / y.std()
    point = np.array([0.05, 0.06, 0.03, 0.1, 0.85])

    def likelihoods(mu, omega, alpha, gamma, beta):
        e = y - mu
        before = np.mean(e**2) if presample is None else presample
        h = np.empty(len(y))
        h[0] = omega + (alpha + 0.5 * gamma + beta) * before
        for t in range(1, len(y)):
            h[t] = omega + (alpha + gamma * (e[t - 1] < 0)) * e[t - 1] ** 2 + beta * h[t - 1]
        return -0.5 * (np.log(h) + e**2 / h)

    for i, analytic in enumerate(scores(y, point, presample).T):
        step = np.eye(5)[i] * 1e-6
        numeric = (likelihoods(*(point + step)) - likelihoods(*(point - step))) / 2e-6
        np.testing.assert_allclose(analytic, numeric, rtol=1e-4, atol=1e-6)
