"""The execution desk: sends approved orders, finds out what became of them, and books what was filled.

Every step can be repeated. An order is written as SUBMITTING before it is sent, with the number it goes under at the
broker; after a crash the broker is asked for it, and only an order it has never seen is sent again, under the same
number. An execution is recorded and booked in one transaction. What a broker does not answer stays in flight: nothing
is concluded from silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Connection

from quant_dagster.accounting import books
from quant_dagster.errors import OrderError
from quant_dagster.execution import foreign, order_log, verdicts
from quant_dagster.execution.adoption import adopt_order
from quant_dagster.execution.booking import Booking, book_executions
from quant_dagster.execution.broker import (
    Broker,
    BrokerOrder,
    Changes,
    OrderReport,
    ReportedStatus,
    SessionBar,
    SimulatedVenue,
)
from quant_dagster.execution.lease import broker_lease, require_lease
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, OrderStatus
from quant_dagster.execution.pricing import Pricing
from quant_dagster.risk.control import ControlMode
from quant_dagster.storage.ledger import Ledger

_CLOSING = {
    ReportedStatus.CANCELED: OrderEventKind.CANCELED,
    ReportedStatus.REJECTED: OrderEventKind.REJECTED,
    ReportedStatus.EXPIRED: OrderEventKind.EXPIRED,
}
_UNSENT = (OrderStatus.APPROVED, OrderStatus.SUBMITTING)
_FINAL = tuple(status for status in OrderStatus if status.is_final)
_WORKING = tuple(status for status in order_log.OPEN if status not in _UNSENT)


@dataclass(frozen=True)
class Settlement:
    """What one pass of the desk did."""

    sent: int = 0
    fills: int = 0
    expired: int = 0
    rejected: int = 0


@dataclass(frozen=True)
class Synced:
    """What asking the broker for everything came to.

    ``resolved`` orders were half sent; ``orphans`` work at the broker and not in the ledger.
    """

    booked: Booking = field(default_factory=Booking)
    resolved: int = 0
    closed: int = 0
    orphans: int = 0


class ExecutionDesk:
    """Orders between the ledger and a broker.

    Parameters
    ----------
    lease_seconds
        How long the broker stays ours if this process dies.
    mode
        Says the control mode in force, kill conditions included; asked before each order is sent.
    pricing
        Prices an order when it is sent; default: as it was approved.
    orphans
        What to do with an order that works at the broker and not in the ledger.
    """

    def __init__(
        self,
        ledger: Ledger,
        broker: Broker,
        *,
        lease_seconds: float,
        mode: Callable[[], ControlMode],
        pricing: Callable[[Order], Pricing] = lambda order: Pricing(order.limit_price),
        orphans: str = "quarantine",
    ) -> None:
        self.mode = mode
        self.ledger = ledger
        self.broker = broker
        self.lease_seconds = lease_seconds
        self.pricing = pricing
        self.orphans = orphans
        self._holder: str | None = None
        self._in_flight: set[str] = set()
        """Sent over the connection that is open now, and not yet acknowledged."""

    @contextmanager
    def leased(self, *, wait: float | None = None) -> Iterator[None]:
        """Hold the broker for a while; within it, the desk's steps use that lease.

        Raises
        ------
        OrderError
            Another executor holds it, and did for ``wait`` seconds.
        """
        if self._holder is not None:
            yield
            return
        patience = self.lease_seconds if wait is None else wait
        with broker_lease(self.ledger, self.broker.name, self.lease_seconds, wait=patience) as holder:
            self._holder = holder
            try:
                yield
            finally:
                self._holder = None

    @property
    def holder(self) -> str | None:
        """Under what name the broker is held; None when it is not."""
        return self._holder

    # -- sessions ---------------------------------------------------------------------------------------------------

    def settle(self, session: date, bars: Mapping[str, SessionBar]) -> Settlement:
        """Everything that can happen to orders in ``session``, decided in it or before.

        Resolves orders a crash left half sent, sends what is approved and due, shows a simulated venue the session's
        bars, and records and books what came of it. Repeating it changes nothing.

        Parameters
        ----------
        session
            The session whose executions are wanted.
        bars
            Its bars per symbol. Only orders decided before it can meet them.
        """
        with self.leased():
            sent = self._send(session, before_session=True)
            if isinstance(self.broker, SimulatedVenue):
                self.broker.trade_session(session, bars)
            collected = self._collect(session)
            with self.ledger.read() as connection:
                books.require_balance(connection)
        return Settlement(sent, *collected)

    def submit(self, session: date, *, slices_only: bool = False) -> Settlement:
        """Send the orders decided up to ``session`` that were approved and not yet sent."""
        with self.leased():
            return Settlement(sent=self._send(session, before_session=False))

    # -- a connection -----------------------------------------------------------------------------------------------

    def sync(self, session: date) -> Synced:
        """Ask the broker for everything it knows and bring the ledger up to it; before any new order is sent.

        Executions first, so that what was filled while nobody listened is booked before anything is concluded.
        """
        with self.leased():
            self._in_flight.clear()
            booked = book_executions(self.ledger, self.broker.name, self.broker.executions())
            with self.ledger.read() as connection:
                half_sent = order_log.with_status(connection, (OrderStatus.SUBMITTING,))
            resolved = sum(self._resolve(order) for order in half_sent)
            closed = self._close_reported(session)
            orphans = self._orphans(session)
            with self.ledger.read() as connection:
                books.require_balance(connection)
            return Synced(booked, resolved, closed, orphans)

    def absorb(self, changes: Changes) -> Synced:
        """Take in what the broker said of its own accord."""
        with self.leased():
            booked = book_executions(self.ledger, self.broker.name, changes.executions)
            closed = 0
            for report in changes.reports:
                self._in_flight.discard(report.client_order_id)
                closed += self._take(report)
            self._conclude_replacements()
            return Synced(booked, 0, closed, 0)

    # -- one order --------------------------------------------------------------------------------------------------

    def cancel(self, client_order_ids: Sequence[str], session: date, *, reason: str) -> int:
        """Cancel orders that may still fill; returns how many are cancelled for certain.

        An order that fills before the broker hears of it stays filled: what the broker says is what happened.
        """
        cancelled = 0
        with self.leased():
            for order_id in client_order_ids:
                with self.ledger.read() as connection:
                    order = order_log.get(connection, order_id)
                if order.status in _FINAL:
                    continue
                asked = self.broker.find(order_id) if order.status is not OrderStatus.APPROVED else None
                if asked is None and order_id not in self._in_flight:
                    # The broker has never seen it: withdrawing it is safe.
                    withdrawn = OrderEvent(order_id, OrderEventKind.CANCELED, session, {"reason": reason})
                    self._record(withdrawn, "desk")
                    cancelled += 1
                    continue
                if asked is not None:
                    self._acknowledge(order, asked)
                if order.status is not OrderStatus.PENDING_CANCEL:
                    event = OrderEvent(order_id, OrderEventKind.PENDING_CANCEL, session, {"reason": reason})
                    self._record(event, "desk")
                report = self.broker.cancel(order_id, session)
                if report is not None and report.status is ReportedStatus.CANCELED:
                    cancelled += self._close(report, OrderEventKind.CANCELED)
        return cancelled

    def modify(self, client_order_id: str, session: date, *, quantity: Decimal, limit_price: Decimal | None) -> Order:
        """Ask for a working order to be changed; what it is then is what the broker works.

        Raises
        ------
        OrderError
            It cannot be changed: it does not work, more is asked for than was approved, or nothing would be left.
        """
        with self.leased():
            with self.ledger.read() as connection:
                order = order_log.get(connection, client_order_id)
            if not self.broker.capabilities.modifies:
                raise OrderError(f"broker '{self.broker.name}' changes no orders: cancel {client_order_id} instead")
            if not order.filled_quantity < quantity <= order.quantity:
                raise OrderError(
                    f"order {client_order_id} ({order.symbol}) of {order.quantity}, {order.filled_quantity} filled, "
                    f"cannot become {quantity}: more than was approved is a new order, and to stop it is to cancel it"
                )
            payload: dict[str, object] = {"quantity": quantity}
            if limit_price is not None:
                payload["limit_price"] = limit_price
            self._record(OrderEvent(client_order_id, OrderEventKind.PENDING_REPLACE, session, payload), "desk")
            self.broker.modify(order, quantity=quantity, limit_price=limit_price)
            self._conclude_replacements()
            with self.ledger.read() as connection:
                return order_log.get(connection, client_order_id)

    def give_up_replacement(self, client_order_id: str, session: date, *, reason: str) -> None:
        """The broker works the order as it was: the change did not come about."""
        self._record(
            OrderEvent(client_order_id, OrderEventKind.REPLACE_REJECTED, session, {"reason": reason}), "broker"
        )

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send(self, session: date, *, before_session: bool) -> int:
        sent = 0
        with self.ledger.read() as connection:
            orders = order_log.with_status(connection, _UNSENT, until=session)
        for order in orders:
            if order.client_order_id in self._in_flight or (before_session and order.session >= session):
                continue
            if order.status is OrderStatus.SUBMITTING and self._resolve(order):
                continue
            sent += self._send_one(order)
        return sent

    def _send_one(self, order: Order) -> bool:
        if not self._may_send(order):
            return False
        number = order.broker_order_id or ""
        if order.status is OrderStatus.APPROVED:
            pricing = self.pricing(order)
            if pricing.refused:
                self._withdraw(order, pricing.refused)
                return False
            number = self.broker.reserve()
            order = self._submitting(order, number, pricing)
        else:
            with self.ledger.read() as connection:
                require_lease(connection, self.broker.name, self._holder, self.ledger.now())
        report = self.broker.submit(order, number)
        if report.status is ReportedStatus.SENT:
            self._in_flight.add(order.client_order_id)
        else:
            self._acknowledge(order, report)
        return True

    def _submitting(self, order: Order, number: str, pricing: Pricing) -> Order:
        """Written down before it is sent, in one transaction with the last look at the lease and at the verdict."""
        payload: dict[str, object] = {"broker": self.broker.name}
        if number:
            payload["broker_order_id"] = number
        if pricing.limit_price is not None:
            payload["limit_price"] = pricing.limit_price
        if pricing.arrival_price is not None:
            payload["arrival_price"] = pricing.arrival_price
        if pricing.at is not None:
            payload["sent_at"] = pricing.at.isoformat()
        with self.ledger.write() as connection:
            now = self.ledger.now()
            require_lease(connection, self.broker.name, self._holder, now)
            verdicts.require(connection, order)
            event = OrderEvent(order.client_order_id, OrderEventKind.SUBMITTING, order.session, payload)
            return order_log.record(connection, event, actor="desk", at=now)

    def _resolve(self, order: Order) -> bool:
        """Ask the broker for a half-sent order; False when it has never seen it."""
        report = self.broker.find(order.client_order_id)
        if report is None:
            return False
        self._acknowledge(order, report)
        return True

    def _acknowledge(self, order: Order, report: OrderReport) -> None:
        """What the broker said first of an order. Fills and expiry that overtook it are collected after it."""
        with self.ledger.write() as connection:
            if order_log.get(connection, order.client_order_id).status is not OrderStatus.SUBMITTING:
                return
            now = self.ledger.now()
            payload = {"broker": self.broker.name}
            kind, session = OrderEventKind.ACCEPTED, order.session
            if report.status is ReportedStatus.REJECTED:
                kind, session = OrderEventKind.REJECTED, report.session
                payload = {"reason": report.reason, **payload}
            order_log.record(
                connection, OrderEvent(order.client_order_id, kind, session, payload), actor="broker", at=now
            )

    def _may_send(self, order: Order) -> bool:
        """The control mode is read again at the last moment; an unreadable one sends nothing, no more than a verdict
        that is not there."""
        with self.ledger.read() as connection:
            verdicts.require(connection, order)
        mode = self.mode()
        if mode is ControlMode.NORMAL:
            return True
        with self.ledger.read() as connection:
            held = books.holding_of(connection, order.symbol).quantity
        shrinks = held * order.side.sign < 0 and order.quantity <= abs(held)
        if mode in (ControlMode.REDUCE, ControlMode.EMERGENCY) and shrinks:
            return True
        self._withdraw(order, f"control_{mode.name.lower()}")
        return False

    def _withdraw(self, order: Order, reason: str) -> None:
        """Not sent yet, or its broker has never seen it: withdrawing it is safe."""
        event = OrderEvent(order.client_order_id, OrderEventKind.CANCELED, order.session, {"reason": reason})
        self._record(event, "risk")

    # -- collecting -------------------------------------------------------------------------------------------------

    def _collect(self, session: date) -> tuple[int, int, int]:
        with self.ledger.read() as connection:
            ids = [order.client_order_id for order in order_log.with_status(connection, _WORKING, until=session)]
        said = [one for one in self.broker.executions(ids) if one.session <= session]
        booked = book_executions(self.ledger, self.broker.name, said)
        expired = rejected = 0
        for report in self.broker.reports(ids):
            kind = _CLOSING.get(report.status)
            if kind is None or report.session > session:
                continue
            if self._close(report, kind):
                expired += kind is OrderEventKind.EXPIRED
                rejected += kind is OrderEventKind.REJECTED
        return booked.new, expired, rejected

    def _close_reported(self, session: date) -> int:
        with self.ledger.read() as connection:
            working = {one.client_order_id: one for one in order_log.with_status(connection, _WORKING)}
        reports = self.broker.reports(list(working))
        closed = sum(self._take(report) for report in reports)
        for order_id in set(working) - {report.client_order_id for report in reports}:
            closed += self._close_unheard_of(working[order_id], session)
        return closed

    def _close_unheard_of(self, order: Order, session: date) -> bool:
        """An order we count as working and the broker does not know (any more)."""
        if order.status is OrderStatus.PENDING_CANCEL and self.broker.find(order.client_order_id) is None:
            kind, reason = OrderEventKind.CANCELED, "it never reached the broker"
        elif order.time_in_force == "day" and order.sent_at is not None and order.sent_at.date() < session:
            # Its day is over, and brokers forget a day's orders. What it filled unheard shows in the positions.
            kind, reason = OrderEventKind.EXPIRED, "its day is over, the broker knows no more of it"
        else:
            return False
        self._record(OrderEvent(order.client_order_id, kind, session, {"reason": reason}), "desk")
        return True

    def _take(self, report: OrderReport) -> bool:
        """A broker's word on one order; says whether it closed it."""
        with self.ledger.read() as connection:
            order = order_log.find(connection, report.client_order_id)
        if order is None or order.status in _FINAL:
            return False
        if order.status is OrderStatus.SUBMITTING and report.status is not ReportedStatus.SENT:
            self._acknowledge(order, report)
        kind = _CLOSING.get(report.status)
        if kind is None or report.filled_quantity > order.filled_quantity:
            return False  # works on, or its executions are still to come: they are booked first
        return self._close(report, kind)

    def _close(self, report: OrderReport, kind: OrderEventKind) -> bool:
        with self.ledger.write() as connection:
            if order_log.get(connection, report.client_order_id).status in _FINAL:
                return False
            event = OrderEvent(report.client_order_id, kind, report.session, {"reason": report.reason})
            order_log.record(connection, event, actor="broker", at=self.ledger.now())
            return True

    def _conclude_replacements(self) -> None:
        """Changes asked for: come about when the broker works the order so."""
        with self.ledger.read() as connection:
            pending = order_log.with_status(connection, (OrderStatus.PENDING_REPLACE,))
            wanted = {order.client_order_id: order_log.last_payload(connection, order) for order in pending}
        if not pending:
            return
        working = {one.client_order_id: one for one in self.broker.open_orders()}
        for order in pending:
            asked, there = wanted[order.client_order_id], working.get(order.client_order_id)
            if there is None or there.quantity != Decimal(asked["quantity"]):
                continue
            limit = asked.get("limit_price")
            if limit is not None and there.limit_price != Decimal(limit):
                continue
            with self.ledger.write() as connection:
                now = self.ledger.now()
                current = order_log.get(connection, order.client_order_id)
                if current.status is not OrderStatus.PENDING_REPLACE:
                    continue
                whole = current.filled_quantity == there.quantity
                kind = OrderEventKind.REPLACED_WHOLE if whole else OrderEventKind.REPLACED
                event = OrderEvent(order.client_order_id, kind, order.session, dict(asked))
                order_log.record(connection, event, actor="broker", at=now)

    # -- orders of nobody -------------------------------------------------------------------------------------------

    def _orphans(self, session: date) -> int:
        """Orders that work at the broker and not in the ledger: kept and their instrument locked, taken up, or
        cancelled."""
        found = 0
        for one in self.broker.open_orders():
            with self.ledger.read() as connection:
                order = order_log.find(connection, one.client_order_id)
            if order is not None and order.status not in _FINAL:
                continue
            found += self._deal_with(one, order, session)
        return found

    def _deal_with(self, one: BrokerOrder, order: Order | None, session: date) -> bool:
        reason = "it is closed in the ledger" if order is not None else "the ledger has no such order"
        ours = bool(one.client_order_id)
        if ours and self.orphans == "cancel":
            self.broker.cancel(one.client_order_id, session)
        with self.ledger.write() as connection:
            at = self.ledger.now()
            new = foreign.keep_order(connection, self.broker.name, one, reason, session=session, at=at)
            if not (new and ours and self.orphans != "quarantine"):
                return new
            if self.orphans == "adopt" and order is None:
                adopt_order(connection, self.broker.name, one, session=session, actor="policy", at=at)
            elif self.orphans == "cancel":
                _conclude(connection, self.broker.name, one, "cancelled", at)
            return new

    def _record(self, event: OrderEvent, actor: str) -> None:
        with self.ledger.write() as connection:
            order_log.record(connection, event, actor=actor, at=self.ledger.now())


def _conclude(connection: Connection, broker: str, one: BrokerOrder, state: str, at: datetime) -> None:
    reference = one.broker_order_id or one.client_order_id
    foreign.resolve(connection, broker, "order", reference, state=state, actor="policy", at=at)
