"""The risk assets and their checks as Dagster runs them, over a desk that replayed three sessions."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.risk import fields, largest_parts
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.risk_report import measured
from quant_dagster.cycle.stress_report import worst_loss
from quant_dagster.definitions import defs
from quant_dagster.operations.report.risk_charts import backtest_png, measures_png, stress_png
from quant_dagster.risk.measures.measure import Method
from tests.support.replays import finished_replay, replayed_home

__all__ = ["finished_replay", "replayed_home"]

LAST = date(2022, 12, 28)
FLAT = date(2022, 12, 23)  # the day before the first session of the replay


def run(session: date, *assets: str) -> dg.ExecuteInProcessResult:
    keys = [dg.AssetKey(name) for name in assets]
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def("daily_cycle").execute_in_process(
            instance=instance, partition_key=session.isoformat(), asset_selection=keys
        )


def backtest() -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        return defs.resolve_job_def("risk_backtest").execute_in_process(instance=instance)


def told(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """Metadata of the asset's materialization."""
    (event,) = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(asset)]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_a_days_risk_and_stress_are_stored_shown_and_checked(replayed_home: Path) -> None:
    result = run(LAST, "risk_report", "stress_report")
    assert result.success
    trading = TradingContext()
    measures = trading.lake.read("risk_measures", start=LAST, end=LAST)
    assert set(measures["method"]) == {str(method) for method in Method}
    risk = told(result, "risk_report")
    assert risk["dagster/row_count"] == measures.height == 2 * len(Method)
    count = measures["symbols"][0]
    assert count > 5
    assert risk["statement"] == f"{count} of {count} positions measured over 500 sessions"
    assert risk["problems"] == ["liquidity: no position has a volume; how long the book takes to sell is unknown"]
    for name in ("positions", "counterparties", "margin", "factors", "heat", "largest_parts"):
        assert risk[name].startswith("| "), name
    assert risk["liquidity"] == "*no rows*"
    assert "| paper |" in risk["counterparties"]
    assert sum(risk["sectors"].values()) > 0.0
    assert risk["value_at_risk"].startswith("![VaR and ES](data:image/png;base64,")
    stress = told(result, "stress_report")
    scenarios = trading.lake.read("stress_results", start=LAST, end=LAST)
    assert stress["dagster/row_count"] == scenarios.height
    assert {"covid", "bear_2022", "market_down_20", "factor_model", "t_copula"} <= set(scenarios["scenario"])
    assert "lehman" in stress["not_covered"]
    assert stress["losses"].startswith("![stress](data:image/png;base64,")
    models = {
        row["scenario"]: json.loads(row["detail"]).get("model")
        for row in scenarios.filter(pl.col("kind") == "simulation").iter_rows(named=True)
    }
    assert models["factor_model"] == "factor_model"
    evaluations = checks(result)
    assert {name: one.passed for name, one in evaluations.items()} == {
        "risk_measures_contract": True,
        "risk_contributions_contract": True,
        "stress_results_contract": True,
        "risk_within_limits": True,
        "stress_loss_bearable": True,
    }
    assert evaluations["risk_within_limits"].metadata["limit"].value == pytest.approx(0.02 * measures["equity"][0])
    assert evaluations["risk_measures_contract"].severity is dg.AssetCheckSeverity.ERROR
    assert evaluations["risk_within_limits"].severity is dg.AssetCheckSeverity.WARN


