import numpy as np
from statsmodels.stats.diagnostic import acorr_ljungbox
from statsmodels.stats.stattools import jarque_bera as statsmodels_jarque_bera

from quant_dagster.forecasting.residuals import chi_squared_p_value, jarque_bera, ljung_box
from tests.unit.forecasting.real_returns import columns, index_returns


def test_statistics_and_p_values_are_those_of_statsmodels():
    series = [index_returns("sp500"), index_returns("nasdaq")[:500], index_returns("sp500")[:40] ** 2]
    values, counts = columns(*series)
    box, bera = ljung_box(values.T, counts), jarque_bera(values.T, counts)
    for j, one in enumerate(series):
        for model_df in (0, 3):
            reference = acorr_ljungbox(one, lags=[10], model_df=model_df).iloc[0]
            p_value = chi_squared_p_value(box[j : j + 1], 10.0 - model_df)[0]
            np.testing.assert_allclose([box[j], p_value], [reference.lb_stat, reference.lb_pvalue], rtol=1e-8)
        np.testing.assert_allclose(
            [bera[j], chi_squared_p_value(bera[j : j + 1], 2.0)[0]], statsmodels_jarque_bera(one)[:2], rtol=1e-8
        )


def test_what_cannot_be_tested_is_nan():
    values, counts = columns(np.full(50, 0.01), index_returns("sp500")[:10], index_returns("sp500")[:50])
    assert np.isnan(ljung_box(values.T, counts)).tolist() == [True, True, False]
    assert np.isnan(jarque_bera(values.T, counts)).tolist() == [True, False, False]
