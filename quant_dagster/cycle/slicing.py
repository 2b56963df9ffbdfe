"""Algorithms at work: what is due of each parent order becomes an order through the risk gate, one slice at a time.

The parent was approved as a whole; each of its slices is checked again when it is made, against the account as it is
then. A slice the gate refuses stops its parent until a person resumes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from quant_dagster.cycle.gatekeeping import Gatekeeper, closing_instant
from quant_dagster.cycle.wishes import ApprovalInputs
from quant_dagster.errors import BrokerError, BrokerUnavailableError
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.due import due, finished, sliced, started, superseded
from quant_dagster.execution.algorithms.parents import (
    ParentEvent,
    ParentEventKind,
    ParentOrder,
    ParentState,
    child_order_id,
)
from quant_dagster.execution.algorithms.progress import MarketView, Progress, Slice
from quant_dagster.observability import audit
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.storage.types import plain

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.cycle.session_data import SessionData


@dataclass(frozen=True)
class Sliced:
    """What one pass did: slices made, parents ended, and slices that are to be cancelled; what people should hear."""

    made: int = 0
    ended: int = 0
    cancel: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


class Slicer:
    """Works the parent orders of one decided session.

    Parameters
    ----------
    decided
        The session they were decided in; they trade in the next.
    trading
        The session they trade in.
    market
        The market of a parent's symbol now.
    """

    def __init__(
        self,
        context: TradingContext,
        decided: date,
        trading: date,
        market: Callable[[ParentOrder], MarketView],
    ) -> None:
        self.context = context
        self.decided = decided
        self.trading = trading
        self.market = market

    @cached_property
    def _data(self) -> SessionData:
        from quant_dagster.cycle.session_data import SessionData

        return SessionData(self.context, self.decided)

    @cached_property
    def _inputs(self) -> ApprovalInputs:
        """What the gate knows of the market: the decided session's closes; read once."""
        from quant_dagster.cycle.inputs import approval_inputs

        return approval_inputs(self.context, self.decided, self._data.panel)

    def work(self, now: datetime) -> Sliced:
        """Start, slice and end what is due at ``now`` (the market's time)."""
        total = Sliced()
        with self.context.ledger.read() as connection:
            parents = parent_log.with_state(connection, parent_log.UNFINISHED)
        for parent in parents:
            if parent.session == self.decided:
                total = _sum(total, self._one(parent, now))
            elif parent.session < self.decided:
                total = _sum(total, self._too_late(parent))
        return total

    def _one(self, parent: ParentOrder, now: datetime) -> Sliced:
        try:
            market = self.market(parent)
        except BrokerUnavailableError:
            raise
        except BrokerError as error:
            return self._without_a_market(parent, error)
        with self.context.ledger.read() as connection:
            progress = parent_log.progress(connection, parent)
        cancel = tuple(child_order_id(parent, number) for number in superseded(parent, progress, now, market))
        event = started(parent, market, now) or finished(parent, progress, now)
        if event is not None:
            self._record(event, "desk")
            ended = event.kind in (ParentEventKind.COMPLETED, ParentEventKind.ENDED)
            return Sliced(0, int(ended), cancel, (_told(parent, event, progress),))
        one = due(parent, progress, now, market)
        if one is None:
            return Sliced(cancel=cancel)
        return replace(self._slice(parent, progress, one), cancel=cancel)

    def _without_a_market(self, parent: ParentOrder, error: BrokerError) -> Sliced:
        """The broker is there and does not tell of this market: this order stops, the others go on."""
        if parent.state is ParentState.PAUSED:
            return Sliced()
        begun = parent.state is ParentState.WORKING
        kind = ParentEventKind.PAUSED if begun else ParentEventKind.CANCELLED
        self._record(ParentEvent(parent.parent_id, kind, {"reason": str(error)}), "desk")
        said = f"{_name(parent)} is {'paused' if begun else 'cancelled'}: its market cannot be told: {error}"
        return Sliced(ended=int(not begun), said=(said,))

    def _slice(self, parent: ParentOrder, progress: Progress, one: Slice) -> Sliced:
        context, settings = self.context, self.context.settings
        context.open_ledger()
        inputs = self._inputs
        with context.ledger.write() as connection:
            now = context.ledger.now()
            at, account = closing_instant(context.calendar, self.decided), self._data.value(connection)
            slicing = (parent.parent_id, one.quantity)
            gate = Gatekeeper(connection, settings, inputs, account, decided_at=at, now=now, slicing=slicing)
            verdict = gate.check(_intent(parent, one))
            if verdict.outcome is Outcome.REJECTED:
                return self._refused(connection, parent, one, verdict, now)
            event = sliced(parent, progress, replace(one, quantity=verdict.approved_quantity))
            parent_log.record(connection, event, actor="algorithm", at=now)
            verdicts.record(connection, verdict, cycle_id=None, at=now)
            order_log.create(
                connection,
                verdict,
                order_type=settings.execution.order_type_sent,
                time_in_force="day",
                at=now,
                parent_id=parent.parent_id,
            )
        return Sliced(made=1)

    def _refused(
        self, connection: Connection, parent: ParentOrder, one: Slice, verdict: RiskDecision, now: datetime
    ) -> Sliced:
        reasons = ", ".join(verdict.reasons)
        payload = {"number": one.number, "quantity": one.quantity, "reasons": list(verdict.reasons)}
        key = f"slice_refused:{parent.parent_id}:{one.number}:{parent.events}"
        audit.append(connection, key, "slice_refused", actor="risk", at=now, session=parent.session, payload=payload)
        event = ParentEvent(parent.parent_id, ParentEventKind.PAUSED, {"reason": f"slice {one.number}: {reasons}"})
        parent_log.record(connection, event, actor="risk", at=now)
        return Sliced(
            said=(
                f"{_name(parent)} is paused: the risk gate refused slice {one.number} ({reasons}); "
                f"'quant order resume {parent.parent_id}' goes on",
            )
        )

    def _too_late(self, parent: ParentOrder) -> Sliced:
        """Its session has passed while nobody worked it."""
        with self.context.ledger.read() as connection:
            open_ones = [one for one in parent_log.children(connection, parent.parent_id) if not one.is_final]
        if open_ones:
            return Sliced(cancel=tuple(one.client_order_id for one in open_ones))
        self._record(ParentEvent(parent.parent_id, ParentEventKind.CANCELLED, {"reason": "its session passed"}), "desk")
        return Sliced(ended=1, said=(f"{_name(parent)} is cancelled: its session passed",))

    def _record(self, event: ParentEvent, actor: str) -> None:
        with self.context.ledger.write() as connection:
            parent_log.record(connection, event, actor=actor, at=self.context.ledger.now())


