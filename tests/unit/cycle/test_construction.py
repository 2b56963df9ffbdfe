"""An optimiser in place of sizing each signal for itself: its targets are traded, its refusals are said."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from quant_dagster.cycle.construction import AccountFacts, construct_targets
from quant_dagster.cycle.wishes import Construction
from quant_dagster.settings import load_settings
from quant_dagster.storage.ledger import Ledger
from tests.unit.cycle.approval_desk import SYMBOLS, Desk, facts, inputs, market, signal, state

RETURNS = market().close[1:] / market().close[:-1] - 1
EMPTY = AccountFacts(1e6, {}, 0.0)


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Desk:
    return Desk(ledger, tmp_path)


def targets(method: str, *states, account: AccountFacts = EMPTY, returns=RETURNS, **risk) -> Construction:
    settings = load_settings(
        {"portfolio": {"construction": method, "construction_window": 250, "max_construction_turnover": 2.0},
         "risk": {"max_symbol_weight": 0.3, "max_sector_weight": 0.8} | risk}
    )  # fmt: skip
    found = construct_targets(settings, states, account, returns, SYMBOLS)
    assert found is not None
    return found


def four(**changes):
    return [state(name, **changes) for name in SYMBOLS]


def test_without_an_optimiser_each_signal_is_sized_for_itself() -> None:
    assert construct_targets(load_settings(), four(), EMPTY, RETURNS, SYMBOLS) is None


@pytest.mark.parametrize("method", ["mean_variance", "black_litterman", "risk_parity", "cvar"])
def test_targets_obey_the_desk_s_limits(method: str) -> None:
    found = targets(method, *four())
    assert found.problem is None
    weights = {name: float(shares) * facts(name).price / 1e6 for name, shares in found.targets.items()}
    assert max(weights.values()) <= 0.3 + 1e-6
    assert sum(weights.values()) <= 0.8 + 1e-6, "all four are of one sector"
    assert min(weights.values()) >= 0


def test_risk_parity_gives_the_calm_ones_more() -> None:
    found = targets("risk_parity", *four(), max_symbol_weight=1.0, max_sector_weight=0.4)
    weights = np.array([float(found.targets[name]) * facts(name).price for name in SYMBOLS])
    calm = np.argsort(RETURNS.std(axis=0))
    assert weights[calm[0]] > weights[calm[-1]] > 0


def test_the_turnover_limit_holds_what_cannot_be_reached_at_once() -> None:
    settings = load_settings({"portfolio": {"construction": "mean_variance", "max_construction_turnover": 0.1},
                              "risk": {"max_symbol_weight": 0.3}})  # fmt: skip
    found = construct_targets(settings, four(), EMPTY, RETURNS, SYMBOLS)
    assert sum(float(n) * facts(name).price for name, n in found.targets.items()) <= 0.1 * 1e6 + 1


@pytest.mark.parametrize(
    "changes",
    [{"quality_score": 0.1}, {"quarantined": "breaks"}, {"member": False}, {"forecast_mean": None}, {"bundle": None},
     {"facts": None}],
)  # fmt: skip
def test_only_what_may_be_held_is_a_candidate(changes) -> None:
    found = targets("risk_parity", state("IBM", **changes), state("MSFT"))
    assert set(found.targets) == {"MSFT"}
    assert found.left_out == ()


def test_a_short_signal_is_a_candidate_only_where_shorts_are_allowed() -> None:
    short = state("IBM", signal(direction=-1))
    assert set(targets("risk_parity", short, state("MSFT")).targets) == {"MSFT"}


def test_a_symbol_with_a_hole_in_its_history_is_left_out_and_said() -> None:
    returns = RETURNS.copy()
    returns[3, SYMBOLS.index("IBM")] = np.nan
    found = targets("cvar", *four(), returns=returns)
    assert found.left_out == ("IBM",)
    assert "IBM" not in found.targets
    assert targets("cvar", state("IBM"), returns=returns).targets == {}


def test_an_infeasible_problem_is_reported_never_ignored() -> None:
    held = AccountFacts(1e6, {"IBM": Decimal(4000)}, 0.0)  # 80 % of equity; the cap is 1 %, the turnover not enough
    settings = load_settings({"portfolio": {"construction": "mean_variance", "max_construction_turnover": 0.1},
                              "risk": {"max_symbol_weight": 0.01}})  # fmt: skip
    found = construct_targets(settings, four(), held, RETURNS, SYMBOLS)
    assert found.targets == {}
    assert "infeasible" in found.problem
    assert "turnover" in found.problem


def test_in_a_deep_drawdown_the_optimiser_may_hold_nothing() -> None:
    found = targets("risk_parity", *four(), account=replace(EMPTY, drawdown=0.2))
    assert found.problem is not None or all(shares == 0 for shares in found.targets.values())


def test_the_optimiser_s_targets_are_what_is_traded(desk: Desk) -> None:
    wanted = Construction("risk_parity", {"IBM": Decimal(120)}, None, notes=("a note",))
    desk.decide(inputs(state("IBM"), state("MSFT"), construction=wanted))
    row = desk.decided()
    assert (row["action"], row["target_quantity"]) == ("BUY", 120)
    assert row["reasons"] == ["trend_long", "bound_optimiser"]
    assert row["details"]["construction"]["notes"] == ["a note"]
    assert desk.decided("MSFT")["target_quantity"] == 0


def test_without_a_portfolio_nothing_is_traded_for_it(desk: Desk) -> None:
    desk.hold(100)
    desk.decide(inputs(state("IBM"), construction=Construction("cvar", {}, "cvar is infeasible: because")))
    row = desk.decided()
    assert (row["action"], row["target_quantity"]) == ("HOLD", 100)
    assert row["reasons"] == ["construction_infeasible", "trend_long"]
    assert row["details"]["construction"]["problem"] == "cvar is infeasible: because"


def test_what_the_optimiser_left_out_stays_as_it_is(desk: Desk) -> None:
    desk.hold(100)
    desk.decide(inputs(state("IBM"), construction=Construction("cvar", {}, None, left_out=("IBM",))))
    assert desk.decided()["reasons"] == ["no_history", "trend_long"]
    assert desk.orders() == []


def test_a_short_signal_says_that_it_is_not_allowed_not_that_the_optimiser_did_not_want_it(desk: Desk) -> None:
    desk.decide(inputs(state("IBM", signal(direction=-1)), construction=Construction("risk_parity", {}, None)))
    assert desk.decided()["reasons"] == ["trend_short", "short_not_allowed"]
