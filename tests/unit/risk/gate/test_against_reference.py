"""The compiled gate and the plain one give the same answers: on accounts made up by hypothesis, and on real prices."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_dagster.accounting.books import Side
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.gate import Origin, Outcome, Verdict, WorkingOrder
from quant_dagster.risk.gate.checks import EXEMPT, FAILED, NOT_APPLICABLE, PASSED, WORKING
from quant_dagster.settings import RiskSettings
from tests.unit.risk.gate.accounts import SYMBOLS, counterpart, facts, gate, intent

TIGHT = RiskSettings(
    max_symbol_weight=0.3, max_sector_weight=0.5, max_gross_leverage=0.6, max_net_leverage=0.4, max_concentration=0.1,
    max_turnover_per_session=0.9, cvar_limit=0.01, max_participation=0.01, max_orders_per_session=8,
    max_counterparty_exposure=0.55, max_liquidation_sessions=0.3,
)  # fmt: skip
shares = st.integers(-6000, 6000).map(lambda n: float(n // 7 * 7))


@st.composite
def cases(draw):
    short = draw(st.booleans())
    held = {s: draw(shares) for s in SYMBOLS}
    if not short:
        held = {s: abs(h) for s, h in held.items()}
    working = [
        WorkingOrder(symbol, side, float(draw(st.integers(1, 2000))))
        for symbol, side in draw(st.lists(st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(list(Side))), max_size=3))
    ]
    market = {
        s: facts(
            draw(st.sampled_from([40.0, 100.0, 333.3, float("nan")])), sector=draw(st.sampled_from(["x", "y"])),
            average_volume=draw(st.sampled_from([None, 1e5, 1e6])), lot_size=draw(st.sampled_from([1, 1, 10])),
            previous_price=100.0, counterparty=draw(st.sampled_from(["p", "q"])),
        )
        for s in SYMBOLS
    }  # fmt: skip
    account = {
        "held": held, "working": working, "market": market, "allow_short": short,
        "cash": draw(st.sampled_from([0, 3e5])),
        "mode": draw(st.sampled_from([*ControlMode, ControlMode.NORMAL, ControlMode.NORMAL])),
        "volume_required": draw(st.booleans()), "view": {"drawdown": draw(st.sampled_from([0.0, 0.15, 0.3]))},
    }  # fmt: skip
    limits = TIGHT.model_copy(update={
        "account_type": draw(st.sampled_from(["cash", "margin"])), "price_collar": draw(st.sampled_from([0.2, 5.0])),
        "cvar_limit": draw(st.sampled_from([0.01, 0.03, 0.5])),
    })  # fmt: skip
    orders = draw(
        st.lists(
            st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(list(Side)), st.integers(1, 9000), st.booleans(),
                      st.booleans(), st.booleans(), st.booleans()),
            min_size=1, max_size=6,
        )
    )  # fmt: skip
    return limits, account, orders


def compare(limits, account, orders) -> None:
    one = gate(limits, **account)
    plain = counterpart(one, limits, drawdown=account.get("view", {}).get("drawdown", 0.0))
    for number, (symbol, side, quantity, closing_only, stop, refused, beside) in enumerate(orders):
        asked = intent(
            symbol, side, quantity, f"o{number}", reduce_only=closing_only,
            origin=Origin.ALGORITHM if beside else Origin.STRATEGY,
            stop_price=Decimal(90) if stop else None,
        )  # fmt: skip
        said = one.check(asked, ("a_rule",) if refused else ())
        expected, failed, scaled = plain.check(
            symbol, side.sign, quantity, 100.0, order_id=f"o{number}", closing_only=closing_only or stop, stop=stop,
            refused=refused, beside=beside,
        )  # fmt: skip
        name = f"control_{one.mode.name.lower()}"
        codes = {check.code.replace(name, "control_mode"): check.verdict for check in said.checks}
        assert {c for c, v in codes.items() if v is Verdict.FAILED} == failed
        assert {c for c, v in codes.items() if v is Verdict.SCALED} == scaled
        assert float(said.approved_quantity) == pytest.approx(expected, abs=1e-6)
        if said.outcome is not Outcome.REJECTED:
            plain.commit(symbol, side.sign, float(said.approved_quantity), order_id=f"o{number}", stop=stop)
        assert one.exposure.pnl == pytest.approx(plain.scenario_pnl(), rel=1e-9, abs=1e-6)


@settings(max_examples=300)
@given(cases())
def test_any_account_and_any_orders_get_the_same_answers(case) -> None:
    compare(*case)


def test_in_bulk_the_answers_are_those_of_one_after_the_other() -> None:
    rng = np.random.default_rng(5)
    chosen = rng.integers(0, 3, 400)
    sides = [Side.BUY if up else Side.SELL for up in rng.integers(0, 2, 400)]
    sizes = rng.integers(1, 2000, 400).astype(float)
    limits = TIGHT.model_copy(update={"max_orders_per_session": 10})
    many = gate(limits, held={"A": 700.0}, allow_short=True)
    approved, said = many.check_many([SYMBOLS[i] for i in chosen], sides, sizes)
    one = gate(limits, held={"A": 700.0}, allow_short=True)
    for n, (i, side, size) in enumerate(zip(chosen, sides, sizes, strict=True)):
        decision = one.check(intent(SYMBOLS[i], side, size, str(n)))
        assert float(decision.approved_quantity) == approved[n]
        one.exposure.rows[:, WORKING] = 0  # its orders have lapsed, as they have in bulk
    assert (approved > 0).sum() == 10, "the order limit counts in bulk as well"
    assert said.shape == (400, 24)
    np.testing.assert_allclose(many.exposure.pnl, one.exposure.pnl)
    np.testing.assert_allclose(many.exposure.rows, one.exposure.rows)
    np.testing.assert_allclose(many.exposure.account, one.exposure.account)
    assert (approved.dtype, said.dtype) == (np.float64, np.int8)
    assert set(said[:, 0]) == {PASSED}
    assert set(said[approved == 0].max(axis=1)) <= {FAILED, NOT_APPLICABLE, EXEMPT}
