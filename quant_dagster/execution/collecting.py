"""What a broker says of orders, brought into the ledger: acknowledgements, executions, ends, changes.

An execution is recorded and booked in one transaction. What a broker does not answer stays in flight: nothing is
concluded from silence. Belongs here: listening and writing down. Does not: sending and cancelling (``desk``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date
from decimal import Decimal

from quant_dagster.execution import order_log
from quant_dagster.execution.booking import Booking, book_executions
from quant_dagster.execution.broker import Broker, BrokerOrder, Execution, OrderReport, RemoteBroker, ReportedStatus
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind, OrderStatus
from quant_dagster.observability import audit
from quant_dagster.storage.ledger import Ledger

_CLOSING = {
    ReportedStatus.CANCELED: OrderEventKind.CANCELED,
    ReportedStatus.REJECTED: OrderEventKind.REJECTED,
    ReportedStatus.EXPIRED: OrderEventKind.EXPIRED,
}
_WORKING = tuple(status for status in order_log.OPEN if status not in (OrderStatus.APPROVED, OrderStatus.SUBMITTING))


class Collector:
    """Finds out what became of orders, and writes it down.

    Parameters
    ----------
    currency
        The account's: what is said in it is said without a currency in the books.
    patience
        Seconds after which a change of an order that did not come about counts as refused.
    """

    def __init__(self, ledger: Ledger, broker: Broker, *, currency: str, patience: float) -> None:
        self.ledger = ledger
        self.broker = broker
        self.currency = currency
        self.patience = patience
        self._answers: list[tuple[Order, OrderReport]] | None = None
        """What a venue said of orders that it has not all taken yet; None while each is written down at once."""

    def collect(self, session: date) -> tuple[int, int, int]:
        """Book what was executed up to ``session`` and close what ended; how many filled, expired, were rejected."""
        with self.ledger.read() as connection:
            ids = [order.client_order_id for order in order_log.with_status(connection, _WORKING, until=session)]
        said = [one for one in self.broker.executions(ids) if one.session <= session]
        booked = self.enter(said)
        expired = rejected = 0
        for report in self.broker.reports(ids):
            kind = _CLOSING.get(report.status)
            if kind is None or report.session > session:
                continue
            if self.close(report, kind):
                expired += kind is OrderEventKind.EXPIRED
                rejected += kind is OrderEventKind.REJECTED
        return booked.new, expired, rejected

    def enter(self, executions: Sequence[Execution]) -> Booking:
        """Book what a broker told of; what is booked already changes nothing."""
        said = [
            replace(
                one, currency=self._foreign(one.currency), commission_currency=self._foreign(one.commission_currency)
            )
            for one in executions
        ]
        return book_executions(self.ledger, self.broker.name, said)

    def _foreign(self, currency: str | None) -> str | None:
        return None if currency == self.currency else currency

    def acknowledge(self, order: Order, report: OrderReport) -> None:
        """What the broker said first of an order. Fills and expiry that overtook it are collected after it."""
        if report.status is ReportedStatus.SENT:
            return
        if self._answers is not None:
            self._answers.append((order, report))
            return
        with self.ledger.write() as connection:
            if order_log.get(connection, order.client_order_id).status is not OrderStatus.SUBMITTING:
                return
            order_log.record(connection, self._answer(order, report), actor="broker", at=self.ledger.now())

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Keep what is acknowledged within, and write it down in one transaction at the end, if it ends well."""
        self._answers = []
        try:
            yield
            self._acknowledge_all(self._answers)
        finally:
            self._answers = None

    def _acknowledge_all(self, answers: Sequence[tuple[Order, OrderReport]]) -> None:
        """As `acknowledge`, in one transaction."""
        with self.ledger.write() as connection:
            now = self.ledger.now()
            chain = audit.Buffer(connection)
            recorder = order_log.Recorder(connection, chain, now)
            recorder.expect(order.client_order_id for order, _ in answers)
            for order, report in answers:
                known = recorder.find(order.client_order_id)
                if known is not None and known.status is OrderStatus.SUBMITTING:
                    recorder.record(self._answer(order, report), actor="broker")
            recorder.flush()
            chain.flush()

    def _answer(self, order: Order, report: OrderReport) -> OrderEvent:
        """What the broker said first of an order, as an event."""
        payload = {"broker": self.broker.name}
        if report.status is ReportedStatus.REJECTED:
            payload = {"reason": report.reason, **payload}
            return OrderEvent(order.client_order_id, OrderEventKind.REJECTED, report.session, payload)
        return OrderEvent(order.client_order_id, OrderEventKind.ACCEPTED, order.session, payload)

    def resolve(self, session: date) -> int:
        """Ask the broker for every half-sent order; returns how many it knows, or are over in any case."""
        with self.ledger.read() as connection:
            half_sent = order_log.with_status(connection, (OrderStatus.SUBMITTING,))
        return sum(self._resolve(order) or self._expire_in_doubt(order, session) for order in half_sent)

    def _resolve(self, order: Order) -> bool:
        """Ask the broker for a half-sent order; says whether it knows it."""
        report = self.broker.find(order.client_order_id)
        if report is None or report.status is ReportedStatus.SENT:
            return False
        self.acknowledge(order, report)
        return True

    def _expire_in_doubt(self, order: Order, session: date) -> bool:
        """A half-sent day order of a past day: over in any case, and whether it filled shows in the positions."""
        if order.time_in_force != "day" or order.sent_at is None or order.sent_at.date() >= session:
            return False
        payload = {"reason": "its day is over, and the broker no longer knows whether it came"}
        self._record(OrderEvent(order.client_order_id, OrderEventKind.EXPIRED, session, payload), "desk")
        return True

    def close_reported(self, session: date) -> int:
        """Close what the broker is done with, or must be by ``session``; returns how many orders."""
        with self.ledger.read() as connection:
            working = {one.client_order_id: one for one in order_log.with_status(connection, _WORKING)}
        reports = self.broker.reports(list(working))
        closed = sum(self.take(report) for report in reports)
        for order_id in set(working) - {report.client_order_id for report in reports}:
            closed += self._close_unheard_of(working[order_id], session)
        closed += sum(self._close_with_less(report) for report in reports if report.status is ReportedStatus.FILLED)
        return closed

    def _close_with_less(self, report: OrderReport) -> bool:
        """The broker is done with an order, and all executions it tells of come to less: one was taken back unheard."""
        with self.ledger.read() as connection:
            order = order_log.get(connection, report.client_order_id)
        told = self._told(order)
        if order.is_final or told != order.filled_quantity or told >= order.quantity:
            return False
        if isinstance(self.broker, RemoteBroker):
            self.broker.refresh()  # it may have said that all is filled just before it says what was
            if self._told(order) != told:
                return False
        payload = {"reason": "the broker is done with it, and an execution of it was taken back"}
        self._record(OrderEvent(order.client_order_id, OrderEventKind.CANCELED, report.session, payload), "broker")
        return True

    def _told(self, order: Order) -> Decimal:
        """Shares of all executions the broker tells of."""
        return sum((one.quantity for one in self.broker.executions([order.client_order_id])), Decimal(0))

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

    def take(self, report: OrderReport) -> bool:
        """A broker's word on one order; says whether it closed it."""
        with self.ledger.read() as connection:
            order = order_log.find(connection, report.client_order_id)
        if order is None or order.is_final:
            return False
        if order.status is OrderStatus.SUBMITTING and report.status is not ReportedStatus.SENT:
            self.acknowledge(order, report)
        kind = _CLOSING.get(report.status)
        if kind is None or report.filled_quantity > order.filled_quantity:
            return False  # works on, or its executions are still to come: they are booked first
        return self.close(report, kind)

    def close(self, report: OrderReport, kind: OrderEventKind) -> bool:
        """End an order as the broker says, unless it is over already."""
        with self.ledger.write() as connection:
            if order_log.get(connection, report.client_order_id).is_final:
                return False
            event = OrderEvent(report.client_order_id, kind, report.session, {"reason": report.reason})
            order_log.record(connection, event, actor="broker", at=self.ledger.now())
            return True

    def conclude(self) -> None:
        """Look whether changes that were asked for have come about: they have when the broker works the order so.

        One that it still works as it was after ``patience`` seconds did not.
        """
        with self.ledger.read() as connection:
            pending = order_log.with_status(connection, (OrderStatus.PENDING_REPLACE,))
        if not pending:
            return
        working = {one.client_order_id: one for one in self.broker.open_orders()}
        for order in pending:
            if (there := working.get(order.client_order_id)) is not None:
                self._conclude_replacement(order.client_order_id, there)

    def _conclude_replacement(self, order_id: str, there: BrokerOrder) -> None:
        with self.ledger.write() as connection:
            now, order = self.ledger.now(), order_log.get(connection, order_id)
            if order.status is not OrderStatus.PENDING_REPLACE:
                return
            asked, since = order_log.newest_event(connection, order_id, OrderEventKind.PENDING_REPLACE)
            limit = asked.get("limit_price")
            if there.quantity == Decimal(asked["quantity"]) and (limit is None or there.limit_price == Decimal(limit)):
                whole = order.filled_quantity == there.quantity
                kind = OrderEventKind.REPLACED_WHOLE if whole else OrderEventKind.REPLACED
            elif (now - since).total_seconds() > self.patience:
                kind, asked = OrderEventKind.REPLACE_REJECTED, {"reason": "the broker works the order as it was"}
            else:
                return
            order_log.record(connection, OrderEvent(order_id, kind, order.session, asked), actor="broker", at=now)

    def _record(self, event: OrderEvent, actor: str) -> None:
        with self.ledger.write() as connection:
            order_log.record(connection, event, actor=actor, at=self.ledger.now())
