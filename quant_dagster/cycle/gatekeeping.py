"""Opening the risk gate on the ledger: the account, the mode in force, lockouts and the account's own rules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from quant_dagster.accounting.snapshots import AccountSnapshot
from quant_dagster.cycle.wishes import ApprovalInputs
from quant_dagster.execution import order_log
from quant_dagster.execution.portfolio_view import portfolio_view
from quant_dagster.resilience.breaker_state import BreakerStatus, read_state
from quant_dagster.risk.account_rules.engine import AccountRules
from quant_dagster.risk.account_rules.pre_trade import Order as AskedOrder
from quant_dagster.risk.gate import MarketFacts, OrderIntent, Outcome, RiskDecision
from quant_dagster.risk.permission import Permission, permission
from quant_dagster.settings import Settings

if TYPE_CHECKING:
    from quant_dagster.market_data.calendars import ExchangeCalendar

BROKER_BREAKER = "broker:"
"""Prefix of the name of a broker's circuit breaker: while it is open no order is made."""


def closing_instant(calendar: ExchangeCalendar, session: date) -> datetime:
    """The last second of a session's trading hours: when its closes are known and it is decided."""
    return calendar.close_time(session) - timedelta(seconds=1)


class Gatekeeper:
    """The gate with everything that stands beside it; every order of a batch goes through `check`.

    Parameters
    ----------
    decided_at
        The instant whose lockouts, cooldowns and windows count.
    now
        The clock: heartbeats and the order of records are held against it.
    slicing
        Parent order and shares of the slice that is about to be checked: they are no longer the parent's then.

    Raises
    ------
    RiskError
        What may be traded cannot be told, or a limit is missing: no order is made.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        inputs: ApprovalInputs,
        account: AccountSnapshot,
        *,
        decided_at: datetime,
        now: datetime,
        slicing: tuple[str, Decimal] | None = None,
    ) -> None:
        from quant_dagster.risk.gate.gate import Gate  # brings the compiler

        self.permission: Permission = permission(connection, settings, settings.home, now)
        decided = {state.symbol: state.facts for state in inputs.states if state.facts is not None}
        self.facts: Mapping[str, MarketFacts] = {**inputs.held_facts, **decided}
        self._rules = AccountRules(settings.risk).pre_trade(connection, decided_at)
        self._working = [
            AskedOrder(order.symbol, order.side, order.remaining)
            for order in order_log.with_status(connection, order_log.OPEN)
            if order.stop_price is None
        ]
        breaker = read_state(connection, BROKER_BREAKER + settings.execution.broker)
        self._gate = Gate(
            limits=settings.risk,
            mode=self.permission.mode,
            session=inputs.session,
            sessions_since=inputs.sessions_since,
            facts=self.facts,
            portfolio=portfolio_view(connection, account, inputs.session, slicing),
            scenario_returns=inputs.scenario_returns,
            scenario_symbols=inputs.scenario_symbols,
            allow_short=settings.portfolio.allow_short,
            volume_required=inputs.volume_required,
            breaker_open=breaker.status is BreakerStatus.OPEN,
        )

    def check(self, intent: OrderIntent) -> RiskDecision:
        """The verdict of the account's rules and of the gate on one order."""
        asked = AskedOrder(intent.symbol, intent.side, intent.quantity)
        refused = [breach.rule for breach in self._rules.permits(asked, self._working)]
        verdict = self._gate.check(intent, tuple(dict.fromkeys(refused)))
        if verdict.outcome is not Outcome.REJECTED and intent.stop_price is None:
            self._working.append(AskedOrder(intent.symbol, intent.side, verdict.approved_quantity))
        return verdict
