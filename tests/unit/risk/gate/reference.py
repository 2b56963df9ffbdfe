"""The gate said plainly: objects, no shortcuts, everything recomputed for every order.

What the compiled gate is held to. Written from the words of the limits, not from the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.risk.sizing import drawdown_factor, leverage_limit
from quant_dagster.settings import RiskSettings

SLACK = 1 + 1e-9


@dataclass
class Book:
    """One symbol."""

    price: float = math.nan
    previous: float = math.nan
    age: float = math.nan
    volume: float = math.nan
    sector: str = "unknown"
    counterparty: str = "broker"
    lot: float = 1.0
    problem: bool = False
    held: float = 0.0
    buys: float = 0.0
    sells: float = 0.0
    closing_buys: float = 0.0
    closing_sells: float = 0.0
    working: int = 0
    ordered: float = 0.0
    returns: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def known_price(self) -> bool:
        return 0 < self.price < math.inf

    def if_filled(self, sign: int) -> float:
        """Shares if all working orders of a side filled: first those that may only close, as far as they can."""
        closes = self.closing_buys if sign > 0 else self.closing_sells
        position = self.held
        if position * sign < 0:
            position += sign * min(closes, abs(position))
        return position + sign * (self.buys if sign > 0 else self.sells)

    @property
    def committed(self) -> float:
        high, low = self.if_filled(1), self.if_filled(-1)
        return high if abs(high) >= abs(low) else low


class ReferenceGate:
    """Check and commit orders; the same answers as `Gate`, slowly."""

    def __init__(
        self, limits: RiskSettings, books: Mapping[str, Book], *, cash: float, equity: float, mode=ControlMode.NORMAL,
        allow_short: bool = False, volume_required: bool = True, drawdown: float = 0.0,
        breaker_open: bool = False, orders: int = 0, turnover: float = 0.0,
    ) -> None:  # fmt: skip
        self.limits, self.books, self.cash, self.equity, self.mode = limits, dict(books), cash, equity, mode
        self.allow_short, self.volume_required, self.drawdown = allow_short, volume_required, drawdown
        self.breaker_open, self.orders, self.turnover = breaker_open, orders, turnover
        self.ids: set[str] = set()
        self.history = np.column_stack([np.nan_to_num(book.returns) for book in self.books.values()])

    def scenario_pnl(self, instead: str | None = None, shares: float = 0.0) -> np.ndarray:
        """P&L per scenario of everything committed, with another position in one symbol."""
        values = [
            (shares if name == instead else book.committed) * book.price if book.known_price else 0.0
            for name, book in self.books.items()
        ]
        return self.history @ np.array(values)

    def check(
        self,
        symbol: str,
        sign: int,
        quantity: float,
        order_price: float,
        *,
        order_id: str = "",
        closing_only: bool = False,
        stop: bool = False,
        refused: bool = False,
        beside: bool = False,
    ) -> tuple[float, set[str], set[str]]:
        """Approved quantity, codes that failed, codes that scaled."""  # fmt: skip
        limits, book = self.limits, self.books[symbol]
        failed: set[str] = set()
        scaled: set[str] = set()
        closable = max(0.0, -sign * book.if_filled(sign)) if book.held * sign < 0 else 0.0
        whole = quantity

        # Only what closes may be allowed.
        may = self.mode is ControlMode.NORMAL or (self.mode > ControlMode.PAUSE and closable > 0)
        if not may:
            failed.add("control_mode")
        if closing_only and closable == 0:
            failed.add("reduce_only")
            may = False
        if may and (self.mode is not ControlMode.NORMAL or closing_only) and quantity > closable:
            scaled.add("control_mode" if self.mode is not ControlMode.NORMAL else "reduce_only")
            quantity = closable
        reducing = 0 < quantity <= closable
        permitted = self._permits(symbol, order_price, order_id, stop or beside, refused, reducing, failed) and may
        if not book.known_price:
            return 0.0, failed, scaled
        largest: dict[str, float] = {}

        def limit(code: str, passes, *, exempt: bool = False, size: float) -> None:
            if passes or exempt:
                return
            lots = math.floor(max(0.0, size) / book.lot * SLACK + 1e-9)
            (scaled if lots >= 1 else failed).add(code)
            largest[code] = lots * book.lot

        # The order's size.
        if book.volume > 0:
            room = limits.max_participation * book.volume - book.ordered
            limit("participation", book.ordered + quantity <= limits.max_participation * book.volume * SLACK,
                  exempt=stop, size=room)  # fmt: skip
        elif self.volume_required:
            failed.add("participation")
            largest["participation"] = 0.0

        # The position it makes: the larger of what this side and the other side of the working orders lead to.
        price = book.price
        end = sign * book.if_filled(sign)
        other = abs(book.if_filled(-sign))
        after = max(abs(end + quantity), other)
        rest = {
            n: b.committed * b.price for n, b in self.books.items() if n != symbol and b.committed and b.known_price
        }

        def position(code: str, most_shares: float) -> None:
            size = max(closable, most_shares - end) if other <= most_shares * SLACK else closable
            limit(code, after <= most_shares * SLACK, exempt=reducing, size=size)

        equity = self.equity
        gross = sum(abs(v) for v in rest.values())
        sector = sum(abs(v) for n, v in rest.items() if self.books[n].sector == book.sector)
        venue = sum(abs(v) for n, v in rest.items() if self.books[n].counterparty == book.counterparty)
        squares = sum(v * v for v in rest.values())
        position("symbol_limit", limits.max_symbol_weight * equity / price)
        position("sector_limit", (limits.max_sector_weight * equity - sector) / price)
        position("counterparty_limit", (limits.max_counterparty_exposure * equity - venue) / price)
        if book.volume > 0:
            position("liquidity_limit", limits.max_liquidation_sessions * limits.max_participation * book.volume)
        position("gross_limit", (leverage_limit(limits) * equity - gross) / price)
        if drawdown_factor(self.drawdown, limits) < 1:
            most = leverage_limit(limits) * drawdown_factor(self.drawdown, limits)
            position("drawdown_limit", (most * equity - gross) / price)
        position("concentration_limit", math.sqrt(max(0.0, limits.max_concentration * equity**2 - squares)) / price)
        if limits.account_type == "margin":
            position("margin_limit", (equity / limits.initial_margin - gross) / price)
        net = sum(
            sign * b.if_filled(sign) * b.price for b in self.books.values() if b.known_price
        )  # fmt: skip
        limit("net_limit", net + quantity * price <= limits.max_net_leverage * equity * SLACK, exempt=reducing,
              size=max(closable, (limits.max_net_leverage * equity - net) / price))  # fmt: skip
        room = limits.max_turnover_per_session * equity - self.turnover
        limit("turnover_limit", self.turnover + quantity * price <= limits.max_turnover_per_session * equity * SLACK,
              exempt=reducing, size=room / price)  # fmt: skip
        if limits.account_type == "cash" and sign > 0:
            limit("buying_power", quantity * price <= max(0.0, self.cash) * SLACK, exempt=reducing,
                  size=self.cash / price)  # fmt: skip
        if not self.allow_short and sign < 0:
            limit("no_short", quantity <= closable, exempt=reducing, size=closable)

        allowed = min([quantity, *largest.values()]) if permitted else 0.0
        allowed = self._tail(symbol, sign, quantity, allowed, end, closable, reducing, failed, scaled)
        return min(allowed, whole), failed, scaled

    def _permits(self, symbol: str, order_price: float, order_id: str, beside: bool, refused: bool, reducing: bool,
                 failed: set[str]) -> bool:  # fmt: skip
        """Yes or no, whatever the size."""
        limits, book = self.limits, self.books[symbol]
        before = len(failed)
        if self.breaker_open:
            failed.add("breaker_open")
        if refused and not reducing:
            failed.add("locked_out")
        if not (book.known_price and book.age <= limits.max_price_age_sessions):
            failed.add("stale_data")
        if not book.known_price:
            return False
        move = (
            math.nan
            if not book.previous > 0
            else max(abs(book.price / book.previous - 1), abs(order_price / book.price - 1))
        )
        if not move <= limits.price_collar and not reducing:
            failed.add("price_collar")
        if book.problem and not reducing:
            failed.add("instrument")
        if order_id in self.ids or (book.working > 0 and not beside):
            failed.add("duplicate_order")
        if self.orders + 1 > limits.max_orders_per_session:
            failed.add("order_limit")
        if not reducing and any((b.held or b.buys or b.sells) and not b.known_price for b in self.books.values()):
            failed.add("unpriced_position")
        return len(failed) == before

    def _tail(self, symbol: str, sign: int, quantity: float, allowed: float, end: float, closable: float,
              reducing: bool, failed: set[str], scaled: set[str]) -> float:  # fmt: skip
        limits, book = self.limits, self.books[symbol]
        limit = limits.cvar_limit * self.equity

        def lots(shares: float) -> float:
            return math.floor(shares / book.lot * SLACK + 1e-9) * book.lot

        def loss(shares: float) -> float:
            return expected_shortfall(self.scenario_pnl(symbol, sign * (end + shares)), limits.cvar_confidence)

        asked = allowed if allowed > 0 else quantity
        asked = quantity if reducing and asked >= quantity else lots(asked)
        floor = math.floor(closable / book.lot)
        if np.isfinite(book.returns).sum() < limits.cvar_scenarios // 2:
            if reducing:
                return min(allowed, asked)
            (scaled if floor >= 1 else failed).add("cvar_breach")
            return min(allowed, floor * book.lot)
        if loss(asked) <= limit * SLACK or reducing:
            return min(allowed, asked)
        if loss(0.0) > limit and loss(asked) <= loss(0.0):
            return min(allowed, asked)
        passing = floor
        if loss(floor * book.lot) <= limit * SLACK:
            # Convex in the size: the sizes that pass reach from the least to one bound.
            high = math.ceil(asked / book.lot)
            low = floor
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if loss(middle * book.lot) <= limit * SLACK else (low, middle)
            passing = low
        (scaled if passing >= 1 else failed).add("cvar_breach")
        return min(allowed, passing * book.lot)

    def commit(self, symbol: str, sign: int, quantity: float, *, order_id: str = "", stop: bool = False) -> None:
        """Count an approved order as working."""
        book = self.books[symbol]
        closing = book.held * sign < 0 and quantity <= -sign * book.if_filled(sign)
        self.orders += 1
        self.ids.add(order_id)
        if stop:
            return
        book.working += 1
        book.ordered += quantity
        self.turnover += quantity * book.price
        if closing and sign > 0:
            book.closing_buys += quantity
        elif closing:
            book.closing_sells += quantity
        elif sign > 0:
            book.buys += quantity
            self.cash -= quantity * book.price
        else:
            book.sells += quantity
