"""Rules on what is held, where and when: quantities, blocked symbols, trading hours, the broker's permission."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, time, timedelta
from decimal import Decimal
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from quant_dagster.accounting.books import ZERO
from quant_dagster.risk.account_rules.breaches import ActionKind, ActionRequest, Breach, Lockout, Until
from quant_dagster.risk.account_rules.view import View, number
from quant_dagster.settings import QuantityRuleSettings, SessionBlockRuleSettings


def max_contracts(view: View) -> Breach | None:
    """More than ``limit`` shares held, long plus short: all is closed, or the newest positions are reduced."""
    if view.symbol is not None:
        return None
    settings = view.settings.max_contracts
    limit, total = number(settings.limit), sum((abs(holding.position) for holding in view.held.values()), ZERO)
    if total <= limit:
        return None
    reason = f"{total} held in all, more than {limit}"
    requests = view.close() if settings.action == "close" else tuple(_reduced(view, total - limit))
    return view.breach("max_contracts", total, limit, reason, *requests)


def max_contracts_per_instrument(view: View) -> Breach | None:
    """More than the symbol's limit held of it: closed, or reduced to the limit."""
    if view.symbol is None:
        return None
    settings = view.settings.max_contracts_per_instrument
    limit, held = symbol_limit(settings, view.symbol), abs(view.holding.position)
    if held <= limit:
        return None
    reduce = ActionRequest(ActionKind.REDUCE_TO, view.symbol, quantity=view.holding.sign * limit)
    requests = view.close() if settings.action == "close" else (reduce,)
    reason = f"{held} of {view.symbol} held, more than {limit}"
    return view.breach("max_contracts_per_instrument", held, limit, reason, *requests)


def symbol_blocks(view: View) -> Breach | None:
    """A blocked symbol is held: it is closed."""
    settings = view.settings.symbol_blocks
    if not (settings.close_positions and view.held) or view.symbol is None:
        return None
    pattern = blocking(settings.symbols, view.symbol)
    if pattern is None:
        return None
    reason = f"{view.holding.position} of {view.symbol} held, which '{pattern}' blocks"
    return view.breach("symbol_blocks", abs(view.holding.position), ZERO, reason, *view.close())


def session_block(view: View) -> Breach | None:
    """Something is held outside trading hours: all is closed."""
    settings = view.settings.session_block
    if not (settings.close_positions and view.held) or view.symbol is not None:
        return None
    if is_open(settings, view.event.at):
        return None
    reason = f"{len(view.held)} positions held outside {hours(settings)}"
    return view.breach("session_block", Decimal(len(view.held)), ZERO, reason, *view.close())


def auth_loss_guard(view: View) -> Breach | None:
    """The broker's newest word is that the account may not trade: closed, and locked out until it may."""
    if view.symbol is not None or view.state.can_trade is not False:
        return None
    reason = f"the broker says the account may not trade: {view.state.account_detail}"
    return view.breach("auth_loss_guard", None, None, reason, Lockout(None, Until.CONDITION), *view.close())


def symbol_limit(settings: QuantityRuleSettings, symbol: str) -> Decimal:
    """The limit on one symbol: its own, or the general one."""
    return number(settings.per_symbol.get(symbol, settings.limit))


def blocking(patterns: Iterable[str], symbol: str) -> str | None:
    """The first pattern that blocks the symbol (case counts; ``*``, ``?`` and ``[…]`` as in a shell)."""
    return next((pattern for pattern in patterns if fnmatchcase(symbol, pattern)), None)


def is_open(settings: SessionBlockRuleSettings, at: datetime) -> bool:
    """Whether trading hours run: start included, end not. Hours over midnight belong to the weekday they began on."""
    local = at.astimezone(ZoneInfo(settings.time_zone))
    start, end = time.fromisoformat(settings.start), time.fromisoformat(settings.end)
    if start < end:
        return local.weekday() in settings.days and start <= local.time() < end
    if local.time() >= start:
        return local.weekday() in settings.days
    return (local - timedelta(days=1)).weekday() in settings.days and local.time() < end


def hours(settings: SessionBlockRuleSettings) -> str:
    """Trading hours in words."""
    days = ", ".join(("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[day] for day in settings.days)
    return f"{settings.start} to {settings.end} {settings.time_zone} on {days}"


def _reduced(view: View, excess: Decimal) -> Iterable[ActionRequest]:
    """Undo what came last first: the positions that changed last give up the excess."""
    newest_first = sorted(view.held.items(), key=lambda item: (item[1].position_at, item[0]), reverse=True)
    for symbol, holding in newest_first:
        given = min(excess, abs(holding.position))
        if given > 0:
            left = holding.sign * (abs(holding.position) - given)
            yield ActionRequest(ActionKind.REDUCE_TO, symbol, quantity=left)
        excess -= given
