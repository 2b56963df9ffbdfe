import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_dagster.errors import ConfigurationError, ForecastError
from quant_dagster.forecasting.combination import ModelWeights
from quant_dagster.forecasting.families import autoregressive, conditional_variance, moments, regime
from quant_dagster.forecasting.families.registry import FAMILIES, chosen
from quant_dagster.forecasting.parameters import Backend, ForecastParameters
from quant_dagster.forecasting.records import FORECAST_SCHEMA, normal_quantiles
from quant_dagster.forecasting.runner import ForecastFailure, forecast_session
from quant_dagster.market_data.panel import Panel
from quant_dagster.quality.contracts import validate
from tests.unit.forecasting.real_returns import panel_of, stock_panel

NAIVE = ["historical_mean", "random_walk", "ewma", "sample_variance", "single_regime"]
SMALL = ForecastParameters(window=500, workers=2, families=("ar", "garch11", "hmm"))
MODELS = [*NAIVE, "ar", "garch11", "hmm", "combined"]


def rows(frame, **where):
    return frame.filter(*[pl.col(name) == value for name, value in where.items()])


def test_every_symbol_has_exactly_one_row_for_each_model_and_horizon():
    run = forecast_session(stock_panel(), data_version=3, settings=SMALL)
    assert run.frame.schema == FORECAST_SCHEMA
    validate("forecasts", run.frame)
    assert run.frame["session"].unique().to_list() == [stock_panel().last_session]
    assert run.frame["data_version"].unique().to_list() == [3]
    assert rows(run.frame, symbol="AAPL").select("model", "horizon").rows() == [
        (model, horizon) for model in MODELS for horizon in (1, 5)
    ]
    assert run.frame.height == 20 * len(MODELS) * 2
    assert run.failures == ()
    assert run.frame["fallback"].is_null().all()
    assert (run.frame["status"] == "fitted").all()
    assert (run.frame["answered_by"] == run.frame["model"]).all()


def test_without_a_judgement_the_combined_forecast_is_the_prior_models():
    frame = forecast_session(stock_panel(), data_version=1, settings=SMALL).frame
    combined, ar, garch = (rows(frame, model=model) for model in ("combined", "ar", "garch11"))
    assert combined["mean"].to_list() == ar["mean"].to_list()
    np.testing.assert_allclose(combined["std"].to_numpy(), garch["std"].to_numpy(), rtol=1e-15)
    first = combined.row(0, named=True)
    assert tuple(first[name] for name in ("q05", "q25", "q50", "q75", "q95")) == normal_quantiles(
        first["mean"], first["std"]
    )
    assert json.loads(first["parameters"])["weights_from"] == "prior"


def test_judged_weights_decide_the_combined_forecast_per_horizon():
    weights = ModelWeights(
        "validation of 2020-06-29",
        {1: {"ar": 0.25, "random_walk": 0.75}, 5: {"historical_mean": 1.0}},
        {1: {"garch11": 0.5, "ewma": 0.5}},
    )
    frame = forecast_session(stock_panel(), data_version=1, settings=SMALL, weights=weights).frame
    one, five = (rows(frame, horizon=horizon) for horizon in (1, 5))

    def of(part, model, column):
        return rows(part, model=model)[column].to_numpy()

    np.testing.assert_allclose(of(one, "combined", "mean"), 0.25 * of(one, "ar", "mean"), rtol=1e-12)
    np.testing.assert_allclose(of(five, "combined", "mean"), of(five, "historical_mean", "mean"), rtol=1e-12)
    for part in (one, five):  # a horizon that was not judged takes the weights of the nearest
        mixed = np.sqrt(0.5 * of(part, "garch11", "std") ** 2 + 0.5 * of(part, "ewma", "std") ** 2)
        np.testing.assert_allclose(of(part, "combined", "std"), mixed, rtol=1e-12)
    stored = json.loads(rows(one, model="combined")["parameters"][0])
    assert stored["mean_weights"]["1"] == {"ar": 0.25, "random_walk": 0.75}
    assert stored["weights_from"] == "validation of 2020-06-29"


