"""Metrics: what they count is what is stored, and every alert rule speaks of a metric that exists."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import polars as pl
import yaml

from quant_dagster.cycle.context import TradingContext
from quant_dagster.operations.metrics import exposition, missing_days
from quant_dagster.settings import PROJECT_ROOT


def families(text: str) -> set[str]:
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


def test_every_alert_rule_is_about_a_metric_there_is(replayed_home: Path) -> None:
    known = families(exposition(TradingContext()))
    rules = yaml.safe_load((PROJECT_ROOT / "config" / "alert_rules.yaml").read_text(encoding="utf-8"))
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        named = set(re.findall(r"[a-z]+(?:_[a-z]+)+", rule["expr"]))
        assert named & known, rule["alert"]
        assert named <= known, rule["alert"]


def test_missing_days_are_counted_from_a_symbols_first_bar(quant_home: Path) -> None:
    context = TradingContext()
    sessions = context.calendar.session_dates(date(2022, 12, 19), date(2022, 12, 30))
    rows = [("OLD", day) for day in sessions if day not in sessions[3:5]] + [("NEW", day) for day in sessions[4:]]
    rows = [row for row in rows if row != ("NEW", sessions[-1])]
    bars = pl.DataFrame(rows, schema={"symbol": pl.String, "session": pl.Date}, orient="row")
    assert dict(missing_days(context, bars).iter_rows()) == {"NEW": 1, "OLD": 2}


def test_a_bar_that_is_no_vendors_row_is_counted(replayed_home: Path) -> None:
    context = TradingContext()
    assert "substitute_prices_served_total 0.0" in exposition(context)
    forged = context.lake.read("bars").tail(1).with_columns(pl.lit("f" * 16).alias("row_hash"), pl.col("close") * 1.1)
    context.lake.merge("bars", forged)
    assert "substitute_prices_served_total 1.0" in exposition(context)
