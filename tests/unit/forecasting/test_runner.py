import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_dagster.errors import ConfigurationError, ForecastError
from quant_dagster.forecasting import families
from quant_dagster.forecasting.parameters import ForecastParameters, MeanModel
from quant_dagster.forecasting.records import FORECAST_SCHEMA, normal_quantiles, validate_forecasts
from quant_dagster.forecasting.runner import ForecastFailure, forecast_session
from quant_dagster.market_data.panel import Panel
from tests.unit.forecasting.real_returns import panel_of, stock_panel

SMALL = ForecastParameters(window=500, workers=2)


def rows(frame, **where):
    return frame.filter(*[pl.col(name) == value for name, value in where.items()])


def test_every_symbol_has_a_row_for_each_model_and_horizon():
    run = forecast_session(stock_panel(), data_version=3, settings=SMALL)
    assert run.frame.schema == FORECAST_SCHEMA
    validate_forecasts(run.frame)
    assert run.frame["session"].unique().to_list() == [stock_panel().last_session]
    assert run.frame["data_version"].unique().to_list() == [3]
    assert rows(run.frame, symbol="AAPL").select("model", "horizon").rows() == [
        (model, horizon) for model in ("ar", "garch11", "hmm2", "combined") for horizon in (1, 5)
    ]
    assert run.frame.height == 20 * 4 * 2
    assert run.failures == ()
    assert run.frame["fallback"].is_null().all()


def test_the_combined_forecast_has_the_mean_of_one_and_the_spread_of_the_other():
    frame = forecast_session(stock_panel(), data_version=1, settings=SMALL).frame
    combined, ar, garch = (rows(frame, model=model) for model in ("combined", "ar", "garch11"))
    assert combined["mean"].to_list() == ar["mean"].to_list()
    assert combined["std"].to_list() == garch["std"].to_list()
    first = combined.row(0, named=True)
    assert tuple(first[name] for name in ("q05", "q25", "q50", "q75", "q95")) == normal_quantiles(
        first["mean"], first["std"]
    )


def test_diagnostics_and_parameters_tell_how_the_forecast_came_about():
    frame = forecast_session(stock_panel(), data_version=1, settings=SMALL).frame
    read = {
        model: {
            name: json.loads(rows(frame, symbol="AAPL", model=model)[name][0]) for name in ("parameters", "diagnostics")
        }
        for model in ("ar", "garch11", "hmm2")
    }
    assert {"ljung_box", "ljung_box_p", "jarque_bera", "jarque_bera_p"} <= set(read["ar"]["diagnostics"])
    assert {"omega", "alpha", "beta"} <= set(read["garch11"]["parameters"])
    assert "ljung_box_squares_p" in read["garch11"]["diagnostics"]
    assert sum(read["hmm2"]["diagnostics"]["filtered_probabilities"]) == pytest.approx(1.0)
    assert read["hmm2"]["parameters"]["distribution"] == "mixture of normals"


def test_sessions_after_the_forecast_s_and_before_its_window_change_nothing():
    whole = stock_panel()
    at = whole.sessions[-200].astype("datetime64[D]").astype(object)
    fields = {name: getattr(whole, name).copy(order="F") for name in ("open", "high", "low", "close", "volume")}
    fields["close"][-199:] *= 3.0
    fields["close"][:200] *= 0.5
    changed = Panel(sessions=whole.sessions, symbols=whole.symbols, **fields)
    expected = forecast_session(whole.until(at), data_version=1, settings=SMALL)
    assert expected.frame["session"][0] == at
    for panel in (changed.until(at), whole.until(at).last(501)):
        run = forecast_session(panel, data_version=1, settings=SMALL)
        assert_frame_equal(run.frame, expected.frame, check_exact=True)


def test_the_number_of_workers_does_not_change_a_bit():
    frames = [
        forecast_session(stock_panel(), data_version=1, settings=replace(SMALL, workers=workers)).frame
        for workers in (1, 2, 5)
    ]
    assert_frame_equal(frames[0], frames[1], check_exact=True)
    assert_frame_equal(frames[0], frames[2], check_exact=True)


