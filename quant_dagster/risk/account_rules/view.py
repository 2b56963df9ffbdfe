"""What a rule is shown: the event that just happened, the state after it, and whom the question is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from quant_dagster.risk.account_rules.breaches import ActionKind, ActionRequest, Breach, Consequence, Lockout, Until
from quant_dagster.risk.account_rules.events import Event
from quant_dagster.risk.account_rules.state import NEVER, AccountState, Holding
from quant_dagster.settings import AccountRulesSettings


@dataclass(frozen=True)
class View:
    """One look at the account (``symbol`` None) or at a symbol. A rule answers with a breach or with None."""

    settings: AccountRulesSettings
    stop_distance: Decimal
    event: Event
    state: AccountState
    symbol: str | None

    @property
    def holding(self) -> Holding:
        """The holding of the symbol looked at; flat when the look is at the account."""
        return self.state.holding(self.symbol) if self.symbol is not None else Holding()

    @property
    def held(self) -> dict[str, Holding]:
        """Holdings that are not flat, by symbol: all of the account, or the symbol's own."""
        chosen = self.state.holdings if self.symbol is None else {self.symbol: self.holding}
        return {symbol: holding for symbol, holding in chosen.items() if holding.position}

    def breach(
        self, rule: str, value: Decimal | None, limit: Decimal | None, reason: str, *consequences: Consequence
    ) -> Breach:
        """The rule bites; since when is remembered."""
        marks = self.state.began if self.symbol is None else self.holding.began
        return Breach(rule, self.symbol, value, limit, reason, marks.get(rule, self.event.at), consequences)

    @property
    def opened_at(self) -> datetime:
        """When the newest position was opened, of the symbol or of all."""
        if self.symbol is not None:
            return self.holding.opened_at
        return max((holding.opened_at for holding in self.state.holdings.values()), default=NEVER)

    def close(self) -> tuple[ActionRequest, ...]:
        """Requests that leave nothing working and, where something is held, nothing held."""
        kind = ActionKind.CLOSE_ALL if self.symbol is None else ActionKind.CLOSE_SYMBOL
        kinds = (ActionKind.CANCEL_ORDERS, kind) if self.held else (ActionKind.CANCEL_ORDERS,)
        return tuple(ActionRequest(kind, self.symbol, opened_at=self.opened_at) for kind in kinds)

    def flat_until_reset(self) -> tuple[Consequence, ...]:
        """Locked out until the daily reset, and closed."""
        return (Lockout(self.symbol, Until.RESET), *self.close())


def number(value: float) -> Decimal:
    """A setting as an exact decimal, written without a point where it is whole."""
    return Decimal(f"{Decimal(str(value)).normalize():f}")
