"""Commands about data that ask somebody or compute something: what they say agrees with what is stored."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.factors import store_factors
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.settings import load_settings
from quant_dagster.storage.lake import Lake
from tests.support.replays import Command


def test_members_are_those_of_the_universe_and_hindsight_is_admitted(replayed_home: Path, command: Command) -> None:
    said = command("data", "members", "--on", "2022-12-28", "--json").json
    assert (said["members"], said["point_in_time"], said["survivors_only"]) == (20, False, True)
    assert "KO" in said["symbols"] and "hindsight" in said["reason"]
    assert command("data", "members", "--on", "today").code == 2


def test_watching_packaged_vendors_finds_them_well_and_switches_nothing(replayed_home: Path, command: Command) -> None:
    said = command("vendors", "watch", "--json").json
    assert said["switch"] is None and said["active"] == "embedded"
    assert set(said["vendors"].values()) == {"well"}
    assert command("vendors", "watch", "--universe", "mars").code == 2


def test_a_vendor_put_in_force_by_hand_is_served_by(replayed_home: Path, command: Command) -> None:
    rows = {row["vendor"]: row["active"] for row in command("vendors", "status", "--json").json}
    (other,) = [name for name, active in rows.items() if not active]
    who = ("--actor", "ann", "--reason", "the first is late")
    assert f"{other} is in force" in command("vendors", "switch", other, *who).out
    rows = {row["vendor"]: row["active"] for row in command("vendors", "status", "--json").json}
    assert [name for name, active in rows.items() if active] == [other]
    assert command("verify", "audit").code == 0


def test_a_breaker_opened_by_hand_stays_open_until_it_is_closed(replayed_home: Path, command: Command) -> None:
    who = ("--actor", "ann", "--reason", "maintenance")
    assert command("vendors", "breaker", "network", "open", *who).out == "breaker network is open\n"
    assert command("vendors", "breaker", "network", "closed", *who).out == "breaker network is closed\n"


def test_what_the_portfolio_has_of_each_factor_adds_up_to_its_positions(replayed_home: Path, command: Command) -> None:
    context = TradingContext(load_settings())
    lake = Lake(replayed_home / "lake")
    if lake.read("factor_returns").is_empty():
        for upto in (date(2022, 12, 27), date(2022, 12, 28)):
            store_factors(context, load_panel(context.lake, context.symbols, upto))
    said = command("features", "factors", "--json").json
    held = {row["symbol"]: row for row in command("positions", "--session", "2022-12-28", "--json").json}
    assert {row["symbol"] for row in said["exposures"]} == set(held)
    equity = float(command("pnl", "--json").json[-1]["equity"])
    weights = {symbol: float(row["market_value"]) / equity for symbol, row in held.items()}
    mine = {row["factor"]: row["exposure"] for row in said["portfolio"] if row["factor"] != "specific"}
    assert len(mine) > 3
    for factor, exposure in mine.items():
        parts = [weights[row["symbol"]] * row[factor] for row in said["exposures"] if row[factor] is not None]
        assert abs(sum(parts) - exposure) < 1e-9
    assert any(row["factor"] == "specific" and row["contribution"] is not None for row in said["portfolio"])


def test_files_that_nothing_needs_are_only_listed_when_asked_to(replayed_home: Path, command: Command) -> None:
    before = {name: Lake(replayed_home / "lake").version(name) for name in Lake(replayed_home / "lake").tables()}
    rows = command("lake", "maintain", "--dry-run", "--json").json
    assert {row["table"] for row in rows} == set(before) and all(row["dry_run"] for row in rows)
    assert {name: Lake(replayed_home / "lake").version(name) for name in before} == before


def test_what_changed_since_a_version_is_counted(replayed_home: Path, command: Command) -> None:
    said = command("lake", "changes", "forecasts", "--since", "0", "--json").json
    assert said["until"] == Lake(replayed_home / "lake").version("forecasts")
    assert sum(row["rows"] for row in said["counts"]) == len(said["rows"]) > 0
    assert command("lake", "changes", "forecasts", "--since", str(said["until"]), "--json").json["rows"] == []