def pathological_panel():
    """Real prices, each spoiled in its own way, beside one that is not."""
    closes = stock_panel().close[:, :10].copy()
    closes[:, 1] = closes[0, 1]  # never moves
    closes[:-3, 2] = np.nan  # two returns
    closes[-600, 3:4] *= 1e4  # one absurd price
    closes[-300:-100, 4] = np.nan  # long gap: 99 returns after it
    closes[:, 5] = np.nan  # nothing
    closes[-1, 6] = np.nan  # no bar on the session
    closes[-40:, 7] = np.nan  # gone for 40 sessions
    closes[-400:, 8] = closes[-401, 8]  # moved once, then stopped for 400 sessions
    closes[-350:-347, 9] = np.nan  # short gap
    names = ("sound", "constant", "two", "absurd", "gap", "absent", "no_bar", "gone", "stopped", "short_gap")
    return panel_of(closes, names)


def test_each_spoiled_series_falls_back_on_its_own_and_says_so():
    panel = pathological_panel()
    run = forecast_session(panel, data_version=1)
    validate_forecasts(run.frame)
    alone = forecast_session(panel_of(panel.close[:, :1], ("sound",)), data_version=1).frame
    assert_frame_equal(rows(run.frame, symbol="sound"), alone, check_exact=True)

    models = {
        symbol: rows(run.frame, symbol=symbol, horizon=1)["model"].to_list()
        for symbol in run.frame["symbol"].unique().to_list()
    }
    fitted, fallen = ["ar", "garch11", "hmm2", "combined"], ["historical_mean", "ewma", "single_regime", "combined"]
    assert models["sound"] == models["short_gap"] == fitted
    assert models["gap"] == models["no_bar"] == fallen
    assert {"constant", "two", "absent", "gone"}.isdisjoint(models)
    assert {"absurd", "stopped"} <= set(models)

    not_forecast = {failure.symbol: failure.reason for failure in run.failures if failure.fell_back_to is None}
    assert set(not_forecast) == {"constant", "two", "absent", "gone"}
    assert "did not move" in not_forecast["constant"]
    assert "2 returns" in not_forecast["two"]
    assert "no close" in not_forecast["absent"]
    assert "40 sessions" in not_forecast["gone"]
    no_bar = rows(run.frame, symbol="no_bar", horizon=1)
    assert no_bar["fallback"][0] == f"ar: no bar on {panel.last_session}"
    assert "ar: " in no_bar["fallback"][3]
    assert "garch11: " in no_bar["fallback"][3]
    assert ForecastFailure("gap", "garch11", "99 returns, the model needs 250", "ewma") in run.failures


def test_every_row_that_is_a_fallback_is_among_the_failures_and_the_other_way_round():
    run = forecast_session(pathological_panel(), data_version=1)
    in_rows = {
        (row["symbol"], row["model"])
        for row in run.frame.filter(pl.col("fallback").is_not_null(), pl.col("model") != "combined").to_dicts()
    }
    assert in_rows == {(f.symbol, f.fell_back_to) for f in run.failures if f.fell_back_to is not None}


def test_a_price_that_stopped_moving_is_given_its_sample_variance():
    """Its conditional variance has decayed to nothing, which would read as no risk."""
    run = forecast_session(pathological_panel(), data_version=1)
    stopped = rows(run.frame, symbol="stopped", horizon=1)
    assert stopped["model"].to_list() == ["ar", "sample_variance", "single_regime", "combined"]
    assert "stopped moving" in stopped["fallback"][1]
    assert (stopped["std"] > 1e-3).all()


@pytest.mark.parametrize("broken", ["ar_family", "garch_family", "regime_family"])
def test_a_family_that_breaks_down_altogether_costs_only_itself(monkeypatch, caplog, broken):
    def fails(request):
        raise ZeroDivisionError("no such luck")

    sound = forecast_session(stock_panel(), data_version=1, settings=SMALL).frame
    monkeypatch.setattr(families, broken, fails)
    run = forecast_session(stock_panel(), data_version=1, settings=SMALL)
    validate_forecasts(run.frame)
    model, instead = {
        "ar_family": ("ar", "historical_mean"),
        "garch_family": ("garch11", "ewma"),
        "regime_family": ("hmm2", "single_regime"),
    }[broken]
    assert set(run.failures) == {
        ForecastFailure(symbol, model, "ZeroDivisionError: no such luck", instead) for symbol in stock_panel().symbols
    }
    unaffected = {"ar", "garch11", "hmm2"} - {model}
    assert_frame_equal(
        run.frame.filter(pl.col("model").is_in(unaffected)), sound.filter(pl.col("model").is_in(unaffected))
    )
    assert "no such luck" in caplog.text


