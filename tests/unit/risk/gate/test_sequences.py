"""Any sequence of orders, fills, cancellations, prices and modes: what is promised about it holds after every step."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from quant_dagster.accounting.books import Side
from quant_dagster.errors import RiskError
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.gate import Origin, Outcome, WorkingOrder
from quant_dagster.risk.gate import checks as at
from quant_dagster.settings import RiskSettings
from tests.unit.risk.gate.accounts import RETURNS, SYMBOLS, facts, gate, intent

LIMITS = RiskSettings(
    max_symbol_weight=0.3, max_sector_weight=0.5, max_gross_leverage=0.6, max_net_leverage=0.4, max_concentration=0.1,
    max_turnover_per_session=5.0, cvar_limit=0.012, max_participation=0.01, price_collar=1,
)  # fmt: skip
SECTOR = {"A": "x", "B": "x", "C": "y"}
symbols, sides = st.sampled_from(SYMBOLS), st.sampled_from(list(Side))


class Account(RuleBasedStateMachine):
    """An account behind the gate, with its own plain record of what happened."""

    allow_short = False

    def __init__(self) -> None:
        super().__init__()
        market = {s: facts(average_volume=1e7, sector=SECTOR[s]) for s in SYMBOLS}
        self.gate = gate(LIMITS, market=market, allow_short=self.allow_short)
        self.held = dict.fromkeys(SYMBOLS, 0.0)
        self.price = dict.fromkeys(SYMBOLS, 100.0)
        self.cash = 1e6
        self.working: list[WorkingOrder] = []
        self.numbers = itertools.count()

    # -- what happens -------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.working) < 5)  # more only takes longer to try out
    @rule(symbol=symbols, side=sides, quantity=st.integers(1, 5000), origin=st.sampled_from(list(Origin)))
    def order(self, symbol: str, side: Side, quantity: int, origin: Origin) -> None:
        was = self.trace()
        held, mode = self.held[symbol], self.gate.mode
        decision = self.gate.check(intent(symbol, side, quantity, f"o{next(self.numbers)}", origin=origin))
        approved = float(decision.approved_quantity)
        if decision.outcome is Outcome.REJECTED:
            assert approved == 0
            for before, after in zip(was, self.trace(), strict=True):
                np.testing.assert_array_equal(before, after)
            return
        assert 0 < approved <= quantity
        assert mode is not ControlMode.PAUSE
        self.working.append(WorkingOrder(symbol, side, approved, reduce_only=decision.reduce_only))
        if decision.reduce_only:
            assert held * side.sign < 0
            mine = [o for o in self.working if o.symbol == symbol and o.side is side and o.reduce_only]
            assert sum(o.remaining for o in mine) <= abs(held), "what closes never closes more than there is"
        else:
            assert mode is ControlMode.NORMAL, "REDUCE and EMERGENCY never increase exposure"
            self.require_limits(symbol)

    @precondition(lambda self: self.working)
    @rule(data=st.data(), worse=st.sampled_from([0.99, 1.0, 1.01]))
    def fill(self, data: st.DataObject, worse: float) -> None:
        order = data.draw(st.sampled_from(self.working))
        quantity = float(data.draw(st.integers(1, int(order.remaining))))
        price = self.price[order.symbol] * worse
        if order.reduce_only and quantity > -order.side.sign * self.held[order.symbol]:
            return  # the venue would not
        self.working.remove(order)
        self.gate.exposure.fill(order, quantity, price)
        self.held[order.symbol] += order.side.sign * quantity
        self.cash -= order.side.sign * quantity * price
        if quantity < order.remaining:
            self.working.append(
                WorkingOrder(order.symbol, order.side, order.remaining - quantity, reduce_only=order.reduce_only)
            )

    @precondition(lambda self: self.working)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        order = data.draw(st.sampled_from(self.working))
        self.working.remove(order)
        self.gate.exposure.release(order)

    @rule(symbol=symbols, move=st.sampled_from([0.8, 0.97, 1.03, 1.2]))
    def price_moves(self, symbol: str, move: float) -> None:
        self.price[symbol] *= move
        self.gate.exposure.reprice(symbol, self.price[symbol])

    @rule(mode=st.sampled_from(list(ControlMode)))
    def mode_changes(self, mode: ControlMode) -> None:
        self.gate.mode = mode
        self.gate.exposure.account[at.MODE] = mode

    @rule()
    def emergency(self) -> None:
        """Everything working is withdrawn, everything held is closed: nothing is left."""
        for order in self.working:
            self.gate.exposure.release(order)
        self.working.clear()
        self.mode_changes(ControlMode.EMERGENCY)
        for symbol, held in self.held.items():
            if not held:
                continue
            side = Side.SELL if held > 0 else Side.BUY
            decision = self.gate.check(intent(symbol, side, abs(held), f"o{next(self.numbers)}"))
            assert (decision.outcome, decision.reduce_only) == (Outcome.APPROVED, True)
            closing = WorkingOrder(symbol, side, abs(held), reduce_only=True)
            self.gate.exposure.fill(closing, abs(held), self.price[symbol])
            self.cash += held * self.price[symbol]
            self.held[symbol] = 0.0
        assert all(self.gate.exposure.committed(symbol) == 0 for symbol in SYMBOLS)

    # -- what is promised ---------------------------------------------------------------------------------------------

    def trace(self) -> list[np.ndarray]:
        exposure = self.gate.exposure
        parts = (exposure.account, exposure.rows, exposure.sectors, exposure.counterparties, exposure.pnl)
        return [part.copy() for part in parts]

    def ends(self, symbol: str) -> tuple[float, float]:
        """The least and the most shares that any of the working orders, filled in any order, can lead to.

        An order that may only reduce is filled no further than flat: the venue sees to that.
        """
        mine = [order for order in self.working if order.symbol == symbol]
        reached = {self.held[symbol]}
        for some in itertools.chain.from_iterable(itertools.combinations(mine, n) for n in range(1, len(mine) + 1)):
            for filled in itertools.permutations(some):
                position = self.held[symbol]
                for order in filled:
                    room = max(0.0, -order.side.sign * position) if order.reduce_only else math.inf
                    position += order.side.sign * min(order.remaining, room)
                reached.add(position)
        return min(reached), max(reached)

    def require_limits(self, symbol: str) -> None:
        """Whichever of the working orders fill at today's prices, what the order touched is within its limits."""
        equity = self.gate.exposure.account[at.EQUITY]
        worst = {s: max(map(abs, self.ends(s))) * self.price[s] for s in SYMBOLS}
        slack = 1e-9 * equity + 1e-3
        assert worst[symbol] <= 0.3 * equity + slack
        assert sum(v for s, v in worst.items() if SECTOR[s] == SECTOR[symbol]) <= 0.5 * equity + slack
        assert sum(worst.values()) <= 0.6 * equity + slack
        assert math.sqrt(sum(v * v for v in worst.values())) <= math.sqrt(0.1) * equity + slack
        long = sum(self.ends(s)[1] * self.price[s] for s in SYMBOLS)
        short = sum(self.ends(s)[0] * self.price[s] for s in SYMBOLS)
        side = self.working[-1].side
        assert (long if side is Side.BUY else -short) <= 0.4 * equity + slack
        if not self.allow_short:
            assert all(self.ends(s)[0] >= 0 for s in SYMBOLS)
            assert side is Side.SELL or self.gate.exposure.account[at.CASH] >= -slack, (
                "cash on order is not spent twice"
            )
        assert self.gate.exposure.account[at.TURNOVER] <= 5.0 * equity + slack
        values = np.array([max(self.ends(s), key=abs) * self.price[s] for s in SYMBOLS])
        assert expected_shortfall(RETURNS @ values, 0.95) <= 0.012 * equity + slack or not self.within(values, symbol)

    def within(self, values: np.ndarray, symbol: str) -> bool:
        """Was the portfolio within its CVaR before the order? Prices may have carried it over since."""
        before = values.copy()
        order = self.working[-1]
        before[SYMBOLS.index(symbol)] -= order.side.sign * order.remaining * self.price[symbol]
        return expected_shortfall(RETURNS @ before, 0.95) <= 0.012 * self.gate.exposure.account[at.EQUITY]

    @invariant()
    def the_totals_are_those_of_the_parts(self) -> None:
        exposure = self.gate.exposure
        values = np.array([max(reversed(self.ends(s)), key=abs) * self.price[s] for s in SYMBOLS])
        account = exposure.account
        assert account[at.GROSS] == pytest.approx(np.abs(values).sum(), abs=1e-3)
        assert account[at.SQUARES] == pytest.approx((values**2).sum(), rel=1e-9, abs=1)
        assert account[at.NET_HIGH] == pytest.approx(sum(self.ends(s)[1] * self.price[s] for s in SYMBOLS), abs=1e-3)
        assert account[at.NET_LOW] == pytest.approx(sum(self.ends(s)[0] * self.price[s] for s in SYMBOLS), abs=1e-3)
        np.testing.assert_allclose(exposure.pnl, RETURNS @ values, atol=1e-3)
        worth = self.cash + sum(self.held[s] * self.price[s] for s in SYMBOLS)
        assert account[at.EQUITY] == pytest.approx(worth, rel=1e-9)

    @invariant()
    def a_share_is_reserved_once(self) -> None:
        rows = self.gate.exposure.rows
        for i, symbol in enumerate(SYMBOLS):
            mine = [order for order in self.working if order.symbol == symbol]
            assert rows[i, at.HELD] == self.held[symbol]
            assert rows[i, at.WORKING] == len(mine)
            closing = sum(o.remaining for o in mine if o.reduce_only)
            assert rows[i, at.CLOSING_BUYS] + rows[i, at.CLOSING_SELLS] == closing
        assert self.gate.exposure.account[at.CASH] + rows[:, at.RESERVED].sum() == pytest.approx(self.cash, rel=1e-9)

    @invariant()
    def nothing_is_short_where_that_is_not_allowed(self) -> None:
        assert self.allow_short or min(self.held.values()) >= 0


