"""The execution desk: sends approved orders, cancels and changes them; what became of them `collecting` finds out.

Every step can be repeated. An order is written as SUBMITTING before it is sent, with the number it goes under at the
broker; after a crash the broker is asked for it, and only an order it has never seen is sent again, under the same
number.

All that sends to a broker or cancels there is in this one module, for its length, so that nothing else can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

from quant_dagster.accounting import books
from quant_dagster.errors import OrderError
from quant_dagster.execution import foreign, order_log, verdicts
from quant_dagster.execution.adoption import adopt_order
from quant_dagster.execution.booking import Booking
from quant_dagster.execution.broker import (
    BatchingVenue,
    Broker,
    BrokerOrder,
    Changes,
    ReportedStatus,
    SessionBar,
    SimulatedVenue,
)
from quant_dagster.execution.collecting import Collector
from quant_dagster.execution.lease import broker_lease, require_lease
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, OrderStatus
from quant_dagster.execution.pricing import Pricing, as_approved
from quant_dagster.risk.control import ControlMode
from quant_dagster.storage.ledger import Ledger

_UNSENT = (OrderStatus.APPROVED, OrderStatus.SUBMITTING)


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
    currency
        The account's: what is said in it is said without a currency in the books.
    patience
        Seconds after which a change of an order that did not come about counts as refused.
    """

    def __init__(
        self,
        ledger: Ledger,
        broker: Broker,
        *,
        lease_seconds: float,
        mode: Callable[[], ControlMode],
        pricing: Callable[[Order], Pricing] = as_approved,
        orphans: str = "quarantine",
        currency: str = "USD",
        patience: float = 10.0,
    ) -> None:
        self.mode = mode
        self.ledger = ledger
        self.broker = broker
        self.lease_seconds = lease_seconds
        self.pricing = pricing
        self.orphans = orphans
        self.collector = Collector(ledger, broker, currency=currency, patience=patience)
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
    def unanswered(self) -> int:
        """Orders sent that the broker has not spoken of yet."""
        return len(self._in_flight)

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
            collected = self.collector.collect(session)
            with self.ledger.read() as connection:
                books.require_balance(connection)
        return Settlement(sent, *collected)

    def submit(self, session: date) -> Settlement:
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
            said, working = self.broker.executions(), self.broker.open_orders()
            booked = self.collector.enter(said)
            resolved = self.collector.resolve(session)
            closed = self.collector.close_reported(session)
            orphans = self._orphans(working, session)
            with self.ledger.read() as connection:
                books.require_balance(connection)
            return Synced(booked, resolved, closed, orphans)

    def absorb(self, changes: Changes) -> Synced:
        """Take in what the broker said of its own accord."""
        with self.leased():
            booked = self.collector.enter(changes.executions)
            closed = 0
            for report in changes.reports:
                self._in_flight.discard(report.client_order_id)
                closed += self.collector.take(report)
            self.collector.conclude()
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
                if order.is_final:
                    continue
                asked = self.broker.find(order_id) if order.status is not OrderStatus.APPROVED else None
                if asked is None and order_id not in self._in_flight:
                    # The broker has never seen it: withdrawing it is safe.
                    withdrawn = OrderEvent(order_id, OrderEventKind.CANCELED, session, {"reason": reason})
                    self._record(withdrawn, "desk")
                    cancelled += 1
                    continue
                if asked is not None:
                    self.collector.acknowledge(order, asked)
                    with self.ledger.read() as connection:
                        order = order_log.get(connection, order_id)
                    if order.is_final:
                        continue  # the broker's first word on it was its last
                if order.status is not OrderStatus.PENDING_CANCEL:
                    event = OrderEvent(order_id, OrderEventKind.PENDING_CANCEL, session, {"reason": reason})
                    self._record(event, "desk")
                report = self.broker.cancel(order_id, session)
                if report is not None and report.status is ReportedStatus.CANCELED:
                    cancelled += self.collector.close(report, OrderEventKind.CANCELED)
        return cancelled

    def cancel_at_broker(self, session: date) -> int:
        """Ask for everything that works at the broker under an id of ours to be cancelled, protective stops apart.

        The ledger is neither read nor written: for when it, or the thread that holds it, hangs. What came of it is
        collected like anything else the broker says.
        """
        asked = 0
        for one in self.broker.open_orders():
            if one.client_order_id and one.order_type != "stop":
                self.broker.cancel(one.client_order_id, session)
                asked += 1
        return asked

    def expire_unsent(self, decided: date) -> list[Order]:
        """End the day orders decided before ``decided`` that were never sent: their prices are old; returns them."""
        with self.ledger.read() as connection:
            waiting = order_log.with_status(connection, (OrderStatus.APPROVED,))
        stale = [one for one in waiting if one.session < decided and one.time_in_force == "day"]
        for order in stale:
            payload = {"reason": "its session passed before it was sent"}
            self._record(OrderEvent(order.client_order_id, OrderEventKind.EXPIRED, decided, payload), "desk")
        return stale

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
            self.collector.conclude()
            with self.ledger.read() as connection:
                return order_log.get(connection, client_order_id)

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send(self, session: date, *, before_session: bool) -> int:
        sent = 0
        with self.ledger.read() as connection:
            orders = order_log.with_status(connection, _UNSENT, until=session)
        due = [
            order
            for order in orders
            if order.client_order_id not in self._in_flight and not (before_session and order.session >= session)
        ]
        with self._together(len(due)):
            for order in due:
                if order.status is OrderStatus.SUBMITTING:
                    report = self.broker.find(order.client_order_id)
                    if report is not None:  # seen; or, SENT, nobody can tell: it is not sent again on a guess
                        self.collector.acknowledge(order, report)
                        continue
                sent += self._send_one(order)
        return sent

    @contextmanager
    def _together(self, count: int) -> Iterator[None]:
        """Many orders for a venue that takes them in one transaction: it answers for none before all are on its book.

        Each is still looked at and written down by itself before it is sent. Where this ends early, the venue has none
        of them and the ledger has them half sent, which is resolved by asking.
        """
        if count < 2 or not isinstance(self.broker, BatchingVenue):
            yield
            return
        with self.collector.at_once(), self.broker.together():
            yield

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
        if report.broker_order_id and report.broker_order_id != number:
            self._renumbered(order, report.broker_order_id)
        if report.status is ReportedStatus.SENT:
            self._in_flight.add(order.client_order_id)
        else:
            self.collector.acknowledge(order, report)
        return True

    def _submitting(self, order: Order, number: str, pricing: Pricing) -> Order:
        """Written down before it is sent, in one transaction with the last look at the lease and at the verdict."""
        with self.ledger.write() as connection:
            now = self.ledger.now()
            require_lease(connection, self.broker.name, self._holder, now)
            verdicts.require(connection, order)
            return order_log.record(connection, self._sending(order, number, pricing), actor="desk", at=now)

    def _renumbered(self, order: Order, number: str) -> None:
        """The broker would have refused the number that was written down; it has never seen the order under it."""
        kept = Pricing(order.limit_price, order.arrival_price, order.sent_at)
        with self.ledger.write() as connection:
            if order_log.get(connection, order.client_order_id).status is not OrderStatus.SUBMITTING:
                return
            order_log.record(connection, self._sending(order, number, kept), actor="desk", at=self.ledger.now())

    def _sending(self, order: Order, number: str, pricing: Pricing) -> OrderEvent:
        payload = {
            "broker": self.broker.name,
            "broker_order_id": number or None,
            "limit_price": pricing.limit_price,
            "arrival_price": pricing.arrival_price,
            "sent_at": None if pricing.at is None else pricing.at.isoformat(),
        }
        said = {name: value for name, value in payload.items() if value is not None}
        return OrderEvent(order.client_order_id, OrderEventKind.SUBMITTING, order.session, said)

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

    # -- orders of nobody -------------------------------------------------------------------------------------------

    def _orphans(self, working: Sequence[BrokerOrder], session: date) -> int:
        """Orders that work at the broker and not in the ledger: kept and their instrument locked, taken up, or
        cancelled."""
        found = 0
        for one in working:
            with self.ledger.read() as connection:
                order = order_log.find(connection, one.client_order_id)
            if order is not None and not order.is_final:
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
                foreign.resolve_order(connection, self.broker.name, one, state="cancelled", actor="policy", at=at)
            return new

    def withdraw_foreign(self, one: BrokerOrder, session: date, *, actor: str) -> None:
        """Ask for an order to be cancelled that the ledger does not have, at a person's word."""
        with self.leased():
            self.broker.cancel(one.client_order_id, session)
            with self.ledger.write() as connection:
                at = self.ledger.now()
                foreign.resolve_order(connection, self.broker.name, one, state="cancelled", actor=actor, at=at)

    def _record(self, event: OrderEvent, actor: str) -> None:
        with self.ledger.write() as connection:
            order_log.record(connection, event, actor=actor, at=self.ledger.now())
