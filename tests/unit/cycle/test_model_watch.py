"""Scores of stored forecasts and drift, over forecasts made on real prices and put into a real lake."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.model_watch import (
    drift_frame,
    events,
    last_drift,
    record_event,
    score_known_outcomes,
    watch_models,
)
from quant_dagster.cycle.modelling import stored_fits
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.runner import forecast_session
from quant_dagster.market_data.panel import Panel
from quant_dagster.operations.alerts.models import broken_models, model_alerts
from quant_dagster.settings import load_settings
from quant_dagster.storage.tables import TABLES
from tests.unit.forecasting.real_returns import stock_panel

SETTINGS = ForecastParameters(window=300, workers=1, families=("ar", "garch11"))
SYMBOLS = ("AAPL", "JPM", "XOM")


def panel() -> Panel:
    whole = stock_panel()
    return whole.columns([whole.symbols.index(symbol) for symbol in SYMBOLS]).last(400)


def day(of: Panel, at: int):
    return of.sessions[at].astype("datetime64[D]").astype(object)


def desk(sessions: int) -> tuple[TradingContext, Panel]:
    """A desk whose lake holds the forecasts of the newest ``sessions`` sessions."""
    context = TradingContext(load_settings({"forecasting": {"families": ["ar", "garch11"]}}))
    context.ledger.upgrade()
    whole = panel()
    for stop in range(len(whole.sessions) - sessions + 1, len(whole.sessions) + 1):
        run = forecast_session(whole.rows(0, stop), data_version=0, settings=SETTINGS)
        context.lake.merge("forecasts", run.frame)
    return context, whole


def test_scores_are_those_of_forecasts_whose_outcome_is_known_and_of_no_others() -> None:
    context, whole = desk(8)
    scores = score_known_outcomes(context, whole)
    scored = {h: sorted(scores.filter(pl.col("horizon") == h)["session"].unique()) for h in (1, 5)}
    assert scored[1] == [day(whole, -k) for k in range(8, 1, -1)]
    assert scored[5] == [day(whole, -k) for k in (8, 7, 6)]
    assert scores.schema == TABLES["forecast_scores"].schema

    forecasts = context.lake.read("forecasts", start=day(whole, -7), end=day(whole, -7))
    own = forecasts.filter((pl.col("model") == "garch11") & (pl.col("horizon") == 5)).sort("symbol")
    outcome = np.log(whole.close[-2] / whole.close[-7])[np.argsort(whole.symbols)]
    error, variance = outcome - own["mean"].to_numpy(), own["std"].to_numpy() ** 2
    levels = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
    gaps = {a: outcome - own[q].to_numpy() for q, a in levels.items()}
    losses = [np.where(gap >= 0.0, a * gap, (a - 1.0) * gap) for a, gap in gaps.items()]
    found = scores.filter(
        (pl.col("session") == day(whole, -7)) & (pl.col("model") == "garch11") & (pl.col("horizon") == 5)
    ).row(0, named=True)
    assert found["squared_error"] == pytest.approx(np.mean(error**2), rel=1e-12)
    assert found["qlike"] == pytest.approx(np.mean(np.log(variance) + error**2 / variance), rel=1e-12)
    assert found["pinball"] == pytest.approx(np.mean(losses), rel=1e-12)
    assert found["forecasts"] == 3


def test_scoring_again_adds_nothing_and_a_later_session_adds_its_own() -> None:
    context, whole = desk(8)
    early = score_known_outcomes(context, whole.rows(0, len(whole.sessions) - 1))
    late = score_known_outcomes(context, whole)
    assert set(late["session"].unique()) == {day(whole, -2), day(whole, -6)}
    assert score_known_outcomes(context, whole).is_empty()
    both = pl.concat([early, late]).sort("session", "model", "horizon")
    assert context.lake.read("forecast_scores").equals(both)


def live_and_judged(context: TradingContext, whole: Panel, worse_by: float) -> None:
    """Scores of 60 live sessions and 250 validated ones before them; the live ones of AR are worse by so much."""
    generator = np.random.default_rng(7)
    live, judged = [], []
    for k in range(310, 0, -1):
        for model in ("ar", "historical_mean"):
            loss = 1e-4 * (1.0 + 0.2 * generator.standard_normal())
            row = {"model": model, "horizon": 1, "forecasts": 3, "squared_error": loss, "qlike": -8.0, "pinball": 0.004}
            if k > 60:
                judged.append(row | {"session": day(whole, -61), "origin": day(whole, -k), "traded_return": 0.0})
            else:
                extra = {"fallbacks": 0, "coverage_90": 0.9, "standardised_square": 1.0, "hit_rate": 0.5}
                if model == "ar":
                    extra["squared_error"] = loss + worse_by
                live.append(row | extra | {"session": day(whole, -k)})
    for table, rows in (("forecast_scores", live), ("validation_losses", judged)):
        context.lake.merge(table, pl.DataFrame(rows, schema=TABLES[table].schema))


def test_a_model_that_got_worse_than_its_validation_has_drifted_and_its_fits_are_the_next_to_be_made() -> None:
    context = TradingContext(load_settings({"forecasting": {"families": ["sarimax"]}}))
    context.ledger.upgrade()
    whole = panel()
    live_and_judged(context, whole, worse_by=1e-4)
    run = forecast_session(whole.rows(0, 398), data_version=0, settings=replace(SETTINGS, families=("sarimax",)))
    context.lake.merge("forecasts", run.frame)
    before = stored_fits(context, whole)
    tests = drift_frame(context, whole.last_session)
    assert set(tests.filter("drifted")["model"]) == {"ar"}
    watch_models(context, whole)
    assert list(last_drift(context, whole.last_session)) == ["ar"]
    assert len(events(context, ["drifted"], whole.last_session, whole.last_session)) >= 1
    watch_models(context, whole)  # the same session again: nothing is written twice, nobody is told twice
    told = [alert for alert in model_alerts(context, whole.last_session) if "ar has drifted" in alert.title]
    assert len({alert.key for alert in told}) == len(told) == tests.filter("drifted").height
    assert stored_fits(context, whole) == before  # sarimax did not drift: its fits keep their age
    record_event(context, "sarimax", "drifted", whole.last_session, "by hand", {})
    ages = [fit.age for fit in stored_fits(context, whole)["sarimax"].values()]
    assert min(ages) > 1000


def test_a_model_that_stayed_as_it_was_has_not_drifted() -> None:
    context, whole = TradingContext(), panel()
    context.ledger.upgrade()
    live_and_judged(context, whole, worse_by=0.0)
    assert not drift_frame(context, whole.last_session)["drifted"].any()


def test_losses_of_the_future_change_no_drift_test() -> None:
    context, whole = TradingContext(), panel()
    context.ledger.upgrade()
    live_and_judged(context, whole, worse_by=1e-4)
    at = day(whole, -30)
    before = drift_frame(context, at)
    context.lake.replace("forecast_scores", TABLES["forecast_scores"].empty(), [day(whole, -k) for k in range(1, 30)])
    assert drift_frame(context, at).equals(before)


def test_a_family_that_broke_down_is_told_once_and_short_histories_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from quant_dagster.forecasting.families import conditional_variance

    def fails(request: object) -> None:
        raise ZeroDivisionError("no such luck")

    context, whole = TradingContext(), panel()
    context.ledger.upgrade()
    monkeypatch.setattr(conditional_variance, "garch_family", fails)
    short = replace(SETTINGS, families=("ar", "garch11"))
    context.lake.merge("forecasts", forecast_session(whole, data_version=0, settings=short).frame)
    broken = broken_models(context, whole.last_session)
    assert broken.rows() == [("garch11", 3, 3, "garch11: ZeroDivisionError: no such luck")]
    (alert,) = model_alerts(context, whole.last_session)
    assert alert.title == f"model garch11 failed for 3 of 3 symbols on {whole.last_session}"

    young = whole.last(100)
    context.lake.merge("forecasts", forecast_session(young, data_version=0, settings=short).frame)
    assert broken_models(context, whole.last_session).is_empty()