def set_parent(
    context: TradingContext, parent_id: str, kind: ParentEventKind, *, actor: str, reason: str
) -> ParentOrder:
    """Pause, resume or cancel a parent order at a person's word; its working slices are the daemon's to cancel.

    Raises
    ------
    OrderError
        There is none of that id, or it is not in a state for that.
    """
    with context.ledger.write() as connection:
        event = ParentEvent(parent_id, kind, {"reason": reason})
        return parent_log.record(connection, event, actor=actor, at=context.ledger.now())


def cancelled_slices(connection: Connection) -> tuple[str, ...]:
    """Slices that still work although their parent was cancelled."""
    found = []
    for order in order_log.with_status(connection, order_log.OPEN):
        if order.parent_id is None:
            continue
        if parent_log.get(connection, order.parent_id).state is ParentState.CANCELLED:
            found.append(order.client_order_id)
    return tuple(found)


def _intent(parent: ParentOrder, one: Slice) -> OrderIntent:
    return OrderIntent(
        client_order_id=child_order_id(parent, one.number),
        decision_id=parent.decision_id,
        strategy=parent.strategy,
        session=parent.session,
        symbol=parent.symbol,
        side=parent.side,
        quantity=one.quantity,
        decision_price=parent.decision_price,
        origin=Origin.ALGORITHM,
        reduce_only=bool(parent.reduce_only),
    )


def _name(parent: ParentOrder) -> str:
    return f"{parent.algorithm} {parent.side} {plain(parent.quantity)} {parent.symbol} ({parent.parent_id})"


def _told(parent: ParentOrder, event: ParentEvent, progress: Progress) -> str:
    if event.kind is ParentEventKind.STARTED:
        return f"{_name(parent)} starts"
    filled = progress.filled
    count = len(progress.children)
    return f"{_name(parent)} is over: {plain(filled)} of {plain(parent.quantity)} filled in {count} slices"


def _sum(one: Sliced, other: Sliced) -> Sliced:
    return Sliced(one.made + other.made, one.ended + other.ended, one.cancel + other.cancel, one.said + other.said)
