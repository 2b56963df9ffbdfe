"""Rules on profit and loss, realised in the trading day and open. Each bites when its amount is reached, not passed.

With scope ``account`` they look at the sum over all symbols, with scope ``symbol`` at each symbol alone.
"""

from __future__ import annotations

from decimal import Decimal

from quant_dagster.accounting.books import ZERO
from quant_dagster.risk.account_rules.breaches import Breach
from quant_dagster.risk.account_rules.view import View, number
from quant_dagster.settings import AmountRuleSettings


def daily_realised_loss(view: View) -> Breach | None:
    """The trading day's realised loss, net of commission, reaches the amount: flat and locked out until the reset."""
    settings = view.settings.daily_realised_loss
    loss = -_realised(view)
    if not _reached(view, settings, loss):
        return None
    reason = f"{_whose(view)} realised loss of the day is {loss:.2f}, limit {settings.amount:.2f}"
    return view.breach("daily_realised_loss", loss, number(settings.amount), reason, *view.flat_until_reset())


def daily_unrealised_loss(view: View) -> Breach | None:
    """The open loss reaches the amount: closed and locked out until the reset."""
    settings = view.settings.daily_unrealised_loss
    loss = -_open(view)
    if not _reached(view, settings, loss):
        return None
    reason = f"{_whose(view)} open loss is {loss:.2f}, limit {settings.amount:.2f}"
    return view.breach("daily_unrealised_loss", loss, number(settings.amount), reason, *view.flat_until_reset())


def max_unrealised_profit(view: View) -> Breach | None:
    """The open profit reaches the amount: it is taken. Nothing is locked."""
    settings = view.settings.max_unrealised_profit
    profit = _open(view)
    if not _reached(view, settings, profit):
        return None
    reason = f"{_whose(view)} open profit is {profit:.2f}, to be taken at {settings.amount:.2f}"
    return view.breach("max_unrealised_profit", profit, number(settings.amount), reason, *view.close())


def daily_realised_profit(view: View) -> Breach | None:
    """The trading day's realised profit, net of commission, reaches the amount: flat and locked out until the reset."""
    settings = view.settings.daily_realised_profit
    profit = _realised(view)
    if not _reached(view, settings, profit):
        return None
    reason = f"{_whose(view)} realised profit of the day is {profit:.2f}, goal {settings.amount:.2f}"
    return view.breach("daily_realised_profit", profit, number(settings.amount), reason, *view.flat_until_reset())


def _reached(view: View, settings: AmountRuleSettings, value: Decimal) -> bool:
    return (settings.scope == "account") == (view.symbol is None) and value >= number(settings.amount)


def _realised(view: View) -> Decimal:
    if view.symbol is None:
        return sum(view.state.realised_pnl.values(), ZERO)
    return view.state.realised_pnl.get(view.symbol, ZERO)


def _open(view: View) -> Decimal:
    return sum((holding.unrealised_pnl for holding in view.held.values()), ZERO)


def _whose(view: View) -> str:
    return "the account's" if view.symbol is None else f"{view.symbol}'s"
