import numpy as np
import pytest
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.stattools import jarque_bera
from statsmodels.tsa.ar_model import AutoReg, ar_select_order

from quant_dagster.forecasting.autoregression import EXPLOSIVE, FITTED, NOT_TRIED, SINGULAR, fit_autoregressions
from tests.unit.forecasting.real_returns import columns, index_returns, stock_returns


def autocorrelated_series():
    """Series with orders above 0 by BIC: index returns, their squares, and stocks across March 2020."""
    stocks = stock_returns()
    return [
        index_returns("sp500"),
        index_returns("nasdaq", 600),
        index_returns("sp500", 900) ** 2,
        np.abs(index_returns("nasdaq", 1500)),
        *stocks.T[:6],
    ]


def test_orders_estimates_forecasts_and_diagnostics_are_those_of_statsmodels():
    series = autocorrelated_series()
    returns, counts = columns(*series)
    fits = fit_autoregressions(returns, counts, max_order=5, steps=6)
    assert (fits.status == FITTED).all()
    assert len(set(fits.order.tolist())) >= 3
    for j, y in enumerate(series):
        order = len(ar_select_order(y, 5, ic="bic").ar_lags or ())
        assert fits.order[j] == order
        reference = AutoReg(y, order).fit()
        np.testing.assert_allclose(np.r_[fits.constant[j], fits.coefficients[j, :order]], reference.params, rtol=1e-7)
        assert (fits.coefficients[j, order:] == 0).all()
        np.testing.assert_allclose(fits.residual_variance[j], reference.sigma2, rtol=1e-9)
        prediction = reference.get_prediction(len(y), len(y) + 5)
        np.testing.assert_allclose(fits.step_mean[j], prediction.predicted_mean, rtol=1e-7)
        np.testing.assert_allclose(fits.step_std[j], prediction.se_mean, rtol=1e-7)
        box = acorr_ljungbox(reference.resid, lags=[10], model_df=order).iloc[0]
        np.testing.assert_allclose(
            [fits.ljung_box[j], fits.ljung_box_p[j]], [box.lb_stat, box.lb_pvalue], rtol=1e-6, atol=1e-300
        )
        np.testing.assert_allclose(
            [fits.jarque_bera[j], fits.jarque_bera_p[j]], jarque_bera(reference.resid)[:2], rtol=1e-6, atol=1e-300
        )


def test_the_total_has_the_covariance_of_its_steps():
    """Var(sum) from the full covariance matrix of forecast errors, ``s2 Psi Psi'``, instead of running sums."""
    returns, counts = columns(index_returns("sp500", 900) ** 2)
    fits = fit_autoregressions(returns, counts, max_order=5, steps=8)
    order = int(fits.order[0])
    assert order > 0
    psi = np.zeros((8, 8))  # row k: the error k + 1 sessions ahead, in terms of the innovations
    for k in range(8):
        psi[k, k] = 1.0
        for i in range(1, min(order, k) + 1):
            psi[k] += fits.coefficients[0, i - 1] * psi[k - i]
    covariance = fits.residual_variance[0] * psi @ psi.T
    np.testing.assert_allclose(fits.step_std[0], np.sqrt(np.diag(covariance)), rtol=1e-12)
    for k in range(8):
        np.testing.assert_allclose(fits.total_std[0, k], np.sqrt(covariance[: k + 1, : k + 1].sum()), rtol=1e-12)
        np.testing.assert_allclose(fits.total_mean[0, k], fits.step_mean[0, : k + 1].sum(), rtol=1e-12)


def test_neighbours_do_not_change_a_symbol_s_numbers():
    series = autocorrelated_series()
    returns, counts = columns(*series)
    together = fit_autoregressions(returns, counts, max_order=5, steps=3)
    for j in (0, 2, 5):
        alone = fit_autoregressions(returns[:, [j]], counts[[j]], max_order=5, steps=3)
        np.testing.assert_array_equal(alone.total_mean[0], together.total_mean[j])
        np.testing.assert_array_equal(alone.total_std[0], together.total_std[j])


def test_columns_that_cannot_be_fitted_are_marked_and_the_others_fitted():
    growing = index_returns("sp500")[:1] + np.cumprod(np.full(80, 1.05)) * 1e-3
    returns, counts = columns(
        np.full(300, 0.001), np.array([0.01, -0.02]), index_returns("sp500"), np.tile([0.01, -0.01], 100), growing
    )
    fits = fit_autoregressions(returns, counts, max_order=5, steps=2)
    assert fits.status.tolist()[:4] == [SINGULAR, NOT_TRIED, FITTED, SINGULAR]
    assert fits.status[4] in (EXPLOSIVE, SINGULAR)
    bad = fits.status != FITTED
    assert np.isnan(fits.total_mean[bad]).all()
    assert np.isnan(fits.ljung_box[bad]).all()
    assert np.isfinite(fits.total_mean[~bad]).all()


def test_an_explosive_estimate_is_refused():
    """US consumer prices 1959-1981, a level fed as if it were returns: the least-squares root lies outside."""
    from statsmodels.datasets import macrodata

    level = macrodata.load_pandas().data["cpi"].to_numpy()[:90]
    fits = fit_autoregressions(*columns(level), max_order=1, steps=2)
    assert AutoReg(level, 1).fit().params[1] > 1
    assert fits.status[0] == EXPLOSIVE


def test_only_columns_asked_for_are_fitted():
    returns, counts = columns(index_returns("sp500"), index_returns("nasdaq"))
    fits = fit_autoregressions(returns, counts, max_order=2, steps=1, tried=np.array([False, True]))
    assert fits.status.tolist() == [NOT_TRIED, FITTED]


@pytest.mark.parametrize("max_order", [0, 1])
def test_small_largest_orders_work(max_order):
    fits = fit_autoregressions(*columns(index_returns("sp500")), max_order=max_order, steps=2)
    assert fits.status[0] == FITTED
    assert fits.coefficients.shape == (1, max_order)