def test_when_a_fallback_breaks_down_too_the_other_models_still_answer(monkeypatch):
    def fails(request):
        raise ZeroDivisionError("no such luck")

    monkeypatch.setattr(families, "ar_family", fails)
    monkeypatch.setattr(families, "historical_mean_family", fails)
    run = forecast_session(stock_panel(), data_version=1, settings=SMALL)
    assert run.frame["model"].unique().sort().to_list() == ["garch11", "hmm2"]
    assert ForecastFailure("AAPL", "historical_mean", "ZeroDivisionError: no such luck", None) in run.failures


def test_sarimax_takes_the_place_of_ar_and_falls_back_to_it():
    panel = panel_of(stock_panel().close[-401:, :2], ("A", "B"))
    settings = ForecastParameters(window=400, workers=1, mean_model=MeanModel.SARIMAX)
    run = forecast_session(panel, data_version=1, settings=settings)
    assert rows(run.frame, symbol="A", horizon=1)["model"].to_list() == ["sarimax", "garch11", "hmm2", "combined"]
    diagnostics = json.loads(rows(run.frame, model="sarimax")["diagnostics"][0])
    assert {"converged", "warnings", "ljung_box_p"} <= set(diagnostics)
    impossible = replace(settings, sarimax_seasonal_order=(1, 0, 0, 1))
    run = forecast_session(panel, data_version=1, settings=impossible)
    first = rows(run.frame, symbol="A", horizon=1)
    assert first["model"].to_list() == ["ar", "garch11", "hmm2", "combined"]
    assert first["fallback"][0].startswith("sarimax: SARIMAX(1, 0, 0)")


def test_progress_reaches_the_end_of_each_compiled_family():
    seen = []
    forecast_session(
        stock_panel(),
        data_version=1,
        settings=SMALL,
        progress=lambda name, done, total: seen.append((name, done, total)),
    )
    assert {("garch11", 20, 20), ("hmm2", 20, 20)} <= set(seen)


def test_three_regimes_and_other_horizons_go_through():
    run = forecast_session(stock_panel(), horizons=(2, 10), data_version=1, settings=replace(SMALL, hmm_states=3))
    validate_forecasts(run.frame)
    assert set(run.frame["horizon"].to_list()) == {2, 10}
    assert "hmm3" in run.frame["model"].to_list()


@pytest.mark.parametrize("horizons", [(), (0,), (5, 1), (1, 1), (1, 64)])
def test_horizons_out_of_range_are_refused(horizons):
    with pytest.raises(ConfigurationError, match="horizons"):
        forecast_session(stock_panel(), horizons=horizons, data_version=1)


def test_an_empty_panel_is_refused():
    with pytest.raises(ForecastError, match="no sessions"):
        forecast_session(stock_panel().rows(0, 0), data_version=1)


def test_a_panel_in_which_nothing_can_be_forecast_gives_an_empty_table():
    run = forecast_session(stock_panel().last(10), data_version=1)
    assert run.frame.is_empty()
    assert len(run.failures) == 20


def test_ten_years_of_498_stocks_are_forecast_with_few_fallbacks():
    from tests.support.market_data import shared_data

    bars = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet")).rename({"date": "session"})
    panel = Panel.from_bars(bars.with_columns(pl.col("symbol").cast(pl.String)))
    run = forecast_session(panel, data_version=1)
    validate_forecasts(run.frame)
    assert run.frame["symbol"].n_unique() == 498
    short = {failure.symbol for failure in run.failures if "the model needs 250" in failure.reason}
    assert short == {"KVUE", "VLTO"}
    assert len(run.failures) - 3 * len(short) <= 5
