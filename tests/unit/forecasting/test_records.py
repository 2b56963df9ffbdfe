import json
from datetime import date

import pytest
from scipy.stats import norm

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.records import (
    FORECAST_SCHEMA,
    LEVELS,
    Forecast,
    ForecastModel,
    Status,
    forecast_table,
    normal_quantiles,
)
from quant_dagster.quality.contracts import validate


def forecast(**changes):
    fields = {
        "session": date(2020, 6, 30),
        "symbol": "AAPL",
        "model": ForecastModel.AR,
        "horizon": 1,
        "status": Status.FITTED,
        "answered_by": ForecastModel.AR,
        "fitted_on": date(2020, 6, 30),
        "mean": 0.001,
        "std": 0.02,
        "quantiles": normal_quantiles(0.001, 0.02),
        "parameters": {"distribution": "normal", "order": 0},
        "diagnostics": {"ljung_box": 9.5},
        "data_version": 7,
    }
    return Forecast(**(fields | changes))


def test_normal_quantiles_are_those_of_scipy():
    assert normal_quantiles(0.001, 0.02) == pytest.approx(norm.ppf(LEVELS, 0.001, 0.02), rel=1e-12)


def test_a_forecast_becomes_a_row_of_the_schema():
    table = forecast_table([forecast(), forecast(horizon=5, fallback="sarimax: singular")])
    assert table.schema == FORECAST_SCHEMA
    validate("forecasts", table)
    assert table["horizon"].to_list() == [1, 5]
    assert table["fallback"].to_list() == [None, "sarimax: singular"]
    assert json.loads(table["parameters"][0]) == {"distribution": "normal", "order": 0}


def test_a_refusal_is_a_row_without_numbers_that_says_why():
    none = {"answered_by": None, "fitted_on": None, "mean": None, "std": None, "quantiles": ()}
    table = forecast_table([forecast(status=Status.REFUSED, fallback="ar: no close", **none)])
    validate("forecasts", table)
    assert table.row(0, named=True)["q50"] is None


def test_no_forecasts_are_an_empty_table_of_the_schema():
    table = forecast_table([])
    assert table.schema == FORECAST_SCHEMA
    validate("forecasts", table)


def test_what_could_not_be_computed_is_null_in_json():
    table = forecast_table([forecast(diagnostics={"ljung_box": float("nan"), "list": [1.0, float("inf")]})])
    assert json.loads(table["diagnostics"][0]) == {"ljung_box": None, "list": [1.0, None]}


@pytest.mark.parametrize(
    "changes",
    [
        {"std": 0.0},
        {"std": float("nan")},
        {"mean": float("inf")},
        {"horizon": 0},
        {"quantiles": (0.0, 1.0)},
        {"quantiles": (0.0, 0.2, 0.1, 0.3, 0.4)},
        {"mean": None},
        {"mean": None, "std": None, "quantiles": (), "status": Status.REFUSED},
    ],
)
def test_a_forecast_that_cannot_be_is_refused(changes):
    with pytest.raises(ForecastError):
        forecast(**changes)
