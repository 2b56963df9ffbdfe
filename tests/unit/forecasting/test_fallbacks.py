import numpy as np
from arch import arch_model
from arch.univariate import EWMAVariance

from quant_dagster.forecasting.fallbacks import ewma_variance
from tests.unit.forecasting.real_returns import columns, index_returns


def test_ewma_is_the_recursion_one_return_at_a_time():
    series = [index_returns("sp500"), index_returns("nasdaq")[:30]]
    returns, counts = columns(*series)
    for variance, y in zip(ewma_variance(returns, counts), series, strict=True):
        expected = np.mean(y**2)
        for value in y:
            expected = 0.94 * expected + 0.06 * value**2
        np.testing.assert_allclose(variance, expected, rtol=1e-12)


def test_over_a_long_history_ewma_is_that_of_arch():
    y = index_returns("sp500")
    model = arch_model(100 * y, mean="Zero", rescale=False)
    model.volatility = EWMAVariance(0.94)
    reference = model.fix([]).forecast(horizon=1).variance.to_numpy()[-1, 0]
    np.testing.assert_allclose(1e4 * ewma_variance(*columns(y))[0], reference, rtol=1e-9)


def test_a_column_without_returns_has_no_variance():
    assert np.isnan(ewma_variance(np.full((10, 1), np.nan), np.array([0])))[0]
