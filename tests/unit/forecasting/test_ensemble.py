import json
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.carried import earlier_fits
from quant_dagster.forecasting.ensemble import (
    MEMBERS,
    MemberFits,
    carry_forward,
    fit_members,
    invertible,
    skill_weights,
)
from quant_dagster.forecasting.families.registry import FAMILIES
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import FORECAST_SCHEMA
from quant_dagster.forecasting.runner import forecast_session
from quant_dagster.quality.contracts import validate
from tests.unit.forecasting.real_returns import panel_of, stock_panel

SETTINGS = ForecastParameters(
    window=400, workers=1, families=("ensemble",), ensemble_window=240, ensemble_holdout=40, refit_sessions=3
)


def returns(symbols=4, sessions=400):
    return np.diff(np.log(stock_panel().close[-sessions - 1 :, :symbols]), axis=0).T


def sktime_forecasts(series, updates=None):
    """What sktime's own forecasters say, fitted on ``series`` and brought up to ``updates`` without a new fit."""
    from sktime.forecasting.ets import AutoETS
    from sktime.forecasting.statsforecast import StatsForecastAutoARIMA
    from sktime.forecasting.theta import ThetaForecaster

    path = pd.Series(np.concatenate([[0.0], np.cumsum(series)]))
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, forecaster, data in (
            ("theta", ThetaForecaster(deseasonalize=False), path),
            ("ets", AutoETS(error="add", trend=None), path),
            (
                "arima",
                StatsForecastAutoARIMA(max_p=2, max_q=2, d=0, seasonal=False, approximation=True),
                pd.Series(series),
            ),
        ):
            forecaster.fit(data)
            ahead = forecaster.predict(fh=[1, 2, 3, 4, 5]).to_numpy().ravel()
            found[name] = np.cumsum(ahead) if name == "arima" else ahead - path.iloc[-1]
    return found


def test_the_recursions_say_what_sktime_s_own_forecasters_say():
    series = returns()
    fits = [fit_members(one) for one in series]
    found = carry_forward(series, fits, holdout=40, steps=5)
    for j, one in enumerate(series):
        expected = sktime_forecasts(one)
        for i, name in enumerate(MEMBERS):
            np.testing.assert_allclose(found.members[i, j], expected[name], atol=2e-7, err_msg=f"{name} {j}")


def test_smoothing_carried_forward_is_a_smoothing_with_the_same_constant_from_the_start():
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    series = returns(1)[0]
    fit = fit_members(series[:300])
    found = carry_forward(series[None, :], [fit], holdout=40, steps=1)
    path = np.concatenate([[0.0], np.cumsum(series)])
    smoothing = SimpleExpSmoothing(path, initialization_method="known", initial_level=0.0)
    level = smoothing.fit(smoothing_level=fit.ets_level, optimized=False).forecast(1)[0]
    assert found.members[1, 0, 0] == pytest.approx(level - path[-1], abs=1e-12)


def test_an_arima_carried_forward_is_statsmodels_filter_with_the_same_parameters():
    from statsmodels.tsa.arima.model import ARIMA

    series = returns(1)[0]
    fit = replace(fit_members(series[:300]), arima_mean=4e-4, arima_ar=(0.3, -0.1), arima_ma=(0.2,))
    found = carry_forward(series[None, :], [fit], holdout=40, steps=5)
    model = ARIMA(series, order=(2, 0, 1), trend="c")
    expected = model.filter([fit.arima_mean, *fit.arima_ar, *fit.arima_ma, float(series.var())]).forecast(5)
    np.testing.assert_allclose(found.members[2, 0], np.cumsum(expected), atol=1e-12)


