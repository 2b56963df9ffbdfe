"""Rules on how fast the account trades: trades within sliding windows, and a pause after a losing trade.

A trade is an order that has a fill; it counts from its first fill. A window reaches back from an instant: a trade
exactly a minute (an hour) old is no longer in it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from quant_dagster.risk.account_rules.breaches import Breach, Cooldown, Lockout, Until
from quant_dagster.risk.account_rules.events import FillEvent
from quant_dagster.risk.account_rules.state import LONGEST_WINDOW, AccountState
from quant_dagster.risk.account_rules.view import View, number
from quant_dagster.settings import FrequencyRuleSettings

ONE_MINUTE = timedelta(minutes=1)


def trade_frequency(view: View) -> Breach | None:
    """A fill makes more trades than allowed: a cooldown; more than a day's trades: locked out until the reset."""
    if view.symbol is not None or not isinstance(view.event, FillEvent):
        return None
    settings = view.settings.trade_frequency
    for name, made, limit in windows(settings, view.state, view.event.at):
        if made > limit:
            end = Lockout(None, Until.RESET) if name == "day" else _pause(view, settings.cooldown_minutes)
            reason = f"{made} trades in one {name}, more than {limit}"
            return view.breach("trade_frequency", Decimal(made), Decimal(limit), reason, end)
    return None


def cooldown_after_loss(view: View) -> Breach | None:
    """A closing trade has lost, net of commission, the amount of a step or more: the longest pause of those reached."""
    event = view.event
    if view.symbol is not None or not isinstance(event, FillEvent) or not event.closes:
        return None
    loss = -view.state.trades[event.order_id].realised_pnl
    reached = {step: pause for step, pause in view.settings.cooldown_after_loss.steps.items() if loss >= number(step)}
    if not reached:
        return None
    minutes, limit = max(reached.values()), number(max(reached))
    reason = f"{event.symbol} was closed at a loss of {loss:.2f}, {limit:.2f} or more: a pause of {minutes:g} minutes"
    return view.breach("cooldown_after_loss", loss, limit, reason, _pause(view, minutes))


def windows(settings: FrequencyRuleSettings, state: AccountState, at: datetime) -> tuple[tuple[str, int, int], ...]:
    """Each window's name, the trades in it at an instant, and its limit; the day first, whose breach lasts longest."""
    return (
        ("day", state.trades_today(), settings.per_day),
        ("hour", state.trades_since(at - LONGEST_WINDOW), settings.per_hour),
        ("minute", state.trades_since(at - ONE_MINUTE), settings.per_minute),
    )


def _pause(view: View, minutes: float) -> Cooldown:
    return Cooldown(view.event.at + timedelta(minutes=minutes))
