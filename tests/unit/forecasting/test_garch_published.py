"""GARCH estimates that others have published."""

import os
from pathlib import Path

import numpy as np
import pytest
from arch import arch_model

from quant_dagster.forecasting.parameters import Backcast
from quant_dagster.forecasting.variance.garch import fit_garch
from tests.unit.forecasting.real_returns import columns


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
    # beta
    y = dem_gbp()
    assert len(y) == 1974
    fits = fit_garch(*columns(y), steps=1, starts=4, backcast=Backcast.SAMPLE_VARIANCE)
    found = np.array([fits.mu[0], fits.omega[0], fits.alpha[0], fits.beta[0]])
    np.testing.assert_allclose(found, [-0.00619041, 0.0107613, 0.153134, 0.805974], rtol=2e-5)
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
    theirs = arch_model(y, p=1, o=asymmetric, q=1).fit(disp="off")
    np.testing.assert_allclose(theirs.params, parameters, atol=6e-5)
    np.testing.assert_allclose(theirs.std_err, errors, rtol=5e-4)
    fits = fit_garch(*columns(y), steps=1, starts=4, backcast=Backcast.ARCH, asymmetric=bool(asymmetric))
    found = np.array([fits.mu[0], fits.omega[0], fits.alpha[0], fits.gamma[0], fits.beta[0]])
    if not asymmetric:
        found = np.delete(found, 3)
    np.testing.assert_allclose(fits.log_likelihood[0], likelihood, atol=6e-3)
    assert fits.log_likelihood[0] >= theirs.loglikelihood - 1e-6
    np.testing.assert_allclose(found, parameters, atol=6e-5)
