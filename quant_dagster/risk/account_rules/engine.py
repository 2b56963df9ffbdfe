"""The account rules at work: events in, each recorded once; lockouts written; breaches with their requests out.

The state is a projection of the ledger: what the trading day began with, and its events in the order in which they
happened. So a process that was killed, or a ledger restored from a backup and given the same events again, comes to
the same state. Times are those of the events; ``now`` is only written down, and refuses events of the future.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from itertools import groupby

from sqlalchemy import Connection

from quant_dagster.errors import RiskError
from quant_dagster.risk.account_rules import journal, lockouts
from quant_dagster.risk.account_rules.breaches import ActionRequest, Breach, Cooldown, Lockout, Until
from quant_dagster.risk.account_rules.events import AccountEvent, Event, in_order
from quant_dagster.risk.account_rules.pre_trade import PreTrade
from quant_dagster.risk.account_rules.rules import RULES, enabled
from quant_dagster.risk.account_rules.state import AccountState
from quant_dagster.risk.account_rules.trading_day import TradingDays, begin, newest_day
from quant_dagster.risk.account_rules.view import View, number
from quant_dagster.settings import RiskSettings

CHECKPOINT_EVENTS = 200
"""Events read for one answer after which the state is written down."""

Found = dict[tuple[str, str | None, datetime], Breach]


class AccountRules:
    """The rules that are enabled, over one account.

    Parameters
    ----------
    settings
        ``account_rules`` are the rules; ``actions.stop_distance`` is where a missing stop is placed;
        ``clock_tolerance_seconds`` is how far an event's time may be ahead of ``now``.
    """

    def __init__(self, settings: RiskSettings) -> None:
        self.settings = settings.account_rules
        self.days = TradingDays(self.settings.reset_time, self.settings.reset_time_zone)
        self._stop_distance = number(settings.actions.stop_distance)
        self._tolerance = timedelta(seconds=settings.clock_tolerance_seconds)
        self._rules = [RULES[name] for name in enabled(self.settings)]

    def handle(self, connection: Connection, events: Iterable[Event], now: datetime) -> list[Breach]:
        """Record events and obey the rules; call it in a write transaction.

        An event counts in its own trading day, or, if that is over, in the day it arrives in. Events that are known
        change nothing, in whatever order they come.

        Returns
        -------
        list of Breach
            What bit at an event of the batch or after it, once per episode and with its newest numbers. Lockouts and
            cooldowns are written; requests are the caller's to carry out (`Breach.action_id` makes that idempotent).
            A rule whose lockout a person has released is silent until the reset.

        Raises
        ------
        RiskError
            An event is of the future, contradicts one that is known, or the ledger's own cannot be read.
        """
        ordered = sorted(events, key=in_order)
        if ordered and ordered[-1].at > now + self._tolerance:
            last = ordered[-1]
            raise RiskError(f"account event '{last.key}' is of {last.at}, later than now ({now}): check the clock")
        found: Found = {}
        for day, batch in groupby(ordered, key=lambda event: self.days.day_of(event.at)):
            self._account(connection, self._open(connection, day, now), list(batch), now, found)
        return list(found.values())

    def state(self, connection: Connection, at: datetime) -> AccountState:
        """The account at an instant, as far as the ledger knows; a reset that is due is applied, but not recorded."""
        day, today = newest_day(connection), self.days.day_of(at)
        state = AccountState(today) if day is None else self._project(connection, day)
        if state.trading_day < today:
            state.roll(today, self.days.begins(today))
        return state

    def pre_trade(self, connection: Connection, at: datetime) -> PreTrade:
        """What orders sent at an instant are asked against."""
        return PreTrade(self.settings, self.state(connection, at), lockouts.active(connection, at), at)

    # -- the trading day --------------------------------------------------------------------------------------------

    def _open(self, connection: Connection, day: date, now: datetime) -> date:
        """The day in which events of ``day`` count; begins it if it is a new one."""
        previous = newest_day(connection)
        if previous is not None and day <= previous:
            return previous
        begins = self.days.begins(day)
        state = AccountState(day) if previous is None else self._project(connection, previous)
        state.roll(day, begins)
        begin(connection, day, due=begins, now=now)
        journal.open_day(connection, state, begins, now)
        return day

    def _project(self, connection: Connection, day: date) -> AccountState:
        point = journal.newest(connection, day)
        for event in journal.events_after(connection, day, point.place):
            self._step(point.state, event)
        return point.state

    # -- events -----------------------------------------------------------------------------------------------------

    def _account(self, connection: Connection, day: date, batch: Sequence[Event], now: datetime, found: Found) -> None:
        fresh = [event for event in batch if journal.record(connection, event, day, now)]
        if not fresh:
            return
        first = in_order(fresh[0])
        point = journal.newest(connection, day)
        if first < point.place:
            journal.forget_checkpoint(connection, day)
            point = journal.opening(connection, day)
        events = journal.events_after(connection, day, point.place)
        for event in events:
            breaches = self._step(point.state, event)
            if in_order(event) >= first:
                self._obey(connection, point.state, event, breaches, now, found)
        if len(events) >= CHECKPOINT_EVENTS:
            journal.checkpoint(connection, point.state, in_order(events[-1]), now)

    def _obey(
        self,
        connection: Connection,
        state: AccountState,
        event: Event,
        breaches: Sequence[Breach],
        now: datetime,
        found: Found,
    ) -> None:
        """Write what follows from an event: lockouts whose condition has cleared, and those of its breaches."""
        if isinstance(event, AccountEvent) and state.can_trade:
            lockouts.clear(connection, "auth_loss_guard", until=event.at, reason=event.detail, now=now)
        for breach in breaches:
            if self._lock(connection, breach, event, state.trading_day, now):
                found[breach.rule, breach.symbol, breach.began] = breach

    def _step(self, state: AccountState, event: Event) -> list[Breach]:
        """Add an event, then look at the account and at the event's symbol; at every symbol if it has none."""
        state.apply(event)
        symbol: str | None = getattr(event, "symbol", None)
        symbols = sorted(state.holdings) if symbol is None else [symbol]
        return [breach for name in (None, *symbols) for breach in self._look(state, event, name)]

    def _look(self, state: AccountState, event: Event, symbol: str | None) -> list[Breach]:
        view = View(self.settings, self._stop_distance, event, state, symbol)
        breaches = [breach for rule in self._rules if (breach := rule.evaluate(view)) is not None]
        began = {breach.rule: breach.began for breach in breaches}
        if symbol is None:
            state.began = began
        else:
            state.holdings[symbol].began = began
        return breaches

    # -- lockouts ---------------------------------------------------------------------------------------------------

    def _lock(self, connection: Connection, breach: Breach, event: Event, day: date, now: datetime) -> bool:
        """Write a breach's lockouts; False if a person has released one of them."""
        for item in breach.consequences:
            end: datetime | None
            match item:
                case Lockout(symbol, Until.RESET):
                    kind, end, trigger = "lockout", self.days.begins(day + timedelta(days=1)), day.isoformat()
                case Lockout(symbol, Until.CONDITION):
                    kind, end, trigger = "lockout", None, breach.began.isoformat()
                case Cooldown(until):
                    kind, symbol, end, trigger = "cooldown", None, until, until.isoformat()
                case ActionRequest():
                    continue
            added = lockouts.add(
                connection,
                rule=breach.rule,
                kind=kind,
                symbol=symbol,
                trigger=trigger,
                reason=breach.reason,
                trading_day=day,
                starts_at=event.at,
                expires_at=end,
                actor="account_rules",
                now=now,
            )
            name = lockouts.lockout_id(breach.rule, symbol, trigger)
            if not added and lockouts.released_by_person(connection, name):
                return False
        return True
