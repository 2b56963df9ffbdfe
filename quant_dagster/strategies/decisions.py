"""The words of a decision: exactly one action per symbol and cycle, with the codes that say why."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """What the desk does with a symbol in a cycle."""

    BUY = "BUY"
    SELL = "SELL"
    HOLD = "HOLD"
    REJECT = "REJECT"


REASONS = {
    "data_quality": "the quality score of the symbol's data is below quality.minimum_score",
    "no_bar": "the symbol has no bar in the session",
    "no_features": "a feature the alpha needs is absent",
    "no_forecast": "no model could forecast the symbol",
    "no_signal": "no enabled alpha has a direction",
    "no_edge": "the forecast mean is against the signal's direction, so Kelly holds nothing",
    "no_volatility": "the forecast volatility is zero, so no size follows from it",
    "short_not_allowed": "the signal is short and portfolio.allow_short is off",
    "below_one_lot": "the target is smaller than one lot",
    "within_buffer": "the position is within portfolio.rebalance_buffer of its target",
    "at_target": "the position is its target",
    "flatten": "the control mode is EMERGENCY: every position is closed",
    "risk_action": "an automatic action is closing the position: 'quant risk actions' says which",
    "trend_long": "the trend alpha is long",
    "trend_short": "the trend alpha is short",
    "mean_reversion_long": "the mean-reversion alpha is long",
    "mean_reversion_short": "the mean-reversion alpha is short",
    "trend_weak": "the trend is weaker than signals.entry_threshold",
    "near_mean": "the close is nearer its level than signals.reversion_entry_z",
    "no_reversion": "the price does not revert within signals.longest_half_life, or nobody could fit that it does",
    "pairs_long": "the open pairs of the symbol come to a long position",
    "pairs_short": "the open pairs of the symbol come to a short position",
    "no_pair": "the symbol is in no pair that is followed",
    "pairs_near_mean": "no spread of the symbol's pairs has been entered",
    "pairs_cancel": "the symbol's open pairs cancel each other",
    "pair_broken": "the symbol's pairs are broken: closed until pairs are formed anew",
    "learned_long": "the learned model expects a rise",
    "learned_short": "the learned model expects a fall",
    "learned_weak": "the learned model expects less than signals.entry_threshold",
    "no_model": "the learned model has no forecast of its own",
    "no_information": "the learned model has shown no information out of sample",
    "composite_long": "the vote of the enabled sources is long",
    "composite_short": "the vote of the enabled sources is short",
    "no_agreement": "fewer than two sources agree, or their votes come to less than signals.entry_threshold",
    "no_votes": "no enabled source has a direction to vote with",
    "conflict": "opposite signals are closer than signals.conflict_margin in priority: they cancel",
    "alpha_dead": "the alpha's information is gone (table alpha_performance): it is not heard",
    "opportunity_cost_fail": "OPPORTUNITY_COST_FAIL: after costs the trade does not beat its best alternative",
    "bound_kelly": "quarter Kelly set the size",
    "bound_volatility_target": "the volatility target set the size",
    "bound_signal_cap": "risk.max_position_per_signal x confidence set the size",
    "bound_symbol_cap": "risk.max_symbol_weight set the size",
    "bound_optimiser": "portfolio.construction set the size",
    "construction_infeasible": "portfolio.construction found no portfolio that obeys every limit: nothing is traded",
    "no_history": "the optimiser left the symbol out: it misses returns in portfolio.construction_window",
    "position_scaled": "the risk gate made the order smaller",
    "control_pause": "the control mode is PAUSE: no new orders",
    "control_reduce": "the control mode is REDUCE: only orders that shrink exposure",
    "control_emergency": "the control mode is EMERGENCY: flatten only",
    "reduce_only": "the order may only close what is held, and that is less",
    "breaker_open": "the way to the broker is closed: its circuit breaker is open",
    "locked_out": "an account rule has locked the symbol or the account: 'quant risk lockouts' says which",
    "manual_lockout": "a person has locked the symbol or the account: 'quant risk lockouts' says who and why",
    "unreadable_lockout": "a lockout in the ledger cannot be read: nothing is opened until a person releases it",
    "max_contracts": "risk.account_rules: the total position would be too large",
    "max_contracts_per_instrument": "risk.account_rules: the position in the instrument would be too large",
    "daily_realised_loss": "risk.account_rules: locked out after the trading day's realised loss",
    "daily_unrealised_loss": "risk.account_rules: locked out after an open loss",
    "max_unrealised_profit": "risk.account_rules: the open profit was taken",
    "trade_frequency": "risk.account_rules: too many trades in a minute, an hour or the day",
    "cooldown_after_loss": "risk.account_rules: a pause after a losing trade",
    "no_stop_loss_grace": "risk.account_rules: a position had no stop for too long",
    "session_block": "risk.account_rules: outside the hours that are traded",
    "auth_loss_guard": "risk.account_rules: the broker does not say that the account may trade",
    "symbol_blocks": "risk.account_rules: the symbol is blocked",
    "trade_management": "risk.account_rules: the stop is moved with the price",
    "daily_realised_profit": "risk.account_rules: locked out after the trading day's realised profit",
    "stale_data": "the last price is older than risk.max_price_age_sessions, or unknown",
    "price_collar": "the price moved more than risk.price_collar since the previous close",
    "instrument": "the instrument master has no terms for it that the books can carry on that day",
    "duplicate_order": "an order for the symbol is already working or was made",
    "order_limit": "risk.max_orders_per_session is reached",
    "participation": "the order is too large for the symbol's average volume, or the volume is unknown",
    "symbol_limit": "risk.max_symbol_weight",
    "sector_limit": "risk.max_sector_weight",
    "gross_limit": "gross leverage: the least of risk.max_gross_leverage, 3 and 0.8 x risk.venue_leverage_limit",
    "drawdown_limit": "after a drawdown over risk.drawdown_scaling_start less gross leverage is allowed",
    "counterparty_limit": "risk.max_counterparty_exposure",
    "liquidity_limit": "the position would take longer than risk.max_liquidation_sessions to close",
    "concentration_limit": "risk.max_concentration",
    "margin_limit": "the initial margin of everything held and on order would pass equity",
    "net_limit": "risk.max_net_leverage",
    "turnover_limit": "risk.max_turnover_per_session",
    "buying_power": "not enough cash",
    "no_short": "the order would sell more than is held",
    "cvar_breach": "the portfolio's CVaR would pass risk.cvar_limit, or has too little history",
    "unpriced_position": "something held has no price, so exposure is unknown",
    "quarantined": "the symbol's data is under quarantine: 'quant data quarantine' says why",
    "left_universe": "the symbol is no longer a member of the universe: the position is closed",
    "below_lot_size": "what the limits leave is less than one lot",
}
"""Every reason code and what it means."""


@dataclass(frozen=True)
class Decision:
    """What was decided for one symbol in one cycle, and everything it was decided on."""

    decision_id: str
    cycle_id: str
    session: date
    symbol: str
    action: Action
    reasons: tuple[str, ...]
    current_quantity: Decimal
    target_quantity: Decimal
    alpha: str | None = None
    confidence: float | None = None
    risk: float | None = None
    priority: float | None = None
    expected_return: float | None = None
    expected_volatility: float | None = None
    quality_score: float | None = None
    decision_price: Decimal | None = None
    details: dict[str, Any] = field(default_factory=dict)


def cycle_id(strategy: str, mode: str, session: date) -> str:
    """The id of a cycle: the same strategy, mode and session is the same cycle."""
    return _hash("cycle", strategy, mode, session.isoformat())


def decision_id(cycle: str, symbol: str) -> str:
    """The id of the one decision a cycle makes on a symbol."""
    return _hash("decision", cycle, symbol)


def _hash(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]
