"""May this order be sent? What the account rules say before an order exists.

An order that only shrinks a position is never refused: being unable to leave is the worse risk. Whether it does is
computed here and not believed: together with the working orders on its side it must not exceed what is held, so no
position goes through zero on that excuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from quant_dagster.accounting.books import ZERO, Side
from quant_dagster.risk.account_rules.breaches import Breach
from quant_dagster.risk.account_rules.lockouts import ActiveLockout
from quant_dagster.risk.account_rules.pace_rules import windows
from quant_dagster.risk.account_rules.position_rules import blocking, hours, is_open, symbol_limit
from quant_dagster.risk.account_rules.rules import enabled
from quant_dagster.risk.account_rules.state import AccountState
from quant_dagster.risk.account_rules.view import number
from quant_dagster.settings import AccountRulesSettings


@dataclass(frozen=True)
class Order:
    """An order asked about, or one that works already (with the quantity that is still to fill)."""

    symbol: str
    side: Side
    quantity: Decimal


class PreTrade:
    """The account as it stands at an instant; `permits` may be asked about any number of orders."""

    def __init__(
        self, settings: AccountRulesSettings, state: AccountState, lockouts: Sequence[ActiveLockout], at: datetime
    ) -> None:
        self.settings = settings
        self.state = state
        self.lockouts = lockouts
        self.at = at
        self._enabled = enabled(settings)

    def permits(self, order: Order, working: Sequence[Order]) -> list[Breach]:
        """Why an order may not be sent; empty if it may.

        Parameters
        ----------
        order
            The order asked about.
        working
            Orders that work or were approved before it: they count as if they filled.
        """
        if self.reduces(order, working):
            return []
        return [*self._locked(order), *self._refused(order, working)]

    def reduces(self, order: Order, working: Sequence[Order]) -> bool:
        """Whether the order can only shrink a position, whatever fills first."""
        held = self.state.holding(order.symbol)
        same = sum((o.quantity for o in working if (o.symbol, o.side) == (order.symbol, order.side)), ZERO)
        return held.sign == -order.side.sign and order.quantity + same <= abs(held.position)

    def _locked(self, order: Order) -> Iterator[Breach]:
        for lockout in self.lockouts:
            if lockout.symbol in (None, order.symbol):
                end = "until it is released" if lockout.expires_at is None else f"until {lockout.expires_at:%F %T} UTC"
                yield self._breach(lockout.rule, lockout.symbol, None, None, f"{lockout.kind} {end}: {lockout.reason}")

    def _refused(self, order: Order, working: Sequence[Order]) -> Iterator[Breach]:
        settings, symbol = self.settings, order.symbol
        largest = self._largest([*working, order])
        total, own = sum(largest.values(), ZERO), largest[symbol]
        limit, own_limit = (
            number(settings.max_contracts.limit),
            symbol_limit(settings.max_contracts_per_instrument, symbol),
        )
        if "max_contracts" in self._enabled and total > limit:
            yield self._breach("max_contracts", None, total, limit, f"{total} held and ordered in all, limit {limit}")
        if "max_contracts_per_instrument" in self._enabled and own > own_limit:
            reason = f"{own} of {symbol} held and ordered, limit {own_limit}"
            yield self._breach("max_contracts_per_instrument", symbol, own, own_limit, reason)
        if "trade_frequency" in self._enabled:
            for name, made, most in windows(settings.trade_frequency, self.state, self.at):
                would = made + len(working) + 1
                if would > most:
                    reason = f"it would be trade {would} in one {name}, limit {most}"
                    yield self._breach("trade_frequency", None, Decimal(would), Decimal(most), reason)
        if "session_block" in self._enabled and not is_open(settings.session_block, self.at):
            yield self._breach("session_block", None, None, None, f"outside {hours(settings.session_block)}")
        if "auth_loss_guard" in self._enabled and self.state.can_trade is not True:
            said = f"says the account may not trade: {self.state.account_detail}"
            word = "has not said that the account may trade" if self.state.can_trade is None else said
            yield self._breach("auth_loss_guard", None, None, None, f"the broker {word}")
        pattern = blocking(settings.symbol_blocks.symbols, symbol)
        if "symbol_blocks" in self._enabled and pattern is not None:
            yield self._breach("symbol_blocks", symbol, None, None, f"{symbol} is blocked by '{pattern}'")

    def _largest(self, orders: Sequence[Order]) -> dict[str, Decimal]:
        """The largest position each symbol can come to, long or short, if the orders of one side alone fill."""
        largest = {symbol: abs(holding.position) for symbol, holding in self.state.holdings.items()}
        for side in Side:
            reached = {symbol: holding.position for symbol, holding in self.state.holdings.items()}
            for order in orders:
                if order.side is side:
                    reached[order.symbol] = reached.get(order.symbol, ZERO) + side.sign * order.quantity
                    largest[order.symbol] = max(largest.get(order.symbol, ZERO), abs(reached[order.symbol]))
        return largest

    def _breach(
        self, rule: str, symbol: str | None, value: Decimal | None, limit: Decimal | None, reason: str
    ) -> Breach:
        return Breach(rule, symbol, value, limit, reason, self.at, ())
