"""How much of every limit is used: of the gate's by what is held and on order, of the account rules' by the account.

Belongs here: the same numbers the gate and the rules see, for people to look at. Does not: verdicts (``risk.gate``,
``risk.account_rules``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from quant_dagster.accounting.books import ZERO
from quant_dagster.cycle.account_watch import newest_valued
from quant_dagster.cycle.gatekeeping import closing_instant
from quant_dagster.cycle.inputs import market_facts
from quant_dagster.cycle.session import SessionCycle
from quant_dagster.execution.portfolio_view import portfolio_view
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.risk.account_rules import lockouts
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.pace_rules import windows
from quant_dagster.risk.account_rules.position_rules import blocking, is_open
from quant_dagster.risk.account_rules.rules import RULES, enabled
from quant_dagster.risk.account_rules.state import AccountState
from quant_dagster.risk.expected_shortfall import expected_shortfall
from quant_dagster.settings import AccountRulesSettings, RiskSettings

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.risk.gate.exposure import Exposure

_VOLUME_WINDOW = 20


@dataclass(frozen=True)
class LimitUse:
    """A limit of the gate and its present use: ``value`` of ``limit``, both as the check reports them.

    ``about`` is the symbol or group that is nearest the limit, empty for the account. A ``value`` of None is unknown:
    no volume of what is held is.
    """

    code: str
    about: str
    setting: str
    value: float | None
    limit: float

    @property
    def used(self) -> float | None:
        """Share of the limit; infinite where something stands against a limit of zero."""
        if self.value is None:
            return None
        if self.limit:
            return self.value / self.limit
        return float("inf") if self.value else 0.0


@dataclass(frozen=True)
class RuleUse:
    """An account rule: whether it is obeyed, its settings, what it sees now, and the lockouts it has imposed.

    While no rule is enabled the account is not watched, and ``value`` is empty.
    """

    rule: str
    title: str
    enabled: bool
    settings: dict[str, Any]
    value: dict[str, Any]
    lockouts: tuple[str, ...]


def as_of(context: TradingContext) -> datetime:
    """The instant whose lockouts and sums count: now, or, after a replay of the past, its newest session's close."""
    now, session = context.ledger.now(), newest_valued(context)
    return now if session >= context.calendar.latest_completed(now) else closing_instant(context.calendar, session)


def limit_use(context: TradingContext, session: date) -> list[LimitUse]:
    """Every limit of the gate against what is held and on order at ``session``'s prices, in the order of its checks.

    A symbol counts with the larger of the positions that its working buys or its working sells would lead to.
    """
    from quant_dagster.risk.gate.exposure import Exposure  # brings the compiler
    from quant_dagster.risk.gate.gate import limit_row

    risk = context.settings.risk
    cycle = SessionCycle(context, session)
    with context.ledger.read() as connection:
        account = cycle.value(connection)
        view = portfolio_view(connection, account, session)
    names = sorted({*view.held, *(order.symbol for order in view.working)})
    facts, returns = {}, np.zeros((0, 0))
    if names:
        panel = load_panel(context.lake, names, session, lookback=max(risk.cvar_scenarios + 1, _VOLUME_WINDOW))
        facts = market_facts(context, session, panel)
        closes = panel.close[-(risk.cvar_scenarios + 1) :]
        returns = closes[1:] / closes[:-1] - 1.0
        names = list(panel.symbols)
    exposure = Exposure(
        [*facts, *names], facts=facts, sessions_since={}, portfolio=view, returns=returns, return_symbols=names
    )
    limits = limit_row(risk, len(returns), view.drawdown)
    sectors = {symbol: known.sector for symbol, known in facts.items()}
    return list(_uses(exposure, risk, limits, view.drawdown, sectors))


