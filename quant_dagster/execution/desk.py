"""The execution desk: sends approved orders, finds out what became of them, and books what was filled.

Every step can be repeated. An order is written as SUBMITTING before it is sent; after a crash the broker is asked
for it by id, and only an order it has never seen is sent again. A fill is recorded and booked in one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Fill
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.broker import Broker, OrderReport, ReportedStatus, SessionBar, SimulatedVenue
from quant_dagster.execution.lease import broker_lease
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, OrderStatus
from quant_dagster.risk.control import ControlMode
from quant_dagster.storage.ledger import Ledger

_CLOSING = {
    ReportedStatus.CANCELED: OrderEventKind.CANCELED,
    ReportedStatus.REJECTED: OrderEventKind.REJECTED,
    ReportedStatus.EXPIRED: OrderEventKind.EXPIRED,
}


@dataclass(frozen=True)
class Settlement:
    """What one pass of the desk did."""

    sent: int = 0
    fills: int = 0
    expired: int = 0
    rejected: int = 0


class ExecutionDesk:
    """Orders between the ledger and a broker.

    Parameters
    ----------
    lease_seconds
        How long the broker stays ours if this process dies.
    mode
        Says the control mode in force, kill conditions included; asked before each order is sent.
    """

    def __init__(
        self, ledger: Ledger, broker: Broker, *, lease_seconds: float, mode: Callable[[], ControlMode]
    ) -> None:
        self.mode = mode
        self.ledger = ledger
        self.broker = broker
        self.lease_seconds = lease_seconds

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
        with broker_lease(self.ledger, self.broker.name, self.lease_seconds, wait=self.lease_seconds):
            sent = self._send(session, before_session=True)
            if isinstance(self.broker, SimulatedVenue):
                self.broker.trade_session(session, bars)
            collected = self._collect(session)
            with self.ledger.read() as connection:
                books.require_balance(connection)
        return Settlement(sent, *collected)

    def cancel(self, client_order_ids: Sequence[str], session: date, *, reason: str) -> int:
        """Cancel orders that may still fill; returns how many are cancelled for certain.

        An order that fills before the broker hears of it stays filled: what the broker says is what happened.
        """
        cancelled = 0
        with broker_lease(self.ledger, self.broker.name, self.lease_seconds, wait=self.lease_seconds):
            for order_id in client_order_ids:
                with self.ledger.read() as connection:
                    order = order_log.get(connection, order_id)
                if order.status in _final():
                    continue
                asked = self.broker.find(order_id) if order.status is not OrderStatus.APPROVED else None
                if asked is None:
                    # The broker has never seen it: withdrawing it is safe.
                    withdrawn = OrderEvent(order_id, OrderEventKind.CANCELED, session, {"reason": reason})
                    self._record(withdrawn, "desk")
                    cancelled += 1
                    continue
                if order.status is OrderStatus.SUBMITTING:
                    accepted = OrderEvent(order_id, OrderEventKind.ACCEPTED, session, {"broker": self.broker.name})
                    self._record(accepted, "broker")
                if order.status is not OrderStatus.PENDING_CANCEL:
                    self._record(
                        OrderEvent(order_id, OrderEventKind.PENDING_CANCEL, session, {"reason": reason}), "desk"
                    )
                report = self.broker.cancel(order_id, session)
                if report is not None and report.status is ReportedStatus.CANCELED:
                    cancelled += self._close(report, OrderEventKind.CANCELED)
        return cancelled

    def submit(self, session: date) -> Settlement:
        """Send the orders decided up to ``session`` that were approved and not yet sent."""
        with broker_lease(self.ledger, self.broker.name, self.lease_seconds, wait=self.lease_seconds):
            return Settlement(sent=self._send(session, before_session=False))

    # -- sending ----------------------------------------------------------------------------------------------------

    def _send(self, session: date, *, before_session: bool) -> int:
        sent = 0
        waiting = (OrderStatus.SUBMITTING, OrderStatus.APPROVED)
        with self.ledger.read() as connection:
            orders = order_log.with_status(connection, waiting, until=session)
        for order in orders:
            if before_session and order.session >= session:
                continue
            report = self.broker.find(order.client_order_id) if order.status is OrderStatus.SUBMITTING else None
            if report is None:
                if not self._may_send(order):
                    continue
                if order.status is OrderStatus.APPROVED:
                    self._record(
                        OrderEvent(order.client_order_id, OrderEventKind.SUBMITTING, order.session, {}), "desk"
                    )
                report = self.broker.submit(order)
                sent += 1
            if report.status is ReportedStatus.REJECTED:
                payload = {"reason": report.reason, "broker": self.broker.name}
                self._record(
                    OrderEvent(order.client_order_id, OrderEventKind.REJECTED, report.session, payload), "broker"
                )
            else:
                # Fills and expiry that overtook the acknowledgement are collected after it.
                accepted = OrderEvent(
                    order.client_order_id, OrderEventKind.ACCEPTED, order.session, {"broker": self.broker.name}
                )
                self._record(accepted, "broker")
        return sent

    def _may_send(self, order: Order) -> bool:
        """The verdict and the control mode are read again at the last moment; an unreadable one sends nothing."""
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
        # Not sent yet, or its broker has never seen it: withdrawing it is safe.
        payload = {"reason": f"control_{mode.name.lower()}"}
        self._record(OrderEvent(order.client_order_id, OrderEventKind.CANCELED, order.session, payload), "risk")
        return False

    # -- collecting -------------------------------------------------------------------------------------------------

    def _collect(self, session: date) -> tuple[int, int, int]:
        with self.ledger.read() as connection:
            orders = {
                order.client_order_id: order
                for order in order_log.with_status(connection, order_log.OPEN, until=session)
                if order.status not in (OrderStatus.APPROVED, OrderStatus.SUBMITTING)
            }
        ids = list(orders)
        filled = sum(self._book(fill) for fill in self.broker.executions(ids) if fill.session <= session)
        expired = rejected = 0
        for report in self.broker.reports(ids):
            kind = _CLOSING.get(report.status)
            if kind is None or report.session > session:
                continue
            if self._close(report, kind):
                expired += kind is OrderEventKind.EXPIRED
                rejected += kind is OrderEventKind.REJECTED
        return filled, expired, rejected

    def _book(self, fill: Fill) -> bool:
        """Record and book one execution, together or not at all; says whether it was new."""
        with self.ledger.write() as connection:
            now = self.ledger.now()
            if not books.book(connection, fill, at=now):
                return False
            order = order_log.get(connection, fill.client_order_id)
            whole = order.filled_quantity + fill.quantity == order.quantity
            kind = OrderEventKind.FILLED if whole else OrderEventKind.PARTIALLY_FILLED
            payload = {"execution_id": fill.execution_id, "quantity": fill.quantity, "price": fill.price}
            event = OrderEvent(fill.client_order_id, kind, fill.session, payload)
            order_log.record(connection, event, actor="broker", at=now)
            return True

    def _close(self, report: OrderReport, kind: OrderEventKind) -> bool:
        with self.ledger.write() as connection:
            if order_log.get(connection, report.client_order_id).status in (None, *_final()):
                return False
            event = OrderEvent(report.client_order_id, kind, report.session, {"reason": report.reason})
            order_log.record(connection, event, actor="broker", at=self.ledger.now())
            return True

    def _record(self, event: OrderEvent, actor: str) -> None:
        with self.ledger.write() as connection:
            order_log.record(connection, event, actor=actor, at=self.ledger.now())


def _final() -> tuple[OrderStatus, ...]:
    return tuple(status for status in OrderStatus if status.is_final)
