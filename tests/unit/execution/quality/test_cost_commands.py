"""``quant costs`` over real bars and a ledger with measured orders."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from quant_dagster.cli.cost_commands import app
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.execution_quality import measure_execution
from quant_dagster.errors import ConfigurationError, LedgerError
from tests.unit.cycle.executed_orders import TUESDAY, desk, trade, verdict  # noqa: F401 - a fixture


def command(*arguments: str) -> Result:
    """What the command says."""
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture
def traded(desk: TradingContext, monkeypatch: pytest.MonkeyPatch) -> TradingContext:  # noqa: F811 - the fixture
    monkeypatch.setenv("QUANT_EXECUTION__BROKER", "ibkr")
    for name in ("one", "two"):
        trade(desk, verdict(name, 1000), [(None, 1000, "181.00")], arrival="180.50")
    measure_execution(desk, TUESDAY)
    return desk


def test_show_lists_orders_and_puts_them_together(traded: TradingContext) -> None:
    rows = json.loads(command("show", "--session", "2013-10-08", "--json").stdout)
    assert [row["order_id"] for row in rows] == ["one", "two"]
    (group,) = json.loads(command("show", "--by", "symbol", "--json").stdout)
    assert (group["group"], group["orders"]) == ("IBM", 2)
    assert "IBM" in command("show").stdout
    assert json.loads(command("show", "--since", "2013-10-09", "--json").stdout) == []


def test_measure_measures_again(traded: TradingContext) -> None:
    (done,) = json.loads(command("measure", "--session", "2013-10-08", "--json").stdout)
    assert done == {"session": "2013-10-08", "orders": 2, "total_known": 2}


def test_estimate_and_model_say_how_much_was_learned(traded: TradingContext) -> None:
    said = json.loads(command("estimate", "ibm", "buy", "5000", "--session", "2013-10-08", "--json").stdout)
    assert (said["symbol"], said["from_fills"], said["price"]) == ("IBM", 2, 178.72)
    assert said["total_bps"] == pytest.approx(said["spread_bps"] + said["impact_bps"] + said["fees_bps"])
    model = json.loads(command("model", "--json").stdout)
    assert model["orders"] == 2 and model["prior_weight"] == pytest.approx(30 / 32)
    assert "spread" in command("model").stdout


def test_mistakes_are_named(traded: TradingContext) -> None:
    for arguments in (("IBM", "hold", "1"), ("IBM", "buy", "-1"), ("IBM", "buy", "many"), ("IBM", "buy", "NaN")):
        with pytest.raises(ConfigurationError, match=r"SIDE|QUANTITY"):
            command("estimate", "--", *arguments)
    with pytest.raises(LedgerError, match="quant costs measure"):
        command("report", "--since", "2014-01-01")


def test_report_writes_the_evidence(traded: TradingContext, quant_home: Path) -> None:
    said = json.loads(command("report", "--json").stdout)
    path = Path(said["path"])
    assert path == quant_home / "reports" / "best_execution_2013-10-08_2013-10-08.json"
    content = json.loads(path.read_text())
    assert len(content["orders"]) == len(content["worst"]) == 2
    assert content["orders"][0]["evidence"]["close_bar"]["row_hash"] == "IBM-2013-10-08"
    assert content["summaries"]["broker"][0]["group"] == "ibkr"
    command("report", "--format", "csv")
    table = pl.read_csv(path.with_suffix(".csv"))
    assert table["order_id"].to_list() == ["one", "two"] and "evidence" in table.columns