def _uses(
    exposure: Exposure, risk: RiskSettings, limits: Any, drawdown: float, sectors: dict[str, str]
) -> Iterator[LimitUse]:
    from quant_dagster.risk.gate import checks as at

    account, rows, names = exposure.account, exposure.rows, exposure.symbols
    equity = float(account[at.EQUITY])
    values = np.abs(rows[:, at.VALUE]) / equity

    def largest(code: str, setting: str, shares: Any, limit: float) -> LimitUse:
        if not np.isfinite(shares).any():
            return LimitUse(code, "", setting, None if len(names) else 0.0, limit)
        i = int(np.nanargmax(shares))
        return LimitUse(code, names[i] if shares[i] else "", setting, float(shares[i]), limit)

    with np.errstate(divide="ignore", invalid="ignore"):
        ordered = rows[:, at.ORDERED] / rows[:, at.VOLUME]
        to_close = np.abs(rows[:, at.VALUE]) / rows[:, at.PRICE] / (risk.max_participation * rows[:, at.VOLUME])
    yield LimitUse("order_limit", "", "max_orders_per_session", float(account[at.ORDERS]), limits[at.MAX_ORDERS])
    yield largest("participation", "max_participation", ordered, limits[at.MAX_PARTICIPATION])
    yield largest("symbol_limit", "max_symbol_weight", values, limits[at.MAX_SYMBOL])
    by_sector: dict[str, float] = {}
    for name, value in zip(names, values.tolist(), strict=True):
        sector = sectors.get(name, "unknown")
        by_sector[sector] = by_sector.get(sector, 0.0) + value
    for sector, value in sorted(by_sector.items(), key=lambda item: (-item[1], item[0])):
        yield LimitUse("sector_limit", sector, "max_sector_weight", value, limits[at.MAX_SECTOR])
    gross = float(account[at.GROSS]) / equity
    held_at_one = float(exposure.counterparties.max(initial=0.0)) / equity
    yield LimitUse("counterparty_limit", "", "max_counterparty_exposure", held_at_one, limits[at.MAX_COUNTERPARTY])
    yield largest("liquidity_limit", "max_liquidation_sessions", to_close, limits[at.MAX_LIQUIDATION])
    yield LimitUse("gross_limit", "", "max_gross_leverage", gross, limits[at.MAX_GROSS])
    yield LimitUse("drawdown_limit", "", "drawdown_scaling_start", gross, limits[at.MAX_DRAWDOWN_GROSS])
    net = max(abs(float(account[at.NET_HIGH])), abs(float(account[at.NET_LOW]))) / equity
    yield LimitUse("net_limit", "", "max_net_leverage", net, limits[at.MAX_NET])
    squares = float(account[at.SQUARES]) / equity**2
    yield LimitUse("concentration_limit", "", "max_concentration", squares, limits[at.MAX_CONCENTRATION])
    turnover = float(account[at.TURNOVER]) / equity
    yield LimitUse("turnover_limit", "", "max_turnover_per_session", turnover, limits[at.MAX_TURNOVER])
    # What is not free of equity is in positions or kept for working buys; all of it may be used, and no more.
    yield LimitUse("buying_power", "", "", 1.0 - float(account[at.CASH]) / equity, 1.0)
    if risk.account_type == "margin":
        yield LimitUse("margin_limit", "", "initial_margin", risk.initial_margin * gross, 1.0)
    shortfall = expected_shortfall(exposure.pnl, risk.cvar_confidence) / equity if len(exposure.pnl) else 0.0
    yield LimitUse("cvar_breach", "", "cvar_limit", max(0.0, shortfall), limits[at.MAX_CVAR])
    yield LimitUse("drawdown", "", "max_drawdown", drawdown, risk.max_drawdown)


# -- account rules ----------------------------------------------------------------------------------------------------


def rule_use(context: TradingContext, at: datetime) -> list[RuleUse]:
    """The thirteen rules, in the order of their table, as they see the account at an instant."""
    rules = context.settings.risk.account_rules
    with context.ledger.read() as connection:
        state = AccountRules(context.settings.risk).state(connection, at)
        locked = lockouts.active(connection, at)
    obeyed = enabled(rules)
    found = []
    for name, rule in RULES.items():
        section = getattr(rules, name).model_dump(exclude={"enabled"})
        imposed = tuple(f"{one.symbol or 'account'}: {one.reason}" for one in locked if one.rule == name)
        seen = _SEEN[name](rules, state, at) if obeyed else {}
        found.append(RuleUse(name, rule.title, name in obeyed, section, seen, imposed))
    return found


_Seen = Callable[[AccountRulesSettings, AccountState, datetime], dict[str, Any]]


def _positions(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    return {"held": sum((abs(one.position) for one in state.holdings.values()), ZERO)}


def _largest(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    sizes = {symbol: abs(one.position) for symbol, one in state.holdings.items() if one.position}
    if not sizes:
        return {"held": ZERO}
    symbol = max(sizes, key=lambda name: (sizes[name], name))
    return {symbol: sizes[symbol]}


def _realised(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    return {"realised": sum(state.realised_pnl.values(), ZERO), "trading_day": state.trading_day}


def _open(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    return {"open": sum((one.unrealised_pnl for one in state.holdings.values()), ZERO)}


def _trades(rules: AccountRulesSettings, state: AccountState, at: datetime) -> dict[str, Any]:
    return {name: made for name, made, _ in windows(rules.trade_frequency, state, at)}


def _worst_trade(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    return {"worst_trade": min((trade.realised_pnl for trade in state.trades.values()), default=ZERO)}


def _unprotected(_rules: AccountRulesSettings, state: AccountState, at: datetime) -> dict[str, Any]:
    since = [one.unprotected_since for one in state.holdings.values() if one.unprotected_since is not None]
    longest = max((at - moment for moment in since), default=timedelta(0))
    return {"without_stop": len(since), "longest_seconds": longest.total_seconds()}


def _hours(rules: AccountRulesSettings, _state: AccountState, at: datetime) -> dict[str, Any]:
    return {"open": is_open(rules.session_block, at)}


def _said(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    return {"can_trade": state.can_trade}


def _blocked(rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    held = [symbol for symbol, one in state.holdings.items() if one.position]
    return {"held": sorted(symbol for symbol in held if blocking(rules.symbol_blocks.symbols, symbol) is not None)}


def _best_gain(_rules: AccountRulesSettings, state: AccountState, _at: datetime) -> dict[str, Any]:
    gains = [
        one.sign * (one.mark / one.entry_price - 1)
        for one in state.holdings.values()
        if one.position and one.entry_price
    ]
    return {"best_gain": max(gains, default=Decimal(0))}


_SEEN: dict[str, _Seen] = {
    "max_contracts": _positions,
    "max_contracts_per_instrument": _largest,
    "daily_realised_loss": _realised,
    "daily_unrealised_loss": _open,
    "max_unrealised_profit": _open,
    "trade_frequency": _trades,
    "cooldown_after_loss": _worst_trade,
    "no_stop_loss_grace": _unprotected,
    "session_block": _hours,
    "auth_loss_guard": _said,
    "symbol_blocks": _blocked,
    "trade_management": _best_gain,
    "daily_realised_profit": _realised,
}