def test_weights_are_drawn_from_skill_to_equality_and_a_broken_member_has_none():
    weights = skill_weights(np.array([[1.0, 1.0], [1.0, np.nan], [2.0, 1.0]]), shrinkage=0.5)
    np.testing.assert_allclose(weights.sum(axis=0), 1.0)
    np.testing.assert_allclose(weights[:, 0], 0.5 * np.array([0.4, 0.4, 0.2]) + 0.5 / 3)
    np.testing.assert_allclose(weights[:, 1], [0.5, 0.0, 0.5])


def test_errors_that_decide_the_weights_lie_after_everything_the_fit_has_seen():
    """Changing the holdout's returns changes errors and weights, never the fits."""
    panel = panel_of(stock_panel().close[-401:, :2], ("A", "B"))
    before = forecast_session(panel, data_version=1, settings=SETTINGS).frame.filter(pl.col("model") == "ensemble")
    changed = panel.close.copy()
    changed[-20:] = changed[-21] * np.exp(np.cumsum(0.01 * np.array([1.0, -1.0] * 10)))[:, None]
    after = forecast_session(panel_of(changed, ("A", "B")), data_version=1, settings=SETTINGS).frame
    after = after.filter(pl.col("model") == "ensemble")
    assert before["parameters"].to_list() == after["parameters"].to_list()
    assert before["diagnostics"].to_list() != after["diagnostics"].to_list()


def test_between_fits_the_ensemble_is_carried_forward_and_the_row_says_how_old_the_fit_is():
    whole = panel_of(stock_panel().close[-410:, :3], ("A", "B", "C"))
    frames = []
    for stop in range(405, 411):
        panel = whole.rows(0, stop)
        stored = pl.concat(frames) if frames else pl.DataFrame(schema=FORECAST_SCHEMA)
        fits = earlier_fits(stored, panel.sessions, panel.last_session, ["ensemble"])
        run = forecast_session(panel, data_version=1, settings=SETTINGS, earlier=fits)
        validate("forecasts", run.frame)
        frames.append(run.frame)
    rows = pl.concat(frames).filter(pl.col("model") == "ensemble", pl.col("horizon") == 1, pl.col("symbol") == "A")
    assert rows["status"].to_list() == ["fitted", "carried", "carried", "fitted", "carried", "carried"]
    days = rows["session"].to_list()
    assert rows["fitted_on"].to_list() == [days[0]] * 3 + [days[3]] * 3
    assert len(set(rows["mean"].to_list())) == 6  # carried forward is not repeated


def test_processes_and_this_process_say_the_same():
    panel = panel_of(stock_panel().close[-401:, :4], ("A", "B", "C", "D"))
    here, spread = (
        forecast_session(panel, data_version=1, settings=replace(SETTINGS, workers=workers)).frame for workers in (1, 2)
    )
    assert_frame_equal(here, spread, check_exact=True)


def test_a_series_no_member_can_fit_says_so():
    with pytest.raises(ForecastError, match="ensemble"):
        fit_members(np.full(300, np.nan))


def test_fits_survive_json():
    fits = MemberFits(0.9, 1e-4, 0.8, 0.0, (0.1,), ())
    assert MemberFits.from_json(json.loads(json.dumps(fits.as_json()))) == fits


def test_the_ensemble_is_a_carried_family_that_holds_the_interpreter():
    (spec,) = [spec for spec in FAMILIES if spec.model.value == "ensemble"]
    assert spec.carried and spec.holds_interpreter


@pytest.mark.parametrize("coefficients", [(1.0108,), (2.5, 1.2), (-0.3, -2.0), (1.3, 0.4), (0.2,), ()])
def test_a_moving_average_is_made_invertible_without_changing_its_autocorrelations(coefficients):
    from statsmodels.tsa.arima_process import arma_acf

    found = invertible(coefficients)
    assert len(found) == len(coefficients)
    assert np.all(np.abs(np.roots([1.0, *found])) < 1.0)
    np.testing.assert_allclose(arma_acf([1.0], [1.0, *found], 4), arma_acf([1.0], [1.0, *coefficients], 4), atol=2e-3)
