"""The trading daemon: holds the broker's lease and its connection, and works what the ledger has approved.

One loop in one thread: keep the connection, take in what the broker says, obey the control mode, slice, send, cancel
what is over its deadline, reconcile. All it knows is in the ledger: it can be killed at any point and started again. A
second thread watches that the loop goes round; when it does not, working orders are cancelled (`dead_man`).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from quant_dagster.cycle.dead_man import DeadMan
from quant_dagster.cycle.deadlines import has_deadline, overdue
from quant_dagster.cycle.handover import DAEMON, STOPPED, await_answers, open_books_at_broker, require_right_account
from quant_dagster.cycle.order_entry import carry_out_requests
from quant_dagster.cycle.panic_watch import watch_panic
from quant_dagster.cycle.slicing import Slicer, cancelled_slices
from quant_dagster.errors import (
    BrokerError,
    BrokerUnavailableError,
    ConfigurationError,
    DataUnavailableError,
    OrderError,
    RiskError,
)
from quant_dagster.execution import order_log
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.broker import Changes, RemoteBroker
from quant_dagster.execution.connection import Connection, ConnectionState, Transition
from quant_dagster.execution.connection_log import record_transition
from quant_dagster.execution.lease import renew_lease
from quant_dagster.execution.orders import OrderStatus
from quant_dagster.risk.control import ControlMode
from quant_dagster.risk.kill_switch.heartbeat import OK, beat
from quant_dagster.risk.permission import enforce_kill, read_permission
from quant_dagster.storage.types import plain

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_POLL_SECONDS = 0.05
_MONITOR_SECONDS = 1.0
_BEAT_SECONDS = 5.0
_MOVING_SECONDS = 5.0


@dataclass
class DaemonReport:
    """What a run of the daemon did."""

    sent: int = 0
    fills: int = 0
    corrections: int = 0
    slices: int = 0
    cancelled: int = 0
    reconnects: int = 0
    breaks: int = 0
    said: list[str] = field(default_factory=list)


class TradingDaemon:
    """Works one trading session after the other until it is told to stop.

    Parameters
    ----------
    say
        Told, in one sentence each, what a person should know.
    keep_orders
        Leave orders working at the broker when stopped, for a daemon that is started again at once.
    each_minute
        Called about once a minute, such as to tell people what there is to tell.
    until_close
        Stop by itself when the session that trades first is over and nothing is open any more.
    """

    def __init__(
        self,
        context: TradingContext,
        *,
        say: Callable[[str], None] = lambda line: None,
        keep_orders: bool = False,
        until_close: bool = False,
        each_minute: Callable[[], object] = lambda: None,
    ) -> None:
        if not isinstance(context.broker, RemoteBroker):
            raise ConfigurationError(
                f"broker '{context.settings.execution.broker}' needs no daemon: its orders meet their bars in "
                "'quant cycle'. Set execution.broker to ibkr ('quant gateway simulate' is one) or binance_spot"
            )
        self.context = context
        self.execution = context.settings.execution
        self.broker: RemoteBroker = context.broker
        self.desk = context.desk
        self.keep_orders = keep_orders
        self.until_close = until_close
        self.report = DaemonReport()
        self._say = say
        self._each_minute = each_minute
        self._stop: str | None = None
        self._slicer: Slicer | None = None
        self._market = context.market_watch()
        self._next_minute = self._next_monitor = self._next_beat = self._next_reconciliation = 0.0
        self._checked_account = False
        self._last_trouble = self._last_reason = ""
        self.connection = Connection(
            self.broker,
            self.execution.connection,
            sync=self._sync,
            record=self._moved,
        )
        self.dead_man = DeadMan(context, self.execution.dead_man_seconds, say=self._tell)

    def stop(self, reason: str) -> None:
        """Ask it to stop; safe from a signal handler."""
        self._stop = self._stop or reason

    def run(self) -> DaemonReport:
        """Work until stopped.

        Raises
        ------
        OrderError
            Another executor holds the broker: a second daemon refuses to start.
        """
        if self.execution.connection.cpu_affinity:
            os.sched_setaffinity(0, self.execution.connection.cpu_affinity)
        self.context.open_ledger()
        with self.desk.leased(wait=0):
            self._beat(OK, "starting")
            self.dead_man.start()
            try:
                while self._stop is None:
                    self._turn()
                self._wind_down(self._stop)
            finally:
                self.dead_man.stop()
                self.connection.close(self._stop or "an error")
                self._beat(STOPPED, self._stop or "an error")
        return self.report

    # -- one turn ---------------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        self.dead_man.alive()
        state = self.connection.step()
        if state is not ConnectionState.CONNECTED:
            self._maintain()
            time.sleep(min(0.2, max(_POLL_SECONDS, self.connection.seconds_to_next_try)))
            return
        try:
            self._absorb(self.broker.changes(_POLL_SECONDS))
            self._maintain()
            self._trade_safely()
        except BrokerUnavailableError as error:
            # The next turn's step notices that the link is down; what was asked is asked again after the sync.
            self._tell_once(str(error))

    def _trade_safely(self) -> None:
        """An order that must not be sent, or a market that cannot be told, stops sending: not listening."""
        if not self.connection.can_send:
            return
        try:
            self._trade(self.context.market_now())
        except BrokerUnavailableError:
            raise
        except (OrderError, RiskError, BrokerError, DataUnavailableError) as error:
            self._tell_once(f"nothing is sent: {error}")

    def _trade(self, now: datetime) -> None:
        trading = self.context.trading_session()
        decided = self.context.calendar.previous_session(trading)
        opens, closes = self.context.calendar.open_time(trading), self.context.calendar.close_time(trading)
        if self.until_close and self._is_over(now):
            self.stop(f"session {self._first_session} is over")
            return
        if not opens <= now < closes:
            self._tell_once(f"the market is closed: session {trading} opens at {opens:%Y-%m-%d %H:%M} UTC")
            return
        if self._slicer is None or self._slicer.decided != decided:
            self._slicer = Slicer(self.context, decided, trading, self._market.view)
            for order in self.desk.expire_unsent(decided):
                # What was approved in earlier sessions and never sent: its prices are old, it is not sent any more.
                self._tell(f"order {order.client_order_id} ({order.symbol}) of {order.session} was never sent: expired")
            self._prepare()
        if read_permission(self.context.ledger, self.context.settings, self.context.home).mode is ControlMode.NORMAL:
            done = self._slicer.work(now)
            self.report.slices += done.made
            for line in done.said:
                self._tell(line)
            self._cancel(done.cancel, "superseded")
        self.report.sent += self.desk.submit(decided).sent

    def _prepare(self) -> None:
        """Look up what will be sent, before the first order waits for it."""
        with self.context.ledger.read() as connection:
            waiting = order_log.with_status(connection, (OrderStatus.APPROVED,))
            parents = parent_log.with_state(connection)
        symbols = sorted({one.symbol for one in waiting} | {one.symbol for one in parents})
        for symbol, reason in self._market.prepare(symbols).items():
            self._tell(f"{symbol} cannot be traded at {self.broker.name}: {reason}")

    def _absorb(self, changes: Changes) -> None:
        for notice in changes.notices:
            self._tell_once(notice)
        if not changes.reports and not changes.executions:
            self.desk.collector.conclude()
            return
        done = self.desk.absorb(changes)
        self.report.fills += done.booked.new
        self.report.corrections += done.booked.corrected
        if done.booked.unknown:
            self._tell(
                f"{done.booked.unknown} executions belong to no order of ours: 'quant broker unknown' lists them"
            )

    # -- what has to be looked after ----------------------------------------------------------------------------------

    def _maintain(self) -> None:
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + min(_BEAT_SECONDS, self.execution.lease_seconds / 4)
            renew_lease(self.context.ledger, self.broker.name, self._holder, self.execution.lease_seconds)
            self._beat(OK, f"{self.connection.state}")
        if now < self._next_monitor:
            return
        self._next_monitor = now + _MONITOR_SECONDS
        try:
            self._look_after(now)
        except BrokerUnavailableError:
            raise
        except (OrderError, RiskError, BrokerError, DataUnavailableError) as error:
            # Listening and booking go on; sending reads the mode for itself, and an unreadable one sends nothing.
            self._tell_once(f"cannot be looked after: {error}")

    def _look_after(self, now: float) -> None:
        enforce_kill(self.context.ledger, self.context.settings, self.context.home)
        if now >= self._next_minute:
            self._next_minute = now + 60
            for condition in watch_panic(self.context):
                self._tell_once(f"panic condition {condition.name}: see 'quant control show'")
            self._each_minute()
        if self.connection.state is not ConnectionState.CONNECTED:
            return
        self._act_on_risk()
        for line in carry_out_requests(self.context):
            self._tell(line)
        self._enforce_deadlines(self.context.market_now())
        with self.context.ledger.read() as connection:
            unwanted = cancelled_slices(connection)
        self._cancel(unwanted, "parent_cancelled")
        if now >= self._next_reconciliation:
            self._reconcile("timer")

    def _act_on_risk(self) -> None:
        """Automatic actions, where there is something for them to do."""
        from quant_dagster.cycle.risk_actions import act, something_to_do

        if not something_to_do(self.context):
            return
        done = act(self.context)
        self.report.sent += done.sent
        self.report.cancelled += done.withdrawn
        if done.withdrawn or done.made:
            self._tell(f"{done.mode.name}: {done.withdrawn} orders withdrawn, {done.made} closing orders made")

    def _enforce_deadlines(self, now: datetime) -> None:
        for order, line in overdue(self.context, now):
            self._tell(line)
            self._cancel((order.client_order_id,), "deadline")

    def _cancel(self, order_ids: tuple[str, ...], reason: str) -> None:
        if order_ids:
            self.report.cancelled += len(order_ids)
            self.desk.cancel(order_ids, self.context.trading_session(), reason=reason)

    def _reconcile(self, trigger: str) -> None:
        from quant_dagster.cycle.broker_reconciliation import reconcile_account

        self._next_reconciliation = time.monotonic() + 60 * self.execution.reconciliation.every_minutes
        try:
            report = reconcile_account(self.context, self.context.trading_session(), trigger)
        except BrokerUnavailableError:
            raise
        except BrokerError:
            self._next_reconciliation = time.monotonic() + _MOVING_SECONDS  # a busy moment: none to compare
            return
        self.report.breaks += len(report.breaks)
        for one in report.breaks:
            what = f"{one['kind']} {one['reference']}"
            self._tell_once(f"break: {what}: the books say {one['ours']}, the broker says {one['theirs']}")

    # -- connection ---------------------------------------------------------------------------------------------------

    def _sync(self) -> None:
        if not self._checked_account:
            require_right_account(self.context)
            if (cash := open_books_at_broker(self.context)) is not None:
                self._tell(f"books opened with the account's cash of {plain(cash)}")
            self._checked_account = True
        done = self.desk.sync(self.context.trading_session())
        self.report.fills += done.booked.new
        self.report.corrections += done.booked.corrected
        parts = [
            (done.booked.new, "executions of the gap booked"),
            (done.booked.corrected, "corrected"),
            (done.booked.unknown, "of no order of ours"),
            (done.resolved, "half-sent orders found"),
            (done.closed, "orders ended meanwhile"),
            (done.orphans, "orders at the broker that the ledger lacks"),
        ]
        if said := ", ".join(f"{count} {what}" for count, what in parts if count):
            self._tell(f"synced: {said}")
        self._reconcile("reconnect")

    def _moved(self, transition: Transition) -> None:
        if transition.state is ConnectionState.RECONNECTING:
            self.report.reconnects += 1
        with self.context.ledger.write() as connection:
            record_transition(connection, self.broker.name, transition, at=self.context.ledger.now())
        if said := self._in_words(transition):
            self._tell(said)

    def _in_words(self, transition: Transition) -> str:
        """A change of state in a sentence; what is in vain once more is said shortly, each further try not at all."""
        name, waits = self.broker.name, transition.state is ConnectionState.RECONNECTING
        if transition.state is ConnectionState.CONNECTING and transition.attempt:
            return ""
        if not waits:
            return f"{name} {transition.state}: {transition.reason}"
        again = f"the next try is in {self.connection.seconds_to_next_try:.0f} s"
        if transition.reason == self._last_reason:
            return f"{name} reconnecting: in vain again, {again}"
        self._last_reason = transition.reason
        return f"{name} reconnecting: {transition.reason}; {again}"

    # -- stopping -----------------------------------------------------------------------------------------------------

    def _wind_down(self, reason: str) -> None:
        """Leave a clean state: nothing half sent, nothing working that nobody watches, everything booked."""
        self._tell(f"stopping: {reason}")
        if self.connection.state is not ConnectionState.CONNECTED:
            return
        seconds = self.execution.connection.answer_seconds
        try:
            await_answers(self.context, seconds)
            if not self.keep_orders:
                with self.context.ledger.read() as connection:
                    working = order_log.with_status(connection, order_log.OPEN)
                ids = tuple(one.client_order_id for one in working if has_deadline(one) and one.is_sent)
                self._cancel(ids, "daemon_stopped")
                self._await_cancels(ids, seconds)
            self._reconcile("stop")
        except (BrokerUnavailableError, OrderError) as error:
            self._tell(f"could not wind down: {error}; the next start asks the broker for what became of its orders")

    def _await_cancels(self, ids: tuple[str, ...], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self.context.ledger.read() as connection:
                if all(order_log.get(connection, one).is_final for one in ids):
                    return
            self.desk.absorb(self.broker.changes(0.1))

    def _is_over(self, now: datetime) -> bool:
        if now < self.context.calendar.close_time(self._first_session):
            return False
        with self.context.ledger.read() as connection:
            working = order_log.with_status(connection, order_log.OPEN)
        return not any(has_deadline(one) and one.is_sent for one in working)

    @cached_property
    def _first_session(self) -> date:
        """The session that traded first."""
        return self.context.trading_session()

    @property
    def _holder(self) -> str:
        if self.desk.holder is None:
            raise OrderError("the daemon works only while it holds the broker")
        return self.desk.holder

    def _beat(self, state: str, detail: str) -> None:
        with self.context.ledger.write() as connection:
            beat(connection, DAEMON, state=state, detail=detail, at=self.context.ledger.now())

    def _tell_once(self, line: str) -> None:
        """What would be said at every turn is said when it is new."""
        if line != self._last_trouble:
            self._last_trouble = line
            self._tell(line)

    def _tell(self, line: str) -> None:
        self.report.said.append(line)
        self._say(line)
