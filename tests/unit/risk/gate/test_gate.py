"""The pre-trade gate: each check bites exactly at its limit, scaling finds the largest size, NaN never passes."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.gate import Origin, Outcome, Verdict, WorkingOrder
from quant_dagster.risk.gate.checks import TURNOVER
from quant_dagster.risk.gate.gate import LIMITS
from quant_dagster.settings import RiskSettings
from quant_dagster.strategies.decisions import REASONS
from tests.unit.risk.gate.accounts import BEFORE, DAY, LOOSE, RETURNS, SYMBOLS, facts, gate, intent, verdicts
from tests.unit.risk.gate.scenarios import REFUSALS, SCENARIOS, with_limits


def test_an_order_within_every_limit_is_approved_whole() -> None:
    decision = gate().check(intent())
    assert (decision.outcome, decision.approved_quantity, decision.reasons) == (Outcome.APPROVED, 1000, ())
    assert set(verdicts(decision).values()) == {Verdict.PASSED}
    assert not decision.reduce_only


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_limit_leaves_exactly_what_it_allows(name: str) -> None:
    limits, account, side, approved, code = SCENARIOS[name]
    decision = gate(with_limits(**limits), **account).check(intent(side=Side(side)))
    assert decision.approved_quantity == approved
    assert decision.reasons == (("position_scaled", code) if approved else (code,))
    assert decision.outcome is (Outcome.SCALED if approved else Outcome.REJECTED)
    (check,) = [one for one in decision.checks if one.code == code]
    assert check.verdict is (Verdict.SCALED if approved else Verdict.FAILED)
    assert check.value is None or check.value > check.limit
    if approved:
        exact = gate(with_limits(**limits), **account).check(intent(side=Side(side), quantity=approved))
        assert (exact.outcome, exact.reasons) == (Outcome.APPROVED, ()), "the limit itself is within"
        more = gate(with_limits(**limits), **account).check(intent(side=Side(side), quantity=approved + 1))
        assert more.approved_quantity == approved


@pytest.mark.parametrize(("options", "reason"), REFUSALS)
def test_each_reason_to_refuse(options, reason: str) -> None:
    one = gate(**options)
    before = [part.copy() for part in (one.exposure.account, one.exposure.rows, one.exposure.pnl)]
    decision = one.check(intent())
    assert decision.outcome is Outcome.REJECTED
    assert decision.approved_quantity == 0
    assert decision.reasons == (reason,)
    assert reason in REASONS
    for was, part in zip(before, (one.exposure.account, one.exposure.rows, one.exposure.pnl), strict=True):
        np.testing.assert_array_equal(was, part, "a rejected order leaves no trace")


@pytest.mark.parametrize("price", [float("nan"), float("inf"), 0.0, -5.0])
def test_a_symbol_without_a_price_does_not_disturb_the_others(price: float) -> None:
    one = gate(market={"A": facts(), "B": facts(price)})
    assert one.check(intent("B")).outcome is Outcome.REJECTED
    assert one.check(intent("A")).outcome is Outcome.APPROVED


def test_a_symbol_nobody_knows_is_stale() -> None:
    (check,) = gate(RiskSettings(max_price_age_sessions=2)).check(intent("NOBODY")).checks
    assert check == ("stale_data", Verdict.FAILED, None, 2.0)


def test_the_smallest_volume_there_is_is_a_volume() -> None:
    one = gate(market={"A": facts(average_volume=1.0)})
    assert one.check(intent(quantity=1)).outcome is Outcome.APPROVED
    assert gate(market={"A": facts(average_volume=0.5)}).check(intent(quantity=1)).reasons == ("participation",)


def test_a_position_is_turned_round_as_far_as_the_tail_allows_and_closed_in_any_case() -> None:
    short = with_limits(cvar_limit=0.002)
    unit = -RETURNS[:, 0] * 100.0
    decision = gate(short, held={"A": 300}, allow_short=True).check(intent(side=Side.SELL, quantity=5000))
    size = float(decision.approved_quantity) - 300
    assert decision.reasons == ("position_scaled", "cvar_breach")
    assert expected_shortfall(unit * size, 0.95) <= 2000 < expected_shortfall(unit * (size + 1), 0.95)
    tight = gate(with_limits(cvar_limit=1e-9), held={"A": 300}, allow_short=True)
    assert tight.check(intent(side=Side.SELL, quantity=5000)).approved_quantity == 300


def test_orders_at_work_when_the_gate_opens_leave_one_by_one() -> None:
    at_work = [WorkingOrder("A", Side.BUY, 10.0), WorkingOrder("A", Side.BUY, 5.0)]
    one = gate(working=at_work)
    one.exposure.release(at_work[0])
    assert one.check(intent()).reasons == ("duplicate_order",)
    one.exposure.release(at_work[1])
    assert one.check(intent()).outcome is Outcome.APPROVED


def test_the_last_order_of_the_session_is_allowed() -> None:
    assert gate(view={"orders_made": 999}).check(intent()).outcome is Outcome.APPROVED


def test_an_order_of_another_session_is_a_duplicate() -> None:
    assert gate().check(intent(session=BEFORE)).reasons == ("duplicate_order",)


def test_an_order_made_once_is_not_made_again_even_if_it_was_scaled() -> None:
    one = gate(with_limits(max_symbol_weight=0.05))
    assert one.check(intent()).approved_quantity == 500
    assert "duplicate_order" in one.check(intent()).reasons


def test_a_rejected_order_may_be_asked_for_again() -> None:
    one = gate()
    assert one.check(intent(side=Side.SELL)).outcome is Outcome.REJECTED
    assert one.check(intent("B")).outcome is Outcome.APPROVED
    assert one.check(intent(side=Side.BUY, order_id="id-A-sell")).outcome is Outcome.APPROVED


@pytest.mark.parametrize(
    ("price", "previous", "asked", "passes"),
    [(120.0, 100.0, 120, True), (120.1, 100.0, 120, False), (80.0, 100.0, 80, True), (79.9, 100.0, 80, False),
     (100.0, 100.0, 120, True), (100.0, 100.0, 121, False), (100.0, 100.0, 79, False)],
)  # fmt: skip
def test_a_price_outside_the_collar_is_not_traded_on(price: float, previous: float, asked: int, passes: bool) -> None:
    one = gate(with_limits(price_collar=0.2 + 1e-12), market={"A": facts(price, previous_price=previous)})
    decision = one.check(intent(decision_price=Decimal(asked)))
    assert decision.reasons == (() if passes else ("price_collar",))


def test_unknown_volume_is_reported_where_the_universe_accepts_it() -> None:
    decision = gate(market={"A": facts(average_volume=None)}, volume_required=False).check(intent())
    assert decision.outcome is Outcome.APPROVED
    assert verdicts(decision)["participation"] is Verdict.NOT_EVALUATED
    assert verdicts(decision)["liquidity_limit"] is Verdict.NOT_EVALUATED


@pytest.mark.parametrize("mode", [ControlMode.REDUCE, ControlMode.EMERGENCY])
def test_leaving_a_position_is_allowed_when_entering_is_not(mode: ControlMode) -> None:
    tight = RiskSettings(max_symbol_weight=0.001, cvar_limit=1e-6)
    decision = gate(tight, held={"A": 1000}, mode=mode).check(intent(side=Side.SELL, quantity=500))
    assert (decision.outcome, decision.reduce_only) == (Outcome.APPROVED, True)
    assert verdicts(decision)["symbol_limit"] is Verdict.EXEMPT
    assert verdicts(decision)["cvar_breach"] is Verdict.EXEMPT
    assert gate(held={"A": 1000}, mode=ControlMode.PAUSE).check(intent(side=Side.SELL)).outcome is Outcome.REJECTED


@pytest.mark.parametrize(("held", "side"), [(300, Side.SELL), (-300, Side.BUY)])
@pytest.mark.parametrize("mode", [ControlMode.REDUCE, ControlMode.EMERGENCY])
def test_where_only_reducing_is_allowed_an_order_is_cut_at_flat(mode: ControlMode, held: int, side: Side) -> None:
    one = gate(held={"A": held}, mode=mode, allow_short=True, market={"A": facts(previous_price=50.0)})
    decision = one.check(intent(side=side), refused=("x",))
    assert (decision.approved_quantity, decision.reduce_only) == (300, True)
    assert decision.reasons == ("position_scaled", f"control_{mode.name.lower()}")
    again = one.check(intent(side=side, order_id="another"))
    assert again.approved_quantity == 0, "what is on its way out is not closed twice"


def test_an_order_that_may_only_reduce_is_cut_at_flat() -> None:
    decision = gate(held={"A": 300}, allow_short=True).check(intent(side=Side.SELL, reduce_only=True))
    assert (decision.approved_quantity, decision.reasons) == (300, ("position_scaled", "reduce_only"))
    assert decision.reduce_only
    assert gate().check(intent(reduce_only=True)).reasons == ("reduce_only",)
    whole = gate(held={"A": 300}).check(intent(side=Side.SELL, quantity=300, reduce_only=True))
    assert (whole.outcome, whole.reasons) == (Outcome.APPROVED, ())


def test_a_rule_that_refuses_names_itself() -> None:
    decision = gate().check(intent(), refused=("trade_frequency", "session_block"))
    assert decision.reasons == ("trade_frequency", "session_block")
    (check,) = [one for one in decision.checks if one.code == "locked_out"]
    assert check == ("locked_out", Verdict.FAILED, 1.0, 0.0)
    assert gate(held={"A": 9}).check(intent(side=Side.SELL, quantity=9), refused=("x",)).outcome is Outcome.APPROVED


def test_a_stop_waits_beside_other_orders_and_takes_no_room() -> None:
    one = gate(with_limits(max_participation=0.0001), held={"A": 300})
    stop = intent(side=Side.SELL, quantity=300, order_id="stop", stop_price=Decimal(95))
    decision = one.check(stop)
    assert (decision.outcome, decision.reduce_only) == (Outcome.APPROVED, True)
    assert verdicts(decision)["participation"] is Verdict.EXEMPT
    leaving = one.check(intent(side=Side.SELL, quantity=100, order_id="exit"))
    assert leaving.outcome is Outcome.APPROVED, "a stop at work does not hold back an exit"
    assert "duplicate_order" in one.check(stop).reasons
    assert gate(allow_short=True).check(stop).reasons == ("reduce_only",), "nothing held, nothing to stop"
    assert one.check(intent(side=Side.SELL, order_id="other stop", stop_price=Decimal(95))).approved_quantity == 200


def test_slices_of_an_algorithm_work_beside_each_other_within_the_limits() -> None:
    one = gate(with_limits(max_symbol_weight=0.05))
    sizes = [
        one.check(intent(quantity=200, order_id=str(n), origin=Origin.ALGORITHM)).approved_quantity for n in range(4)
    ]
    assert sizes == [200, 200, 100, 0]
    short = gate(with_limits(max_symbol_weight=0.05), allow_short=True)
    slices = [intent(side=Side.SELL, quantity=200, order_id=str(n), origin=Origin.ALGORITHM) for n in range(4)]
    assert [short.check(part).approved_quantity for part in slices] == [200, 200, 100, 0]
    assert one.check(intent(quantity=1, order_id="strategy")).reasons == ("duplicate_order", "symbol_limit")
    assert "duplicate_order" in one.check(intent(order_id="0", origin=Origin.ALGORITHM)).reasons


def test_what_the_batch_has_ordered_counts_against_turnover_and_participation() -> None:
    one = gate(with_limits(max_turnover_per_session=0.06))
    assert [one.check(intent(name, quantity=250)).approved_quantity for name in SYMBOLS] == [250, 250, 100]
    assert one.exposure.account[TURNOVER] == 60_000
    one = gate(with_limits(max_participation=0.0006))
    slices = [intent(quantity=250, order_id=str(n), origin=Origin.ALGORITHM) for n in range(3)]
    assert [one.check(part).approved_quantity for part in slices] == [250, 250, 100]
    leaving = gate(with_limits(max_participation=0.0006), held={"A": 900})
    slices = [intent(side=Side.SELL, quantity=250, order_id=str(n), origin=Origin.ALGORITHM) for n in range(3)]
    assert [leaving.check(part).approved_quantity for part in slices] == [250, 250, 100]


def test_shorting_is_allowed_where_it_is() -> None:
    decision = gate(held={"A": 300}, allow_short=True).check(intent(side=Side.SELL))
    assert (decision.approved_quantity, decision.reduce_only) == (1000, False)
    assert "no_short" not in verdicts(decision)


def test_margin_is_asked_of_margin_accounts_and_cash_of_cash_accounts() -> None:
    cash = verdicts(gate().check(intent()))
    assert "buying_power" in cash
    assert "margin_limit" not in cash
    margin = verdicts(gate(with_limits(account_type="margin"), cash=-1e6).check(intent()))
    assert "margin_limit" in margin
    assert "buying_power" not in margin
    assert "buying_power" not in verdicts(gate(held={"A": 9}).check(intent(side=Side.SELL, quantity=9)))


def test_sales_of_the_same_batch_pay_for_nothing_before_they_are_filled() -> None:
    one = gate(cash=0, held={"B": 1000})
    assert one.check(intent("B", Side.SELL)).outcome is Outcome.APPROVED
    assert one.check(intent("A")).reasons == ("buying_power",)


@pytest.mark.parametrize("confidence", [0.95, 0.96])
def test_cvar_is_scaled_to_the_largest_size_that_passes(confidence: float) -> None:
    """The worst 12.5 of 250 scenarios, and the worst 10."""
    limits = with_limits(cvar_limit=0.002, cvar_confidence=confidence)
    decision = gate(limits).check(intent(quantity=5000))
    size = float(decision.approved_quantity)
    unit = RETURNS[:, 0] * 100.0
    assert decision.reasons == ("position_scaled", "cvar_breach")
    assert expected_shortfall(unit * size, confidence) <= 2000 < expected_shortfall(unit * (size + 1), confidence)
    (check,) = [one for one in decision.checks if one.code == "cvar_breach"]
    assert check.value == pytest.approx(expected_shortfall(unit * 5000, confidence) / 1e6, rel=1e-12)
    assert check.limit == 0.002


def test_cvar_counts_what_is_held_and_on_order() -> None:
    limits = with_limits(cvar_limit=0.004)
    alone = float(gate(limits).check(intent(quantity=9000)).approved_quantity)
    held = gate(limits, held={"B": 500}, working=[WorkingOrder("C", Side.BUY, 400.0)])
    beside = float(held.check(intent(quantity=9000)).approved_quantity)
    fixed = RETURNS[:, 1] * 5e4 + RETURNS[:, 2] * 4e4
    assert beside < alone
    loss = [expected_shortfall(fixed + RETURNS[:, 0] * 100 * size, 0.95) for size in (beside, beside + 1)]
    assert loss[0] <= 4000 < loss[1]


def test_over_the_cvar_limit_an_order_that_lowers_it_is_let_through() -> None:
    returns = RETURNS.copy()
    returns[:, 1] = -returns[:, 0]  # B is the perfect hedge of A
    limits = with_limits(cvar_limit=0.001)
    one = gate(limits, held={"A": 1000}, returns=returns)
    decision = one.check(intent("B", quantity=500))
    assert decision.outcome is Outcome.APPROVED
    (check,) = [c for c in decision.checks if c.code == "cvar_breach"]
    assert check.verdict is Verdict.PASSED
    assert check.limit == pytest.approx(expected_shortfall(returns[:, 0] * 1e5, 0.95) / 1e6)
    worse = gate(limits, held={"A": 1000}, returns=returns).check(intent("C", quantity=500))
    assert worse.reasons == ("cvar_breach",)


def test_cvar_that_scaling_cannot_cure_rejects() -> None:
    assert gate(with_limits(cvar_limit=1e-6)).check(intent()).reasons == ("cvar_breach",)


@pytest.mark.parametrize(("sessions", "passes"), [(124, False), (125, True)])
def test_too_little_history_is_a_cvar_breach_not_a_pass(sessions: int, passes: bool) -> None:
    returns = np.full((250, 3), np.nan)
    returns[-sessions:] = 0.001
    decision = gate(returns=returns).check(intent())
    assert decision.reasons == (() if passes else ("cvar_breach",))
    closing = gate(returns=returns, held={"A": 1000}).check(intent(side=Side.SELL))
    assert closing.outcome is Outcome.APPROVED
    flipping = gate(returns=returns, held={"A": 300}, allow_short=True).check(intent(side=Side.SELL))
    assert flipping.approved_quantity == (1000 if passes else 300)


@pytest.mark.parametrize(
    ("lot", "asked", "approved"), [(100, 1000, 500), (100, 450, 400), (7, 1000, 497), (600, 1000, 0)]
)
def test_what_is_approved_is_whole_lots(lot: int, asked: int, approved: int) -> None:
    one = gate(with_limits(max_symbol_weight=0.05), market={"A": facts(lot_size=lot)})
    decision = one.check(intent(quantity=asked))
    assert decision.approved_quantity == approved
    if asked == 450:
        assert decision.reasons == ("position_scaled",)


def test_less_than_a_lot_is_nothing_and_an_odd_lot_can_be_closed_whole() -> None:
    market = {"A": facts(lot_size=100)}
    assert gate(market=market).check(intent(quantity=99)).reasons == ("below_lot_size",)
    closing = gate(market=market, held={"A": 130}).check(intent(side=Side.SELL, quantity=130))
    assert closing.approved_quantity == 130
    assert gate(market=market, held={"A": 130}).check(intent(side=Side.SELL, quantity=120)).approved_quantity == 120


@pytest.mark.parametrize("equity", [0.0, -1e5, float("nan"), float("inf")])
def test_an_account_without_equity_answers_nothing(equity: float) -> None:
    with pytest.raises(RiskError) as refused:
        gate(equity=equity)
    assert str(refused.value) == (
        f"equity is {equity}: no order can be sized or checked against it; "
        "'quant positions' and 'quant verify ledger' say how it came about"
    )


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "much"])
def test_a_missing_limit_means_no_orders(name: str, value: object) -> None:
    with pytest.raises(RiskError, match=f"risk.{name}: the limit is missing or no number"):
        gate(LOOSE.model_copy(update={name: value}))


def test_every_check_states_its_limit() -> None:
    decision = gate(RiskSettings()).check(intent(quantity=10))
    stated = {check.code: check.limit for check in decision.checks}
    limits = RiskSettings()
    assert stated == {
        "control_normal": 0, "breaker_open": 0, "locked_out": 0, "stale_data": limits.max_price_age_sessions,
        "price_collar": limits.price_collar, "instrument": 0, "duplicate_order": 0,
        "order_limit": limits.max_orders_per_session, "unpriced_position": 0,
        "participation": limits.max_participation, "symbol_limit": limits.max_symbol_weight,
        "sector_limit": limits.max_sector_weight, "counterparty_limit": limits.max_counterparty_exposure,
        "liquidity_limit": limits.max_liquidation_sessions, "gross_limit": 1.0, "net_limit": limits.max_net_leverage,
        "concentration_limit": limits.max_concentration, "turnover_limit": limits.max_turnover_per_session,
        "buying_power": 1e6, "no_short": 0, "cvar_breach": limits.cvar_limit,
    }  # fmt: skip
    values = {check.code: check.value for check in decision.checks}
    assert values["symbol_limit"] == pytest.approx(0.001)
    assert values["participation"] == pytest.approx(1e-5)
    assert values["order_limit"] == 1
    assert values["buying_power"] == 1000
    assert values["turnover_limit"] == pytest.approx(0.001)
    assert values["concentration_limit"] == pytest.approx(1e-6)
    assert values["liquidity_limit"] == pytest.approx(10 / 50_000)
    assert [symbol for symbol in SYMBOLS if gate().exposure.committed(symbol)] == []
    assert decision.intent.session == DAY
