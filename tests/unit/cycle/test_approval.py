"""From signals to orders on a real ledger: every symbol decided once, every reason reachable and explained."""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from quant_dagster.errors import AuditError, OrderError
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.rules import RULES
from quant_dagster.risk.control import ControlMode, set_mode
from quant_dagster.risk.gate.checks import CODES
from quant_dagster.storage.ledger import Ledger
from quant_dagster.storage.ledger_tables import decisions, orders, risk_events
from quant_dagster.strategies.alphas import ALPHAS
from quant_dagster.strategies.decisions import REASONS, Action
from tests.unit.cycle.approval_desk import (
    SHORT,
    SYMBOLS,
    Desk,
    facts,
    inputs,
    signal,
    state,
)
from tests.unit.execution.test_paper import TUESDAY

PACKAGE = Path(__file__).resolve().parents[3] / "quant_dagster"


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Desk:
    return Desk(ledger, tmp_path)


def test_every_symbol_is_decided_exactly_once(desk: Desk) -> None:
    states = [state(name) for name in SYMBOLS]
    first = desk.decide(inputs(*states))
    assert sum(first.actions.values()) == 4
    assert not first.repeated
    again = desk.decide(inputs(*reversed(states)))
    assert again.repeated
    assert (again.actions, again.orders) == (first.actions, first.orders)
    with desk.ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(decisions)).scalar() == 4
        assert connection.execute(select(func.count()).select_from(orders)).scalar() == first.orders
    assert audit.verify(desk.ledger).problems == ()


def test_the_order_of_the_symbols_does_not_matter(desk: Desk) -> None:
    states = [state(name) for name in SYMBOLS]
    desk.decide(inputs(*reversed(states)), risk={"max_turnover_per_session": 0.03})
    # Equal priorities go by name: the first is served whole, the second with what is left, the third not at all.
    assert [desk.decided(name)["action"] for name in SYMBOLS[:3]] == ["BUY", "BUY", "REJECT"]
    assert "position_scaled" not in desk.decided("AAPL")["reasons"]
    assert "position_scaled" in desk.decided("GOOG")["reasons"]


def test_an_earlier_session_is_refused_and_nothing_is_written(desk: Desk) -> None:
    desk.decide(inputs(state()))
    with pytest.raises(OrderError, match="already holds decisions for 2013-02-27"):
        desk.decide(inputs(state(facts=facts("IBM", price_session=TUESDAY)), session=TUESDAY))
    with desk.ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(decisions)).scalar() == 1


@pytest.mark.parametrize(("score", "traded"), [(0.6, True), (0.5999999, False), (0.0, False), (None, False)])
def test_data_below_the_quality_score_is_never_traded(desk: Desk, score: float | None, traded: bool) -> None:
    desk.decide(inputs(state(quality_score=score)))
    row = desk.decided()
    if traded:
        assert row["action"] == "BUY"
    else:
        assert (row["action"], row["reasons"]) == ("REJECT", ["data_quality"])
        assert desk.orders() == []


def test_a_position_in_bad_data_is_kept_and_not_traded(desk: Desk) -> None:
    desk.hold(100)
    desk.decide(inputs(state(quality_score=0.3)))
    row = desk.decided()
    assert (row["action"], row["current_quantity"], row["target_quantity"]) == ("REJECT", 100, 100)


def test_the_best_signals_are_served_first_and_exits_before_them(desk: Desk) -> None:
    """Turnover is enough for the exit and one entry: the entry of the highest priority gets it."""
    desk.hold(400)
    quiet = signal(direction=0, reasons="trend_weak")
    desk.decide(
        inputs(
            state("AAPL", signal(priority=0.7)), state("GOOG", signal(priority=0.9)), state("IBM", quiet),
            state("MSFT", signal(priority=0.8)),
        ),
        risk={"max_turnover_per_session": 0.0955},
    )  # fmt: skip
    assert desk.decided("IBM")["action"] == "SELL"
    assert desk.decided("GOOG")["action"] == "BUY"
    assert "turnover_limit" in desk.decided("AAPL")["reasons"]
    assert desk.decided("AAPL")["action"] == "REJECT"


LONG_REVERSION = signal("mean_reversion", 1)
QUIET = (signal(direction=0, reasons="trend_weak"), signal("mean_reversion", 0, reasons="near_mean"))


