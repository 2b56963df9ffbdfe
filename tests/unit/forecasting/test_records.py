import json
from datetime import date

import polars as pl
import pytest
from scipy.stats import norm

from quant_dagster.errors import ContractError, ForecastError
from quant_dagster.forecasting.records import (
    FORECAST_SCHEMA,
    LEVELS,
    Forecast,
    ForecastModel,
    Status,
    forecast_table,
    normal_quantiles,
    validate_forecasts,
)


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
    validate_forecasts(table)
    assert table["horizon"].to_list() == [1, 5]
    assert table["fallback"].to_list() == [None, "sarimax: singular"]
    assert json.loads(table["parameters"][0]) == {"distribution": "normal", "order": 0}


def test_a_refusal_is_a_row_without_numbers_that_says_why():
    none = {"answered_by": None, "fitted_on": None, "mean": None, "std": None, "quantiles": ()}
    table = forecast_table([forecast(status=Status.REFUSED, fallback="ar: no close", **none)])
    validate_forecasts(table)
    assert table.row(0, named=True)["q50"] is None


def test_no_forecasts_are_an_empty_table_of_the_schema():
    table = forecast_table([])
    assert table.schema == FORECAST_SCHEMA
    validate_forecasts(table)


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


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (pl.lit(-0.1).alias("std"), "std is not above zero"),
        (pl.lit(float("nan")).alias("mean"), "not finite"),
        (pl.lit(None, pl.Float64).alias("q50"), "absent"),
        (pl.lit(9.0).alias("q25"), "quantiles decrease"),
        (pl.lit("ewma").alias("answered_by"), "a stand-in does not say why"),
        (pl.lit("refused").alias("status"), "a refused row has a number"),
        (pl.lit("guessed").alias("status"), "status is unknown"),
        (pl.lit(0, pl.Int32).alias("horizon"), "horizon"),
        (pl.lit("oracle").alias("model"), "model is unknown"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused_by_the_rule_s_name(change, rule):
    with pytest.raises(ContractError, match=rule):
        validate_forecasts(forecast_table([forecast()]).with_columns(change))


def test_the_same_key_twice_is_refused():
    with pytest.raises(ContractError, match="key is not unique"):
        validate_forecasts(forecast_table([forecast(), forecast(mean=0.0)]))


def test_other_columns_are_refused():
    with pytest.raises(ContractError, match="columns"):
        validate_forecasts(forecast_table([forecast()]).drop("q95"))
