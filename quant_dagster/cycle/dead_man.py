"""The dead man's switch: a trading daemon that gives no sign of life must not have orders working.

Inside the daemon's process a second thread watches its loop. Outside, `watch` does the same from the ledger: it takes
the broker over from a daemon that is dead or hangs, cancels what works, and escalates the control mode, so that nothing
new is sent before a person has looked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import select

from quant_dagster.cycle.handover import DAEMON, STOPPED, await_answers, connected
from quant_dagster.errors import QuantError
from quant_dagster.execution import order_log
from quant_dagster.execution.broker import RemoteBroker
from quant_dagster.execution.lease import lease_holder
from quant_dagster.observability import audit
from quant_dagster.risk.control import ControlMode, escalate
from quant_dagster.risk.kill_switch.heartbeat import beat
from quant_dagster.storage.ledger_tables import heartbeats

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

ACTOR = "dead_man"


class DeadMan:
    """Watches one loop from a thread of its own.

    Parameters
    ----------
    seconds
        Longest silence of the loop.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        context: TradingContext,
        seconds: float,
        *,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.context = context
        self.seconds = seconds
        self.fired = False
        self._say = say
        self._clock = clock
        self._last = clock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="dead-man", daemon=True)

    def alive(self) -> None:
        """The loop has gone round."""
        self._last = self._clock()

    def start(self) -> None:
        """Begin to watch."""
        self.alive()
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def check(self) -> bool:
        """Act if the loop has been silent for too long; says whether it did, once per silence."""
        silence = self._clock() - self._last
        if silence <= self.seconds:
            self.fired = False
            return False
        if self.fired:
            return False
        self.fired = True
        reason = f"the trading daemon's loop has not gone round for {silence:.0f} s (allowed are {self.seconds:g} s)"
        self._say(f"{reason}: cancelling working orders")
        # The broker first: the ledger may be what hangs.
        self.context.desk.cancel_at_broker(self.context.trading_session())
        with self.context.ledger.write() as connection:
            at = self.context.ledger.now()
            escalate(connection, ControlMode.PAUSE, actor=ACTOR, reason=reason, at=at)
            audit.append(
                connection, f"dead_man:{at.isoformat()}", "dead_man", actor=ACTOR, at=at, payload={"reason": reason}
            )
        return True

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self.seconds / 4)):
            try:
                self.check()
            except QuantError as error:
                self.fired = False  # tried again: orders may still work
                self._say(f"dead man's switch: {error}")


def watch(context: TradingContext) -> str | None:
    """Take over from a daemon that is silent: cancel what works, escalate, say what was done; None: all is well.

    Called by the risk sensor and ``quant trade --watch``. Repeating it changes nothing.

    Raises
    ------
    OrderError
        The daemon hangs and its lease has not run out yet: try again then.
    BrokerUnavailableError
        No way to the broker. The control mode is escalated all the same.
    """
    execution = context.settings.execution
    if not isinstance(context.broker, RemoteBroker):
        return None
    with context.ledger.read() as connection:
        now = context.ledger.now()
        row = connection.execute(select(heartbeats).where(heartbeats.c.name == DAEMON)).first()
        holder = lease_holder(connection, execution.broker, now)
        working = order_log.with_status(connection, order_log.OPEN)
    if row is None or row.state == STOPPED:
        return None
    silence = (now - row.beat_at).total_seconds()
    if silence <= execution.dead_man_seconds and holder is not None:
        return None
    if silence <= execution.dead_man_seconds and not any(order.is_sent for order in working):
        return None  # it died with nothing at work: whoever is next starts cleanly
    reason = f"the trading daemon is silent for {silence:.0f} s" + ("" if holder else " and its process is gone")
    with context.ledger.write() as connection:
        escalate(connection, ControlMode.PAUSE, actor=ACTOR, reason=reason, at=now)
    with connected(context):
        session = context.trading_session()
        with context.ledger.read() as connection:
            ids = [one.client_order_id for one in order_log.with_status(connection, order_log.OPEN)
                   if one.is_sent and one.stop_price is None]  # fmt: skip
        cancelled = context.desk.cancel(ids, session, reason=ACTOR)
        await_answers(context, execution.connection.answer_seconds)
    with context.ledger.write() as connection:
        at = context.ledger.now()
        beat(connection, DAEMON, state=STOPPED, detail=reason, at=at)
        audit.append(
            connection, f"dead_man:{at.isoformat()}", "dead_man", actor=ACTOR, at=at, payload={"reason": reason}
        )
    return f"{reason}: {len(ids)} working orders cancelled ({cancelled} confirmed so far), control mode PAUSE"