def test_weights_of_models_that_did_not_answer_go_to_those_that_did():
    panel = pathological_panel()
    weights = ModelWeights("test", {1: {"ar": 0.5, "random_walk": 0.5}}, {1: {"garch11": 1.0}})
    frame = forecast_session(panel, data_version=1, settings=SMALL, weights=weights).frame
    stopped = rows(frame, symbol="no_bar", model="combined", horizon=1).row(0, named=True)
    assert json.loads(stopped["parameters"])["mean_weights"]["1"] == {"random_walk": 1.0}
    assert json.loads(stopped["parameters"])["std_weights"]["1"] == {"ewma": 1.0}
    assert "ar: no bar on" in stopped["fallback"]


def test_judged_weights_are_those_of_the_newest_walk_forward():
    def scores(session, scheme, weight):
        return {"session": session, "scheme": scheme, "model": "ar", "target": "mean", "horizon": 1, "weight": weight}

    frame = pl.DataFrame([
        scores("2024-01-02", "walk_forward", 0.3),
        scores("2024-02-01", "walk_forward", 0.6),
        scores("2024-02-01", "blocked", 0.9),
        scores("2024-03-01", "walk_forward", 0.9) | {"model": "ssa"},
    ])  # fmt: skip
    found = ModelWeights.judged(frame, SMALL)
    assert found.means == {1: {"ar": 0.6}}
    assert found.variances == {1: {"garch11": 1.0}}  # nothing was judged: the prior
    assert found.source == "mean: validation of 2024-02-01; variance: prior"  # the newest judged other models only


def test_diagnostics_and_parameters_tell_how_the_forecast_came_about():
    frame = forecast_session(stock_panel(), data_version=1, settings=SMALL).frame
    read = {
        model: {
            name: json.loads(rows(frame, symbol="AAPL", model=model)[name][0]) for name in ("parameters", "diagnostics")
        }
        for model in ("ar", "garch11", "hmm")
    }
    assert {"ljung_box", "ljung_box_p", "jarque_bera", "jarque_bera_p"} <= set(read["ar"]["diagnostics"])
    assert {"omega", "alpha", "beta"} <= set(read["garch11"]["parameters"])
    assert "ljung_box_squares_p" in read["garch11"]["diagnostics"]
    assert sum(read["hmm"]["diagnostics"]["filtered_probabilities"]) == pytest.approx(1.0)
    assert read["hmm"]["parameters"]["distribution"] == "mixture of normals"


@pytest.mark.slow
def test_sessions_after_the_forecast_s_and_before_its_window_change_nothing():
    """Every family of the registry but those that are opt-in."""
    whole = panel_of(stock_panel().close[-1000:, :6], tuple("ABCDEF"))
    at = whole.sessions[-200].astype("datetime64[D]").astype(object)
    fields = {name: getattr(whole, name).copy(order="F") for name in ("open", "high", "low", "close", "volume")}
    fields["close"][-199:] *= 3.0
    fields["close"][:200] *= 0.5
    changed = Panel(sessions=whole.sessions, symbols=whole.symbols, **fields)
    settings = replace(SMALL, families=None, workers=1)
    expected = forecast_session(whole.until(at), data_version=1, settings=settings)
    assert expected.frame["session"][0] == at
    for panel in (changed.until(at), whole.until(at).last(501)):
        run = forecast_session(panel, data_version=1, settings=settings)
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
    settings = replace(SMALL, window=1000)
    run = forecast_session(panel, data_version=1, settings=settings)
    validate("forecasts", run.frame)
    alone = forecast_session(panel_of(panel.close[:, :1], ("sound",)), data_version=1, settings=settings).frame
    assert_frame_equal(rows(run.frame, symbol="sound"), alone, check_exact=True)

    assert run.frame.group_by("symbol").len()["len"].unique().to_list() == [2 * len(MODELS)]  # nothing is left out
    answered = {
        symbol: rows(run.frame, symbol=symbol, horizon=1)["answered_by"].to_list()[len(NAIVE) :]
        for symbol in panel.symbols
    }
    fitted, fallen = ["ar", "garch11", "hmm", "combined"], ["historical_mean", "ewma", "single_regime", "combined"]
    assert answered["sound"] == answered["short_gap"] == fitted
    assert answered["gap"] == answered["no_bar"] == fallen
    for symbol, why in {
        "constant": "did not move",
        "two": "2 returns",
        "absent": "no close",
        "gone": "40 sessions",
    }.items():
        refused = rows(run.frame, symbol=symbol)
        assert (refused["status"] == "refused").all()
        assert refused["mean"].is_null().all()
        assert refused["answered_by"].is_null().all()
        assert all(why in text for text in refused["fallback"])
    no_bar = rows(run.frame, symbol="no_bar", horizon=1)
    assert rows(no_bar, model="ar")["fallback"][0] == f"ar: no bar on {panel.last_session}"
    combined = rows(no_bar, model="combined")["fallback"][0]
    assert "ar: " in combined
    assert "garch11: " in combined
    assert ForecastFailure("gap", "garch11", "garch11: 99 returns, the model needs 250", "ewma") in run.failures


