"""``quant signals`` over a lake that holds a session's rows."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from quant_dagster.cli.signal_commands import app
from quant_dagster.cycle.context import TradingContext
from quant_dagster.settings import SignalSettings
from quant_dagster.strategies.alphas import ALPHAS
from quant_dagster.strategies.pairs import pairs_at
from quant_dagster.strategies.performance import alpha_performance
from quant_dagster.strategies.router import signal_frame
from tests.unit.forecasting.real_returns import stock_panel
from tests.unit.strategies.test_alphas import RISING, state_at
from tests.unit.strategies.test_pairs import LOOSE, NOTHING

SESSION = stock_panel().last_session


@pytest.fixture
def lake() -> None:
    context = TradingContext()
    context.open_books(date(2012, 4, 9))
    frame = signal_frame(state_at(RISING), RISING, SignalSettings())
    context.lake.merge("signals", frame)
    context.lake.merge("pairs", pairs_at(stock_panel(), NOTHING, LOOSE))
    context.lake.merge("alpha_performance", alpha_performance(frame, stock_panel(), sorted(ALPHAS), 60))


def said(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.usefixtures("lake")
def test_show_lists_every_source_and_the_flags_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = json.loads(said("show", "--json", "--symbols", "AAPL,MSFT"))
    assert {(row["symbol"], row["alpha"]) for row in rows} == {(s, a) for s in ("AAPL", "MSFT") for a in ALPHAS}
    assert all(row["enabled_now"] for row in rows)
    off = tmp_path / "off.yaml"
    off.write_text("signals: {flags: {trend: false}}\n")
    monkeypatch.setenv("QUANT_CONFIG", str(off))
    rows = json.loads(said("show", "--json", "--session", str(RISING)))
    assert {row["alpha"] for row in rows if not row["enabled_now"]} == {"trend"}
    assert "trend_long" in said("show", "--limit", "5")


@pytest.mark.usefixtures("lake")
def test_pairs_and_decay_show_the_newest_session() -> None:
    rows = json.loads(said("pairs", "--json"))
    assert rows and {row["session"] for row in rows} == {str(SESSION)}
    rows = json.loads(said("decay", "--json"))
    assert {(row["alpha"], row["horizon"]) for row in rows} == {(a, h) for a in ALPHAS for h in (1, 5, 10)}
    assert "unknown" in said("decay")
    assert json.loads(said("decay", "--json", "--session", "2001-01-02")) == []


def test_with_nothing_stored_there_is_nothing_to_show() -> None:
    for command in ("show", "pairs", "decay"):
        assert json.loads(said(command, "--json")) == []


@pytest.mark.usefixtures("lake")
def test_attribution_of_an_account_without_positions_is_empty() -> None:
    assert json.loads(said("attribution", "--json")) == []
    assert pl.DataFrame(json.loads(said("attribution", "--json", "--session", str(SESSION)))).is_empty()
