"""The thirteen rules by name. A rule's name is its section in the settings and its reason code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quant_dagster.risk.account_rules import money_rules, pace_rules, position_rules, stop_rules
from quant_dagster.risk.account_rules.breaches import Breach
from quant_dagster.risk.account_rules.view import View
from quant_dagster.settings import AccountRulesSettings


@dataclass(frozen=True)
class Rule:
    """One rule: its title, what it watches, and the function that answers a look with a breach or None."""

    title: str
    watches: str
    evaluate: Callable[[View], Breach | None]


RULES: dict[str, Rule] = {
    "max_contracts": Rule("Total position", "shares held in all, long plus short", position_rules.max_contracts),
    "max_contracts_per_instrument": Rule(
        "Position in one instrument", "shares held of a symbol", position_rules.max_contracts_per_instrument
    ),
    "daily_realised_loss": Rule(
        "Daily realised loss", "realised P&L of the trading day, net of commission", money_rules.daily_realised_loss
    ),
    "daily_unrealised_loss": Rule("Open loss", "P&L of what is held", money_rules.daily_unrealised_loss),
    "max_unrealised_profit": Rule("Open profit", "P&L of what is held", money_rules.max_unrealised_profit),
    "trade_frequency": Rule("Trade frequency", "trades per minute, hour and day", pace_rules.trade_frequency),
    "cooldown_after_loss": Rule(
        "Cooldown after a loss", "loss of a closing trade, net of commission", pace_rules.cooldown_after_loss
    ),
    "no_stop_loss_grace": Rule(
        "Position without a stop", "time a position is without a stop for all of it", stop_rules.no_stop_loss_grace
    ),
    "session_block": Rule("Trading hours", "time of day and weekday", position_rules.session_block),
    "auth_loss_guard": Rule(
        "Permission to trade", "the broker's word on whether the account may trade", position_rules.auth_loss_guard
    ),
    "symbol_blocks": Rule("Blocked symbols", "symbols held and ordered", position_rules.symbol_blocks),
    "trade_management": Rule("Trade management", "gain of a position and its stop", stop_rules.trade_management),
    "daily_realised_profit": Rule(
        "Daily realised profit", "realised P&L of the trading day, net of commission", money_rules.daily_realised_profit
    ),
}


def enabled(settings: AccountRulesSettings) -> tuple[str, ...]:
    """Names of the rules that are obeyed, in the order of the table."""
    return tuple(name for name in RULES if getattr(settings, name).enabled)