def test_what_is_over_its_limit_warns_and_names_it(replayed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUANT_RISK__CVAR_LIMIT", "0.0001")
    monkeypatch.setenv("QUANT_RISK__STRESS__LARGEST_LOSS", "0.001")
    result = run(LAST, "risk_report", "stress_report")
    assert result.success
    evaluations, lake = checks(result), TradingContext().lake
    over = evaluations["risk_within_limits"]
    assert not over.passed
    at_gate = lake.read("risk_measures").filter(pl.col("confidence") == 0.95)
    assert over.metadata["expected_shortfall"].value == at_gate["expected_shortfall"].max()
    assert over.metadata["method"].value in set(at_gate["method"])
    worst = worst_loss(lake.read("stress_results"))
    assert worst is not None
    unbearable = evaluations["stress_loss_bearable"]
    assert not unbearable.passed
    assert (unbearable.metadata["scenario"].value, unbearable.metadata["loss"].value) == ("covid", worst["loss"])


def test_an_empty_portfolio_is_no_warning(replayed_home: Path) -> None:
    result = run(FLAT, "risk_report", "stress_report")
    assert result.success
    assert told(result, "risk_report")["statement"].startswith("nothing is held at the close of 2022-12-23")
    assert told(result, "stress_report")["dagster/row_count"] == 0
    evaluations = checks(result)
    assert all(one.passed for one in evaluations.values())
    assert evaluations["risk_within_limits"].description == "nothing is held"


def test_positions_that_cannot_be_measured_warn(replayed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = TradingContext().lake
    old = lake.read("bars", columns=["symbol", "session"], end=date(2022, 10, 1))
    lake.remove("bars", old, at=TradingContext().now())
    result = run(LAST, "risk_report", "stress_report")
    assert result.success
    evaluations = checks(result)
    for name in ("risk_within_limits", "stress_loss_bearable"):
        assert not evaluations[name].passed
        assert "positions is not known" in (evaluations[name].description or "")
    assert told(result, "risk_report")["problems"][0].startswith("risk measures: 60 sessions of returns")


def test_the_weekend_backtests_value_at_risk(replayed_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = backtest()
    assert result.success
    rows = TradingContext().lake.read("var_backtests")
    shown = told(result, "var_backtest")
    assert shown["dagster/row_count"] == rows.height == 2 * len(Method)
    assert shown["path"].startswith("![VaR and what was lost](data:image/png;base64,")
    assert set(rows["portfolio"]) == {"equal_weight"}
    evaluations = checks(result)
    assert evaluations["var_backtests_contract"].passed
    assert evaluations["var_backtest_holds"].passed
    assert "| parametric |" in str(evaluations["var_backtest_holds"].metadata["failing"].value)
    monkeypatch.setenv("QUANT_RISK__MEASURES__BACKTEST_LEVEL", "0.99")
    assert not checks(backtest())["var_backtest_holds"].passed


def test_the_backtest_is_scheduled_after_the_models_were_judged() -> None:
    schedule = defs.get_schedule_def("risk_backtest_schedule")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 9 * * 6", "America/New_York")
    assert schedule.job_name == "risk_backtest"


def test_risk_is_measured_after_the_positions_are_known() -> None:
    graph = defs.resolve_asset_graph()
    for name in ("risk_report", "stress_report"):
        assert {key.to_user_string() for key in graph.get(dg.AssetKey(name)).parent_keys} == {"bars", "positions"}


def test_pictures_and_tables_of_nothing_say_so(replayed_home: Path) -> None:
    report = measured(TradingContext(), LAST)
    picture = measures_png(report.measures)
    assert picture.startswith(b"\x89PNG")
    assert measures_png(report.measures) == picture
    assert measures_png(report.measures.head(0)) != picture
    nothing = pl.DataFrame(
        schema={"scenario": pl.String, "worst": pl.Float64, "profit": pl.Float64, "expected_shortfall": pl.Float64,
                "equity": pl.Float64}
    )  # fmt: skip
    assert stress_png(nothing, 0.25).startswith(b"\x89PNG")
    path = {"sessions": ["2022-12-27", "2022-12-28"], "returns": [0.01, -0.02], "value_at_risk": [None, 0.01]}
    assert backtest_png({"path": json.dumps(path), "method": "historical", "confidence": 0.99}).startswith(b"\x89PNG")
    assert fields(None).is_empty()
    parts = largest_parts(report.contributions)
    assert parts["component_es"].is_sorted(descending=True)
    assert parts["confidence"].unique().to_list() == [0.99]