class LongAndShort(Account):
    allow_short = True


TestLongOnly = Account.TestCase
TestLongOnly.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLongAndShort = LongAndShort.TestCase
TestLongAndShort.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_a_fill_of_more_than_is_on_order_is_an_error() -> None:
    one = gate()
    one.check(intent(quantity=10))
    with pytest.raises(RiskError, match=r"A: 11.0 shares leave 10.0 on order; rebuild the exposure"):
        one.exposure.fill(WorkingOrder("A", Side.BUY, 11.0), 11.0, 100.0)


def test_cash_is_reserved_for_a_buy_and_given_back_as_it_fills_or_lapses() -> None:
    one = gate(cash=100_000)
    one.check(intent(quantity=100))
    cash, reserved = one.exposure.account, one.exposure.rows[0]
    assert (cash[at.CASH], reserved[at.RESERVED]) == (90_000, 10_000)
    one.exposure.fill(WorkingOrder("A", Side.BUY, 100.0), 25.0, 101.0)
    assert (cash[at.CASH], reserved[at.RESERVED]) == (90_000 + 2_500 - 2_525, 7_500)
    assert (reserved[at.WORKING], reserved[at.BUYS], reserved[at.HELD]) == (1, 75, 25)
    one.exposure.release(WorkingOrder("A", Side.BUY, 75.0))
    assert (cash[at.CASH], reserved[at.RESERVED]) == (100_000 - 2_525, 0)
    assert (reserved[at.WORKING], reserved[at.BUYS]) == (0, 0)
    assert cash[at.EQUITY] == 1e6 - 25