# What was given, held (-1: an order is working), mode, settings -> action, and the reasons in order.
CASES: dict[str, tuple[dict[str, Any], int, str, dict[str, Any], str, list[str]]] = {
    "no facts": ({"facts": None}, 0, "NORMAL", {}, "REJECT", ["no_bar"]),
    "yesterday's bar": (
        {"facts": facts("IBM", price_session=TUESDAY)}, 0, "NORMAL", {}, "REJECT", ["no_bar"]),
    "no forecast": ({"forecast_mean": None}, 0, "NORMAL", {}, "REJECT", ["no_forecast"]),
    "no volatility": ({"forecast_volatility": None}, 0, "NORMAL", {}, "REJECT", ["no_forecast"]),
    "no signals at all": ({"bundle": None}, 0, "NORMAL", {}, "REJECT", ["no_features"]),
    "nobody speaks": ({"signals": QUIET}, 0, "NORMAL", {}, "HOLD", ["no_signal", "trend_weak", "near_mean"]),
    "nobody speaks, held": ({"signals": QUIET}, 50, "NORMAL", {}, "SELL", ["no_signal", "trend_weak", "near_mean"]),
    "forecast against it": ({"forecast_mean": -0.002}, 0, "NORMAL", {}, "HOLD", ["trend_long", "no_edge"]),
    "a price that cannot move": (
        {"forecast_volatility": 0.0}, 0, "NORMAL", {}, "HOLD", ["trend_long", "no_volatility"]),
    "short": ({"signals": (SHORT,)}, 0, "NORMAL", {}, "HOLD", ["trend_short", "short_not_allowed"]),
    "short, held": ({"signals": (SHORT,)}, 50, "NORMAL", {}, "SELL", ["trend_short", "short_not_allowed"]),
    "short allowed": (
        {"signals": (signal("mean_reversion", -1),), "forecast_mean": -0.002}, 0, "NORMAL",
        {"portfolio": {"allow_short": True}}, "SELL", ["mean_reversion_short", "bound_signal_cap"]),
    "signal cap": ({"signals": (LONG_REVERSION,)}, 0, "NORMAL", {}, "BUY", ["mean_reversion_long", "bound_signal_cap"]),
    "kelly": (
        {"forecast_mean": 0.000001}, 0, "NORMAL", {"signals": {"opportunity_cost": False}}, "BUY",
        ["trend_long", "bound_kelly"]),
    "volatility": (
        {"signals": (signal(strength=0.01),)}, 0, "NORMAL", {}, "BUY", ["trend_long", "bound_volatility_target"]),
    "symbol cap": (
        {}, 0, "NORMAL", {"risk": {"max_symbol_weight": 0.01}}, "BUY", ["trend_long", "bound_symbol_cap"]),
    "less than a lot": (
        {"facts": facts("IBM", lot_size=1000)}, 0, "NORMAL", {}, "HOLD",
        ["trend_long", "bound_signal_cap", "below_one_lot"]),
    "near the target": ({}, 75, "NORMAL", {}, "HOLD", ["trend_long", "bound_signal_cap", "within_buffer"]),
    "at the target": ({}, 79, "NORMAL", {}, "HOLD", ["trend_long", "bound_signal_cap", "at_target"]),
    "emergency, held": ({}, 50, "EMERGENCY", {}, "SELL", ["flatten"]),
    "emergency, bad data, held": ({"quality_score": 0.0}, 50, "EMERGENCY", {}, "SELL", ["flatten"]),
    "emergency, nothing held": ({}, 0, "EMERGENCY", {}, "HOLD", ["flatten"]),
    "pause": ({}, 0, "PAUSE", {}, "REJECT", ["control_pause", "trend_long", "bound_signal_cap"]),
    "pause, an exit": (
        {"signals": QUIET}, 50, "PAUSE", {}, "REJECT", ["control_pause", "no_signal", "trend_weak", "near_mean"]),
    "reduce, an entry": ({}, 0, "REDUCE", {}, "REJECT", ["control_reduce", "trend_long", "bound_signal_cap"]),
    "reduce, an exit": ({"signals": QUIET}, 50, "REDUCE", {}, "SELL", ["no_signal", "trend_weak", "near_mean"]),
    "unknown age": (
        {"sessions_since": {}}, 0, "NORMAL", {}, "REJECT", ["stale_data", "trend_long", "bound_signal_cap"]),
    "a wild move": (
        {"facts": facts("IBM", previous_price=100.0)}, 0, "NORMAL", {}, "REJECT",
        ["price_collar", "trend_long", "bound_signal_cap"]),
    "already on order": ({}, -1, "NORMAL", {}, "REJECT", ["duplicate_order", "trend_long", "bound_signal_cap"]),
    "unknown volume": (
        {"facts": facts("IBM", average_volume=None)}, 0, "NORMAL", {}, "REJECT",
        ["participation", "trend_long", "bound_signal_cap"]),
    "thin volume": (
        {"facts": facts("IBM", average_volume=1000.0)}, 0, "NORMAL", {}, "BUY",
        ["trend_long", "bound_signal_cap", "position_scaled", "participation"]),
    "sector": (
        {}, 0, "NORMAL", {"risk": {"max_sector_weight": 0.01}}, "BUY",
        ["trend_long", "bound_signal_cap", "position_scaled", "sector_limit"]),
    "gross": (
        {}, 0, "NORMAL", {"risk": {"max_gross_leverage": 0.01}}, "BUY",
        ["trend_long", "bound_signal_cap", "position_scaled", "gross_limit"]),
    "net": (
        {}, 0, "NORMAL", {"risk": {"max_net_leverage": 0.01}}, "BUY",
        ["trend_long", "bound_signal_cap", "position_scaled", "net_limit"]),
    "turnover": (
        {}, 0, "NORMAL", {"risk": {"max_turnover_per_session": 0.01}}, "BUY",
        ["trend_long", "bound_signal_cap", "position_scaled", "turnover_limit"]),
    "cvar": (
        {}, 0, "NORMAL", {"risk": {"cvar_limit": 0.0002}}, "BUY",
        ["trend_long", "bound_signal_cap", "position_scaled", "cvar_breach"]),
    "cvar without history": (
        {"scenario_symbols": ("AAPL", "GOOG", "X", "MSFT")}, 0, "NORMAL", {}, "REJECT",
        ["cvar_breach", "trend_long", "bound_signal_cap"]),
    "limits leave less than a lot": (
        {"facts": facts("IBM", lot_size=50)}, 0, "NORMAL", {"risk": {"max_turnover_per_session": 0.005}}, "REJECT",
        ["turnover_limit", "trend_long", "bound_signal_cap"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_reason(desk: Desk, case: str) -> None:
    given, held, mode, settings, action, reasons = CASES[case]
    if held > 0:
        desk.hold(held)
    if held < 0:
        desk.order_ibm()
    if mode != "NORMAL":
        set_mode(desk.ledger, ControlMode[mode], person="ada", reason="test")
    changes = dict(given)
    of_inputs = {name: changes.pop(name) for name in ("sessions_since", "scenario_symbols") if name in changes}
    views = changes.pop("signals", ())
    outcome = desk.decide(inputs(state("IBM", *views, **changes), **of_inputs), **settings)
    row = desk.decided()
    assert (row["action"], row["reasons"]) == (action, reasons)
    made = desk.orders()
    assert len(made) == outcome.orders == (action in ("BUY", "SELL"))
    if made:
        (order,) = made
        moved = order["quantity"] if order["side"] == "buy" else -order["quantity"]
        assert row["target_quantity"] == row["current_quantity"] + moved
        assert order["decision_price"] == row["decision_price"]
    assert audit.verify(desk.ledger).problems == ()
    assert verify_ledger(desk.ledger).problems == ()


def test_orders_beyond_the_limit_of_a_session_are_refused(desk: Desk) -> None:
    desk.decide(inputs(state("AAPL"), state("IBM")), risk={"max_orders_per_session": 1})
    assert desk.decided("AAPL")["action"] == "BUY"
    assert (desk.decided()["action"], desk.decided()["reasons"][0]) == ("REJECT", "order_limit")


def test_cash_that_is_on_order_is_not_spent_twice(desk: Desk) -> None:
    desk.decide(
        inputs(*(state(name) for name in SYMBOLS)),
        risk={"max_position_per_signal": 1.0, "max_symbol_weight": 0.4, "max_sector_weight": 1.0, "cvar_limit": 1.0,
              "max_participation": 1.0, "volatility_target": 5.0, "kelly_fraction": 1.0, "max_concentration": 1.0},
    )  # fmt: skip
    spent = sum(order["quantity"] * order["decision_price"] for order in desk.orders())
    assert 0.99e6 < spent <= 1e6
    assert any("buying_power" in desk.decided(name)["reasons"] for name in SYMBOLS)


def test_nothing_is_bought_while_something_held_has_no_price(desk: Desk) -> None:
    desk.hold(100)
    desk.decide(inputs(state("MSFT")))
    row = desk.decided("MSFT")
    assert (row["action"], row["reasons"][0]) == ("REJECT", "unpriced_position")


def test_what_is_held_outside_the_decided_symbols_counts_against_the_limits(desk: Desk) -> None:
    desk.hold(1000)
    desk.decide(inputs(state("MSFT"), held_facts={"IBM": facts("IBM")}), risk={"max_sector_weight": 0.2})
    row = desk.decided("MSFT")
    assert (row["action"], row["reasons"][0]) == ("REJECT", "sector_limit")


def test_the_books_must_balance_before_anything_is_decided(desk: Desk) -> None:
    from quant_dagster.errors import BooksError
    from quant_dagster.storage.ledger_tables import postings

    with desk.ledger.write() as connection:
        connection.execute(postings.update().where(postings.c.account == "cash").values(amount=Decimal(1)))
    with pytest.raises(BooksError):
        desk.decide(inputs(state()))
    assert desk.orders() == []


def test_an_unreadable_control_mode_decides_nothing(desk: Desk) -> None:
    from quant_dagster.errors import RiskError
    from quant_dagster.storage.ledger_tables import control_state

    set_mode(desk.ledger, ControlMode.PAUSE, person="ada", reason="test")
    with desk.ledger.write() as connection:
        connection.execute(control_state.update().values(mode="SLEEPY"))
    with pytest.raises(RiskError, match="SLEEPY"):
        desk.decide(inputs(state()))
    assert desk.orders() == []


def test_every_verdict_of_the_gate_is_kept_with_its_checks(desk: Desk) -> None:
    desk.decide(inputs(state("IBM"), state("MSFT", facts=facts("MSFT", previous_price=10.0))))
    with desk.ledger.read() as connection:
        rows = {row["symbol"]: row for row in connection.execute(select(risk_events)).mappings()}
    assert (rows["IBM"]["outcome"], rows["MSFT"]["outcome"]) == ("approved", "rejected")
    assert [c["code"] for c in rows["MSFT"]["checks"] if c["verdict"] == "failed"] == ["price_collar"]
    assert all({"code", "verdict", "value", "limit"} == set(check) for check in rows["IBM"]["checks"])


def test_what_decided_is_recorded_with_the_decision(desk: Desk) -> None:
    second = signal("mean_reversion", -1, priority=0.3, enabled=True)
    desk.decide(inputs(state("IBM", signal(), second, forecast_fallback="mean")))
    details = desk.decided()["details"]
    assert details["fallback_signal"] == "mean_reversion"
    assert details["forecast_fallback"] == "mean"
    assert details["size"]["bound_by"] == "signal_cap"
    assert set(details["signals"]) == {"trend", "mean_reversion"}


def codes_in_source() -> set[str]:
    """Every reason the approval and the gate can give, read from their source."""
    found = set()
    alphas = sorted((PACKAGE / "strategies" / "alphas").glob("*.py"))
    others = (
        "cycle/wishes.py", "cycle/signal_selection.py", "cycle/approval.py", "risk/gate/checks.py",
        "risk/gate/gate.py", "risk/sizing.py",
    )  # fmt: skip
    for file in (*alphas, *(PACKAGE / name for name in others)):
        text = file.read_text(encoding="utf-8")
        strings = {node.value for node in ast.walk(ast.parse(text))
                   if isinstance(node, ast.Constant) and isinstance(node.value, str)}  # fmt: skip
        found |= {value for value in strings if re.fullmatch(r"[a-z]+(_[a-z]+)+", value)}
    return found


def test_every_reason_of_the_gate_and_the_approval_is_explained() -> None:
    """Codes given as plain strings are read from the source; those that are put together are listed here."""
    built = {f"control_{mode.name.lower()}" for mode in ControlMode if mode is not ControlMode.NORMAL}
    built |= {f"bound_{name}" for name in ("kelly", "volatility_target", "signal_cap", "symbol_cap")}
    built |= {f"{alpha}_{side}" for alpha in ALPHAS for side in ("long", "short")}
    assert built | set(RULES) | {lockouts.UNREADABLE} <= set(REASONS)
    unexplained_as_code = (
        set(REASONS)
        - built
        - codes_in_source()
        - set(RULES)
        - {"manual_lockout", "unreadable_lockout"}
        - {"conflict", "flatten", "participation", "instrument", "quarantined"}
    )
    assert unexplained_as_code == set(), "a reason is explained that nothing gives"
    assert set(CODES) - {"control_mode"} <= set(REASONS)
    text = (PACKAGE / "cycle/wishes.py").read_text(encoding="utf-8")
    given = set(re.findall(r'reasons=\("([a-z_]+)",\)', text)) | set(re.findall(r'ZERO, \("([a-z_]+)"', text))
    given |= set(re.findall(r'\((?:signal\.|\*)reasons, "([a-z_]+)"\)', text))
    assert len(given) >= 8
    assert given <= set(REASONS)


def test_actions_are_the_four_words() -> None:
    assert [action.value for action in Action] == ["BUY", "SELL", "HOLD", "REJECT"]


def test_an_emergency_closes_what_is_held_outside_the_decided_symbols(desk: Desk) -> None:
    desk.hold(50)
    set_mode(desk.ledger, ControlMode.EMERGENCY, person="ada", reason="test")
    desk.decide(inputs(state("AAPL"), held_facts={"IBM": facts("IBM")}))
    assert (desk.decided()["action"], desk.decided()["reasons"]) == ("SELL", ["flatten"])
    (order,) = desk.orders()
    assert (order["symbol"], order["side"], order["quantity"]) == ("IBM", "sell", 50)


def test_a_position_outside_the_decided_symbols_is_left_alone_in_normal_mode(desk: Desk) -> None:
    desk.hold(50)
    desk.decide(inputs(state("AAPL"), held_facts={"IBM": facts("IBM")}))
    assert {order["symbol"] for order in desk.orders()} == {"AAPL"}


def test_a_quarantined_symbol_is_not_traded_on_and_what_is_held_of_it_stays(desk: Desk) -> None:
    desk.hold(50)
    desk.decide(inputs(state("IBM", signal(), quarantined="a tenth of its bars contradict"), state("MSFT")))
    assert (desk.decided()["action"], desk.decided()["reasons"]) == ("REJECT", ["quarantined"])
    assert {order["symbol"] for order in desk.orders()} == {"MSFT"}


def test_what_left_the_universe_is_sold_and_not_bought_again(desk: Desk) -> None:
    desk.hold(50)
    desk.decide(inputs(state("IBM", signal(), member=False)))
    assert (desk.decided()["action"], desk.decided()["reasons"]) == ("SELL", ["left_universe"])
    assert [(order["symbol"], order["quantity"]) for order in desk.orders()] == [("IBM", 50)]


def test_an_instrument_the_books_cannot_carry_is_not_bought_but_can_be_sold(desk: Desk) -> None:
    problem = "IBM is in EUR, the account in USD"
    desk.decide(inputs(state("IBM", signal(), facts=facts("IBM", instrument_problem=problem))))
    assert (desk.decided()["action"], desk.decided()["reasons"][0]) == ("REJECT", "instrument")
    assert desk.orders() == []


def test_an_orders_price_lies_on_the_tick_grid(desk: Desk) -> None:
    desk.decide(
        inputs(
            state("IBM", signal(), facts=facts("IBM", price=100.12345, previous_price=100.0, tick_size=Decimal("0.05")))
        )
    )
    (order,) = desk.orders()
    assert order["decision_price"] == Decimal("100.10")
    assert desk.decided()["decision_price"] == Decimal("100.123450"), "what was decided on stays exact"


def test_a_broken_audit_chain_means_no_new_orders(desk: Desk) -> None:
    with desk.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE audit_log SET actor = 'nobody' WHERE sequence = 1")
    with pytest.raises(AuditError, match="audit row 1"):
        desk.decide(inputs(state()))
    with desk.ledger.read() as connection:
        assert connection.execute(select(func.count()).select_from(decisions)).scalar() == 0
        assert connection.execute(select(func.count()).select_from(orders)).scalar() == 0
