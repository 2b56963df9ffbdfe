"""``quant features`` over a real store of real prices."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from quant_dagster.cli.feature_commands import app
from quant_dagster.cycle import lead_lag
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.factors import store_factors
from quant_dagster.cycle.feature_history import build_features
from quant_dagster.errors import ConfigurationError, StorageError
from quant_dagster.features.compute import FloatArray
from quant_dagster.features.definitions import FEATURES
from quant_dagster.features.information import Edge
from quant_dagster.features.services import SERVICES
from quant_dagster.market_data.ingest import load_panel
from tests.unit.cycle.test_validation import LAST, SYMBOLS, desk
from tests.unit.forecasting.real_returns import stock_panel


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments], catch_exceptions=False)


@pytest.fixture
def served() -> TradingContext:
    """A desk whose newest session's features are stored and served."""
    context = desk()
    build_features(context, LAST, LAST)
    context.feature_store.push_online(LAST)
    return context


def test_get_shows_what_is_served_its_time_and_its_age(served: TradingContext) -> None:
    arguments = ("get", "xom,AAPL", "--features", "rsi_14,return_1", "--json")
    of_then = json.loads(command(*arguments, "--as-of", LAST.isoformat()).stdout)
    close = served.calendar.close_time(LAST)
    expected = served.feature_store.get_online(["XOM", "AAPL"], ["rsi_14", "return_1"], now=close)
    assert [row["symbol"] for row in of_then] == ["XOM", "AAPL"]
    assert [row["rsi_14"] for row in of_then] == expected["rsi_14"].to_list()
    assert {row["event_timestamp"] for row in of_then} == {"2020-06-30T20:00:00+00:00"}
    assert expected["rsi_14"].null_count() == 0

    today = json.loads(command(*arguments).stdout)  # years later
    assert [row["rsi_14"] for row in today] == [None, None]
    assert {row["served_from"] for row in today} == {"2020-06-30T20:00:00+00:00"}
    said = command(*arguments[:-1]).stdout.replace("\n", " ")
    assert "XOM: absent. What is served is of 2020-06-30 20:00 UTC, more than 10 days before" in said
    assert "--as-of 2020-06-30" in said
    early = command(*arguments[:-1], "--as-of", (LAST - timedelta(days=1)).isoformat()).stdout.replace("\n", " ")
    assert "UTC, after 2020-06-29" in early


def test_get_asks_a_strategys_service(served: TradingContext) -> None:
    rows = json.loads(command("get", "AAPL", "--service", "trend_v1", "--as-of", "2020-06-30", "--json").stdout)
    assert set(rows[0]) - {"symbol", "event_timestamp", "served_from"} == set(SERVICES["trend_v1"].features)
    everything = json.loads(command("get", "AAPL", "--as-of", "2020-06-30", "--json").stdout)
    assert set(FEATURES) < set(everything[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["NOBODY"], "nothing is served of NOBODY"),
        (["AAPL", "--features", "rsi_15"], "rsi_15"),
        (["AAPL", "--features", ","], "names no feature"),
        (["AAPL", "--service", "trend_v9"], "trend_v9"),
        (["AAPL", "--service", "trend_v1", "--features", "rsi_14"], "give one of them"),
        (["AAPL", "--as-of", "yesterday"], "--as-of 'yesterday'"),
    ],
)
def test_mistakes_are_named(served: TradingContext, arguments: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        command("get", *arguments)


def test_list_names_views_features_and_services() -> None:
    listed = json.loads(command("list", "--json").stdout)
    assert [row["feature"] for row in listed["features"]] == list(FEATURES)
    services = {row["name"]: set(row["features"]) for row in listed["contents"] if row["kind"] == "service"}
    assert services == {name: set(service.features) for name, service in SERVICES.items()}
    shown = command("list").stdout
    assert "trend_features" in shown
    assert "mean_reversion_v1" in shown


def test_factors_shows_what_was_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    symbols = stock_panel().symbols
    monkeypatch.setattr("tests.unit.cycle.test_validation.SYMBOLS", symbols)
    context = desk()
    with pytest.raises(StorageError, match="factor_returns has no rows: 'quant cycle'"):
        command("factors")
    earned, exposures = store_factors(context, load_panel(context.lake, symbols, LAST))
    assert len(earned) > 3
    context.ledger.upgrade()
    document = json.loads(command("factors", "--symbols", "JPM,XOM", "--json").stdout)
    assert document["session"] == LAST.isoformat()
    assert {row["factor"]: row["value"] for row in document["factor_returns"]} == dict(
        zip(earned["factor"], earned["value"], strict=True)
    )
    shown = {row["symbol"]: row for row in document["exposures"]}
    assert set(shown) == {"JPM", "XOM"}
    for row in exposures.filter(pl.col("symbol") == "XOM").to_dicts():
        assert shown["XOM"][row["factor"]] == row["exposure"]
    assert "Factor returns of 2020-06-30" in command("factors", "--session", "2020-06-30").stdout
    with pytest.raises(StorageError, match="no rows of 2020-06-29"):
        command("factors", "--session", "2020-06-29")


def test_lead_lag_shows_the_strongest_edges_first() -> None:
    context = desk()
    with pytest.raises(StorageError, match="--compute looks"):
        command("lead-lag")
    edges = [("AAPL", "JPM", 0.02), ("JPM", "XOM", 0.05), ("XOM", "AAPL", 0.03)]
    session = load_panel(context.lake, SYMBOLS, LAST).last_session
    rows = [
        {"session": session, "leader": a, "follower": b, "lag": 1, "transfer_entropy": bits, "p_value": 0.001,
         "correlation": 0.2}
        for a, b, bits in edges
    ]  # fmt: skip
    lead_lag.history.store(context, "lead_lag", pl.DataFrame(rows).cast({"lag": pl.Int32}))
    shown = json.loads(command("lead-lag", "--top", "2", "--json").stdout)
    assert [(row["leader"], row["follower"]) for row in shown] == [("JPM", "XOM"), ("XOM", "AAPL")]


def test_lead_lag_computes_up_to_the_session_and_stores_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    context = desk()
    looked_at: list[FloatArray] = []

    def found(returns: FloatArray, symbols: tuple[str, ...]) -> list[Edge]:
        looked_at.append(returns)
        return [Edge(symbols[0], symbols[1], 2, 0.04, 0.002, 0.1)]

    monkeypatch.setattr(lead_lag, "lead_lag_graph", found)
    arguments = ("--compute", "--session", "2020-06-26", "--symbols", ",".join(SYMBOLS), "--json")
    shown = json.loads(command("lead-lag", *arguments).stdout)
    panel = load_panel(context.lake, SYMBOLS, LAST - timedelta(days=4))
    np.testing.assert_array_equal(looked_at[0], np.diff(np.log(panel.close), axis=0))
    assert [(row["session"], row["leader"], row["lag"]) for row in shown] == [("2020-06-26", "AAPL", 2)]
    assert json.loads(command("lead-lag", "--session", "2020-06-26", "--json").stdout) == shown