def test_every_row_that_is_no_model_s_own_is_among_the_failures_and_the_other_way_round():
    run = forecast_session(pathological_panel(), data_version=1, settings=SMALL)
    in_rows = {
        (row["symbol"], row["model"], row["answered_by"])
        for row in run.frame.filter(pl.col("fallback").is_not_null(), pl.col("model") != "combined").to_dicts()
    }
    assert in_rows == {(f.symbol, f.model, f.fell_back_to) for f in run.failures}


def test_a_price_that_stopped_moving_is_given_its_sample_variance():
    """Its conditional variance has decayed to nothing, which would read as no risk."""
    run = forecast_session(pathological_panel(), data_version=1, settings=replace(SMALL, window=1000))
    stopped = rows(run.frame, symbol="stopped", horizon=1)
    assert rows(stopped, model="garch11")["answered_by"][0] == "sample_variance"
    assert "stopped moving" in rows(stopped, model="garch11")["fallback"][0]
    assert (stopped["std"] > 1e-3).all()


def raises(request):
    raise ZeroDivisionError("no such luck")


def says_nan(request):
    answers = moments.historical_mean_family(request)
    return [a if isinstance(a, str) else replace(a, mean=a.mean * np.nan) for a in answers]


def says_too_little(request):
    return []


BROKEN = {
    "ar": (autoregressive, "ar_family", "historical_mean"),
    "garch11": (conditional_variance, "garch_family", "ewma"),
    "hmm": (regime, "regime_family", "single_regime"),
}


@pytest.mark.parametrize("model", BROKEN)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (raises, "ZeroDivisionError: no such luck"),
        (says_nan, "the forecast is not finite or has no spread"),
        (says_too_little, "answered for 0 symbols, was asked for 20"),
    ],
)
def test_a_family_that_breaks_down_altogether_costs_only_itself(monkeypatch, caplog, model, fault, said):
    sound = forecast_session(stock_panel(), data_version=1, settings=SMALL).frame
    module, name, instead = BROKEN[model]
    monkeypatch.setattr(module, name, fault)
    run = forecast_session(stock_panel(), data_version=1, settings=SMALL)
    validate("forecasts", run.frame)
    assert set(run.failures) == {
        ForecastFailure(symbol, model, f"{model}: {said}", instead) for symbol in stock_panel().symbols
    }
    unaffected = pl.col("model").is_in([*NAIVE, *({"ar", "garch11", "hmm"} - {model})])
    assert_frame_equal(run.frame.filter(unaffected), sound.filter(unaffected))
    assert fault is says_nan or said in caplog.text


def test_a_family_that_hangs_is_left_behind_when_its_time_is_over(monkeypatch, caplog):
    import threading

    released = threading.Event()
    monkeypatch.setattr(conditional_variance, "garch_family", lambda request: released.wait(60))
    run = forecast_session(stock_panel(), data_version=1, settings=replace(SMALL, time_out_seconds=0.3))
    released.set()
    validate("forecasts", run.frame)
    assert rows(run.frame, model="garch11", horizon=1)["answered_by"].unique().to_list() == ["ewma"]
    assert "garch11: no answer within 0.3 s" in rows(run.frame, model="garch11")["fallback"][0]
    assert rows(run.frame, model="hmm")["fallback"].is_null().all()
    assert "no answer within" in caplog.text


