"""Versions of models and what became of them: added once, however often a session is run."""

from __future__ import annotations

import json
from dataclasses import replace

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.model_watch import record_event
from quant_dagster.cycle.registry import models_table, register_models
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.runner import forecast_session
from quant_dagster.settings import load_settings
from tests.unit.forecasting.real_returns import stock_panel

SETTINGS = ForecastParameters(window=300, workers=1, families=("ar", "garch11"))


def test_a_version_is_registered_once_and_again_when_its_settings_change() -> None:
    context = TradingContext()
    context.ledger.upgrade()
    panel = stock_panel().columns([0, 1]).last(320)
    frame = forecast_session(panel, data_version=5, settings=SETTINGS).frame
    assert register_models(context, panel.last_session, frame) == frame["model"].n_unique()
    assert register_models(context, panel.last_session, frame) == 0
    table = {row["model"]: row for row in models_table(context)}
    assert table["ar"]["use"] == "2 fitted"
    assert table["ar"]["last_used"] == panel.last_session
    assert table["ar"]["drifted"] is None

    other = TradingContext(load_settings({"forecasting": {"window": 900}}))
    assert register_models(other, panel.last_session, frame) == frame["model"].n_unique()
    assert {row["versions"] for row in models_table(context)} == {2}
    record_event(context, "ar", "drifted", panel.last_session, "by hand", {})
    assert {row["model"]: row["drifted"] for row in models_table(context)}["ar"] == panel.last_session


def test_workers_and_validation_are_not_part_of_a_version() -> None:
    context = TradingContext()
    context.ledger.upgrade()
    panel = stock_panel().columns([0]).last(320)
    frame = forecast_session(panel, data_version=5, settings=SETTINGS).frame
    register_models(context, panel.last_session, frame)
    other = TradingContext(load_settings({"forecasting": {"workers": 7, "validation": {"sessions": 60}}}))
    assert register_models(other, panel.last_session, frame) == 0


def test_a_trained_artifact_is_a_version_with_its_checksum() -> None:
    context = TradingContext()
    context.ledger.upgrade()
    panel = stock_panel().columns([0]).last(320)
    frame = forecast_session(panel, data_version=5, settings=replace(SETTINGS, families=("ar",))).frame
    import polars as pl

    named = pl.when(pl.col("model") == "ar").then(pl.lit('{"artifact": "k1"}')).otherwise("parameters")
    folder = context.home / "models" / "ar"
    folder.mkdir(parents=True)
    (folder / "k1.json").write_text(json.dumps({"sha256": "ab" * 32, "metrics": {"information_coefficient": 0.01}}))
    register_models(context, panel.last_session, frame.with_columns(named.alias("parameters")))
    with context.ledger.read() as connection:
        from sqlalchemy import select

        from quant_dagster.storage.ledger_tables import model_versions

        row = connection.execute(select(model_versions).where(model_versions.c.model == "ar")).mappings().one()
    assert (row["version"], row["artifact"], row["artifact_sha256"]) == ("k1", "models/ar/k1.joblib", "ab" * 32)
    assert row["metrics"] == {"information_coefficient": 0.01}
