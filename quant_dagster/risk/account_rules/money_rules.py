"""Rules on profit and loss, realised in the trading day and open. Each bites when its amount is reached, not passed.

With scope ``account`` they look at the sum over all symbols, with scope ``symbol`` at each symbol alone.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

from quant_dagster.accounting.books import ZERO
from quant_dagster.risk.account_rules.breaches import Breach, Consequence
from quant_dagster.risk.account_rules.view import View, number
from quant_dagster.settings import AmountRuleSettings


def daily_realised_loss(view: View) -> Breach | None:
    """The trading day's realised loss, net of commission, reaches the amount: flat and locked out until the reset."""
    settings, words = view.settings.daily_realised_loss, ("realised loss of the day is", "limit")
    return _once_reached(view, "daily_realised_loss", settings, -_realised(view), words, view.flat_until_reset)


def daily_unrealised_loss(view: View) -> Breach | None:
    """The open loss reaches the amount: closed and locked out until the reset."""
    settings, words = view.settings.daily_unrealised_loss, ("open loss is", "limit")
    return _once_reached(view, "daily_unrealised_loss", settings, -_open(view), words, view.flat_until_reset)


def max_unrealised_profit(view: View) -> Breach | None:
    """The open profit reaches the amount: it is taken. Nothing is locked."""
    settings, words = view.settings.max_unrealised_profit, ("open profit is", "to be taken at")
    return _once_reached(view, "max_unrealised_profit", settings, _open(view), words, view.close)


def daily_realised_profit(view: View) -> Breach | None:
    """The trading day's realised profit, net of commission, reaches the amount: flat and locked out until the reset."""
    settings, words = view.settings.daily_realised_profit, ("realised profit of the day is", "goal")
    return _once_reached(view, "daily_realised_profit", settings, _realised(view), words, view.flat_until_reset)


def _once_reached(
    view: View,
    rule: str,
    settings: AmountRuleSettings,
    value: Decimal,
    words: tuple[str, str],
    answer: Callable[[], tuple[Consequence, ...]],
) -> Breach | None:
    limit = number(settings.amount)
    if (settings.scope == "account") != (view.symbol is None) or value < limit:
        return None
    whose = "the account's" if view.symbol is None else f"{view.symbol}'s"
    reason = f"{whose} {words[0]} {value:.2f}, {words[1]} {settings.amount:.2f}"
    return view.breach(rule, value, limit, reason, *answer())


def _realised(view: View) -> Decimal:
    if view.symbol is None:
        return sum(view.state.realised_pnl.values(), ZERO)
    return view.state.realised_pnl.get(view.symbol, ZERO)


def _open(view: View) -> Decimal:
    return sum((holding.unrealised_pnl for holding in view.held.values()), ZERO)