def test_a_sale_on_order_reserves_no_cash_and_gives_none_back() -> None:
    one = gate(held={"A": 300})
    one.check(intent(side=Side.SELL, quantity=200))
    assert one.exposure.account[at.CASH] == 1e6
    one.exposure.release(WorkingOrder("A", Side.SELL, 200.0, reduce_only=True))
    assert one.exposure.account[at.CASH] == 1e6
    assert one.exposure.committed("A") == 300


def test_a_new_price_of_what_is_held_changes_what_the_account_is_worth() -> None:
    one = gate(held={"A": 300, "B": -100}, allow_short=True)
    one.exposure.reprice("A", 95.0)
    assert one.exposure.account[at.EQUITY] == 1e6 - 300 * 5
    one.exposure.reprice("B", 90.0)
    assert one.exposure.account[at.EQUITY] == 1e6 - 300 * 5 + 100 * 10
    assert one.exposure.account[at.GROSS] == 300 * 95 + 100 * 90


def test_while_something_held_has_no_price_nothing_is_opened() -> None:
    one = gate(held={"B": 10})
    one.exposure.reprice("B", math.nan)
    assert one.check(intent()).reasons == ("unpriced_position",)
    assert one.exposure.account[at.EQUITY] == 1e6
    one.exposure.reprice("B", 90.0)
    assert one.check(intent()).outcome is Outcome.APPROVED


def test_a_stop_at_work_takes_nothing_and_gives_nothing_back() -> None:
    stop = WorkingOrder("A", Side.SELL, 300.0, reduce_only=True, stop=True)
    one = gate(held={"A": 300}, working=[stop])
    assert one.exposure.rows[0, at.WORKING] == 0
    one.exposure.fill(stop, 300.0, 95.0)
    assert one.exposure.committed("A") == 0
    assert one.exposure.account[at.CASH] == 1e6 + 300 * 95
    assert one.exposure.account[at.EQUITY] == 1e6 - 300 * 5
    one.exposure.release(stop)
    assert one.exposure.rows[0, at.WORKING] == 0