def test_when_a_fallback_breaks_down_too_the_row_says_so_and_the_other_models_still_answer(monkeypatch):
    monkeypatch.setattr(autoregressive, "ar_family", raises)
    monkeypatch.setattr(moments, "historical_mean_family", raises)
    run = forecast_session(stock_panel(), data_version=1, settings=SMALL)
    validate("forecasts", run.frame)
    refused = run.frame.filter(pl.col("status") == "refused")
    assert refused["model"].unique().sort().to_list() == ["ar", "combined", "historical_mean"]
    assert rows(refused, model="ar")["fallback"][0] == (
        "ar: ZeroDivisionError: no such luck; historical_mean: ZeroDivisionError: no such luck"
    )


def test_progress_reaches_the_end_of_each_compiled_family():
    seen = []
    forecast_session(
        stock_panel(),
        data_version=1,
        settings=SMALL,
        progress=lambda name, done, total: seen.append((name, done, total)),
    )
    assert {("garch11", 20, 20), ("hmm", 20, 20)} <= set(seen)


def test_other_horizons_go_through():
    run = forecast_session(stock_panel(), horizons=(2, 10), data_version=1, settings=SMALL)
    validate("forecasts", run.frame)
    assert set(run.frame["horizon"].to_list()) == {2, 10}


@pytest.mark.parametrize("horizons", [(), (0,), (5, 1), (1, 1), (1, 64)])
def test_horizons_out_of_range_are_refused(horizons):
    with pytest.raises(ConfigurationError, match="horizons"):
        forecast_session(stock_panel(), horizons=horizons, data_version=1)


def test_an_empty_panel_is_refused():
    with pytest.raises(ForecastError, match="no sessions"):
        forecast_session(stock_panel().rows(0, 0), data_version=1)


def test_a_model_nobody_knows_is_refused_by_name():
    with pytest.raises(ConfigurationError, match=r"no model 'garhc'; there are: .*garch11"):
        chosen(ForecastParameters(families=("garhc",)))


def test_every_family_of_the_registry_can_be_imported_and_stands_by_its_fallbacks():
    naive = {spec.model for spec in FAMILIES if spec.naive}
    for spec in FAMILIES:
        assert callable(spec.family)
        assert set(spec.fallbacks) <= naive
        assert spec.naive or spec.fallbacks


def test_a_panel_in_which_nothing_can_be_forecast_is_refused_row_by_row():
    run = forecast_session(stock_panel().last(10), data_version=1, settings=SMALL)
    validate("forecasts", run.frame)
    assert (run.frame["status"] == "refused").all()
    assert run.frame["symbol"].n_unique() == 20


@pytest.mark.slow
def test_a_dask_cluster_says_bit_for_bit_what_this_process_says():
    from distributed import LocalCluster

    settings = replace(SMALL, families=("ar", "garch11", "hmm", "ensemble"))
    panel = panel_of(stock_panel().close[-501:, :4], tuple("ABCD"))
    here = forecast_session(panel, data_version=1, settings=settings).frame
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        remote = replace(settings, backend=Backend.DASK, dask_address=cluster.scheduler_address)
        there = forecast_session(panel, data_version=1, settings=remote)
    assert there.failures == ()
    assert_frame_equal(here, there.frame, check_exact=True)


def test_a_cluster_that_cannot_be_reached_costs_the_models_and_not_the_session():
    settings = replace(
        SMALL, families=("ar",), backend=Backend.DASK, dask_address="tcp://127.0.0.1:9", time_out_seconds=3
    )
    run = forecast_session(stock_panel(), data_version=1, settings=settings)
    validate("forecasts", run.frame)
    assert rows(run.frame, model="ar")["answered_by"].unique().to_list() == ["historical_mean"]


def test_ten_years_of_498_stocks_are_forecast_with_few_fallbacks():
    from tests.support.market_data import shared_data

    bars = pl.read_parquet(shared_data("us_daily_yahoo_2014_2024.parquet")).rename({"date": "session"})
    panel = Panel.from_bars(bars.with_columns(pl.col("symbol").cast(pl.String)))
    run = forecast_session(panel, data_version=1, settings=replace(SMALL, window=1000))
    validate("forecasts", run.frame)
    assert run.frame["symbol"].n_unique() == 498
    short = {failure.symbol for failure in run.failures if "the model needs 250" in failure.reason}
    assert short == {"KVUE", "VLTO"}
    assert len(run.failures) - 3 * len(short) <= 5
