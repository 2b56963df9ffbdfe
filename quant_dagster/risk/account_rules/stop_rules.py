"""Rules on protective stops: a position must have one soon, and a stop follows a gain and never goes back.

A stop protects a position when it covers all of it.
"""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from quant_dagster.risk.account_rules.breaches import ActionKind, ActionRequest, Breach
from quant_dagster.risk.account_rules.view import View, number
from quant_dagster.storage.types import money


def no_stop_loss_grace(view: View) -> Breach | None:
    """A position has gone without a stop for ``seconds`` or longer: it is closed, or gets one."""
    since = view.holding.unprotected_since
    if since is None:
        return None
    settings = view.settings.no_stop_loss_grace
    without = view.event.at - since
    if without < timedelta(seconds=settings.seconds):
        return None
    seconds = number(without.total_seconds())
    reason = f"{view.symbol} has had no stop for its whole position for {seconds:g} s, allowed {settings.seconds:g} s"
    holding = view.holding
    price = money(holding.mark * (1 - holding.sign * view.stop_distance))
    place = ActionRequest(ActionKind.PLACE_STOP, view.symbol, abs(holding.position), price)
    requests = view.close() if settings.action == "close" else (place,)
    return view.breach("no_stop_loss_grace", seconds, number(settings.seconds), reason, *requests)


def trade_management(view: View) -> Breach | None:
    """A position has gained ``break_even_after`` or more: its stop goes to the entry price; from ``trail_after`` on it
    follows at ``trail_by`` of the price. Asked for only while it is better than the stop that works.
    """
    settings, holding = view.settings.trade_management, view.holding
    if not (holding.position and holding.entry_price):
        return None
    gained = holding.sign * (holding.mark - holding.entry_price)
    levels: list[tuple[Decimal, Decimal]] = []
    if gained >= number(settings.break_even_after) * holding.entry_price:
        levels.append((holding.entry_price, number(settings.break_even_after)))
    if gained >= number(settings.trail_after) * holding.entry_price:
        levels.append(
            (money(holding.mark * (1 - holding.sign * number(settings.trail_by))), number(settings.trail_after))
        )
    if not levels:
        return None
    stop, limit = max(levels, key=lambda level: holding.sign * level[0])
    working = holding.stop_price
    if working is not None and holding.sign * (stop - working) <= 0:
        return None
    gain = gained / holding.entry_price
    kind = ActionKind.PLACE_STOP if working is None else ActionKind.MOVE_STOP
    reason = f"{view.symbol} has gained {gain:.2%}: its stop goes to {stop.normalize():f}"
    request = ActionRequest(kind, view.symbol, abs(holding.position), stop)
    return view.breach("trade_management", gain, limit, reason, request)
