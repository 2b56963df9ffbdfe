"""What the broker has said of orders and executions, put together, and nothing that it has not said.

Messages come in any order, twice, late, or not at all. An order's status is the one the broker wrote in an order
status or an order listing, never one that a library made of an error code. An error that refuses a new order makes it
rejected once the broker does not list it; one about an order that the broker has acknowledged makes us ask. Fed by the
connection's thread, read by others: everything is under one lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from quant_dagster.execution.broker import ReportedStatus
from quant_dagster.execution.brokers.codes import Answer
from quant_dagster.execution.brokers.ibkr.codes import answer_to
from quant_dagster.execution.brokers.ibkr.known_order import OVER, ZERO, KnownOrder, reported
from quant_dagster.execution.brokers.ibkr.wire import (
    CommissionMessage,
    ErrorMessage,
    ExecutionMessage,
    OrderMessage,
    StatusMessage,
)


def _weight(order: KnownOrder) -> tuple[bool, bool, bool, int]:
    return order.acknowledged, order.status not in OVER, order.listed, order.connection


def _fuller(said: str, listed: str) -> str:
    # A listing's text is short, but it is where an expiry is told.
    return listed if not said or "expire" in listed.lower() else said


@dataclass(frozen=True)
class News:
    """What changed since it was last asked for."""

    references: tuple[str, ...]
    executions: tuple[ExecutionMessage, ...]
    notices: tuple[str, ...]


class BrokerView:
    """Orders and executions as the broker has told of them."""

    def __init__(self) -> None:
        self._news = threading.Condition(threading.RLock())
        self._orders: dict[int, KnownOrder] = {}
        self._next_key = 0
        self._by_perm: dict[int, int] = {}
        self._by_number: dict[tuple[int, int], int] = {}
        self._by_reference: dict[str, list[int]] = {}
        self._executions: dict[str, ExecutionMessage] = {}
        self._executed: dict[str, set[str]] = {}
        self._commissions: dict[str, CommissionMessage] = {}
        self._changed_orders: dict[str, None] = {}
        self._changed_executions: dict[str, None] = {}
        self._notices: list[str] = []
        self._told_once: set[str] = set()
        self.highest_number = 0
        self.unsettled: set[int] = set()
        """Orders about which the broker must be asked."""
        self._listing: set[int] = set()
        """What was listed since the listings were last asked for."""

    # -- what is heard -----------------------------------------------------------------------------------------------

    def sending(self, order: KnownOrder) -> None:
        """An order of ours is about to be sent, for the first time or again."""
        with self._news:
            self.highest_number = max(self.highest_number, order.order_number)
            earlier = [key for key in self._by_reference.get(order.reference, []) if not self._orders[key].perm_id]
            if earlier:
                # Nothing was heard of the first transmission. One record: what is heard of either is heard of both.
                self._put(earlier[0], replace(order, status=self._orders[earlier[0]].status))
            else:
                self._add(order)

    def asked_to_cancel(self, order: KnownOrder) -> None:
        """A request to cancel it is about to be sent."""
        with self._news:
            key = self._find(order.perm_id, order.client_id, order.order_number)
            if key is not None:
                self._orders[key] = replace(self._orders[key], cancel_asked=True)

    def order(self, message: OrderMessage) -> None:
        """An order listing, of an order that works or is over."""
        with self._news:
            self.highest_number = max(self.highest_number, message.order_number)
            key = self._find(message.perm_id, message.client_id, message.order_number)
            if key is None and message.completed and message.reference:
                # Completed orders have no number: the one of ours whose permanent id was never told.
                key = next(
                    (k for k in self._by_reference.get(message.reference, []) if not self._orders[k].perm_id), None
                )
            if key is None:
                key = self._add(KnownOrder(message.reference))
            self._listing.add(key)
            known = self._orders[key]
            status, filled = message.status, known.filled if message.filled is None else message.filled
            contradicted = 0
            if known.status == "Filled":
                status = known.status
            elif known.status in OVER and status not in OVER and not known.contradicted:
                # Heard out of order, or alive after all: the next listing settles it.
                status, contradicted = known.status, 1
                self.unsettled.add(key)
            changed = replace(
                known,
                reference=message.reference or known.reference,
                order_number=message.order_number or known.order_number,
                client_id=known.client_id if message.completed else message.client_id,
                perm_id=message.perm_id or known.perm_id,
                account=message.account,
                contract=message.contract,
                side=message.side,
                quantity=message.quantity or known.quantity,
                order_type=message.order_type,
                limit_price=message.limit_price,
                group=message.group,
                status=status,
                filled=filled,
                reason=_fuller(known.reason, message.reason),
                listed=True,
                contradicted=contradicted,
                completed=message.completed or known.completed,
            )
            self._put(key, changed)

    def status(self, message: StatusMessage) -> None:
        """An order status."""
        with self._news:
            key = self._find(message.perm_id, message.client_id, message.order_number)
            if key is None:
                key = self._add(KnownOrder("", message.order_number, message.client_id, message.perm_id))
            known = self._orders[key]
            if (known.status in OVER and message.status not in OVER) or known.status == "Filled" != message.status:
                if known.status != "Filled" and not known.contradicted:
                    self.unsettled.add(key)
                self._put(key, replace(known, filled=max(message.filled, known.filled)))
                return
            filled = max(message.filled, known.filled) if message.status not in OVER else message.filled
            self._put(
                key,
                replace(
                    known,
                    order_number=message.order_number or known.order_number,
                    client_id=message.client_id if message.order_number else known.client_id,
                    perm_id=message.perm_id or known.perm_id,
                    status=message.status,
                    filled=filled,
                    reason=message.why_held or known.reason,
                ),
            )
            if message.status == "Inactive" != known.status:
                self.unsettled.add(key)

    def error(self, message: ErrorMessage, client_id: int) -> None:
        """A message about one of our orders: a reason for its status, never a status."""
        code = answer_to(message.code)
        with self._news:
            key = self._by_number.get((client_id, message.number))
            text = f"{message.code}: {message.text}"
            name = "order" if key is None else f"order {self._orders[key].reference}"
            if code.told:
                self.notice(f"{name} (number {message.number}): {text}", once=message.code == 321 and text)
            if key is None or code.answer is Answer.IGNORE:
                return
            known = replace(self._orders[key], reason=text)
            if code.answer is Answer.REJECT and known.status not in OVER:
                known = replace(known, refusal=text)
            self.unsettled.add(key)
            self._put(key, known)

    def execution(self, message: ExecutionMessage) -> None:
        """An execution or its correction, live or asked for; the highest correction counts."""
        with self._news:
            held = self._executions.get(message.key)
            if held is not None and held.correction >= message.correction:
                return
            reference = message.reference
            key = self._find(message.perm_id, message.client_id, message.order_number)
            if not reference and key is not None:
                reference = self._orders[key].reference
                message = replace(message, reference=reference)
            self._executions[message.key] = message
            self._changed_executions[message.key] = None
            if reference:
                self._executed.setdefault(reference, set()).add(message.key)
                self._changed_orders[reference] = None
            if message.executed_at is None:
                self.notice(
                    f"execution {message.execution_id} of {message.contract.symbol} has a time that cannot be read:"
                    f" '{message.time}'; it is booked without one"
                )
            self._news.notify_all()

    def commission(self, message: CommissionMessage) -> None:
        """What an execution cost, before or after the execution itself."""
        with self._news:
            if message.commission is None or self._commissions.get(message.execution_id) == message:
                return
            self._commissions[message.execution_id] = message
            for key in (message.execution_id, message.execution_id.rpartition(".")[0]):
                held = self._executions.get(key)
                if held is not None and held.execution_id == message.execution_id:
                    self._changed_executions[key] = None
                    self._news.notify_all()

    def notice(self, text: str, *, once: str | bool = False) -> None:
        """Something a person should hear; with ``once``, the same only one time."""
        with self._news:
            if once:
                if str(once) in self._told_once:
                    return
                self._told_once.add(str(once))
            self._notices.append(text)
            self._news.notify_all()

    # -- listings ----------------------------------------------------------------------------------------------------

    def begin_listing(self) -> set[int]:
        """Open and completed orders are about to be asked for; until all are told, the last list stands. Returns who is
        unsettled."""
        with self._news:
            self._listing = set()
            asked, self.unsettled = self.unsettled, set()
            return asked

    def end_listing(self, asked: Iterable[int]) -> None:
        """Both listings are complete: what was refused and is in neither is rejected."""
        with self._news:
            self._orders = {key: replace(one, listed=key in self._listing) for key, one in self._orders.items()}
            for key in asked:
                known = self._orders[key]
                if known.refusal and known.listed and not known.completed and known.status != "Inactive":
                    self._put(key, replace(known, refusal=""))  # a change was refused: the order works on as it was
                elif known.refusal and not known.refused_for_good and (not known.listed or known.completed):
                    self._put(key, replace(known, refused_for_good=True))
                elif known.status == "Inactive" and known.completed and not known.refused_for_good:
                    refusal = known.refusal or known.reason or "inactive at the broker"
                    self._put(key, replace(known, refusal=refusal, refused_for_good=True))
                elif known.reason.startswith("103:") and not known.acknowledged:
                    # The number was refused and there is no trace of the order: it is not on its way any more.
                    self._put(key, replace(known, connection=0))

    # -- what is told ------------------------------------------------------------------------------------------------

    def known(self, reference: str) -> KnownOrder | None:
        """The order under a reference of ours; of several, one the broker has before one on its way."""
        with self._news:
            found = [self._orders[key] for key in self._by_reference.get(reference, [])]
        return max(found, key=_weight, default=None) if found else None

    def orders(self) -> list[KnownOrder]:
        """All of them."""
        with self._news:
            return list(self._orders.values())

    def executions(self, references: Iterable[str] | None = None) -> list[ExecutionMessage]:
        """Those of some orders, or all, oldest first."""
        with self._news:
            if references is None:
                found = list(self._executions.values())
            else:
                keys = [key for reference in references for key in self._executed.get(reference, ())]
                found = [self._executions[key] for key in keys]
        return sorted(found, key=lambda one: (one.executed_at is None, one.executed_at or 0, one.execution_id))

    def executed_quantity(self, reference: str) -> Decimal:
        """Shares the executions of an order add up to."""
        with self._news:
            return sum((self._executions[key].quantity for key in self._executed.get(reference, ())), ZERO)

    def commission_of(self, execution: ExecutionMessage) -> CommissionMessage | None:
        """What an execution, as corrected, cost; None until the broker has said it."""
        with self._news:
            return self._commissions.get(execution.execution_id)

    def wait(self, seconds: float) -> News:
        """Wait for news, then hand it over, once."""
        with self._news:
            self._news.wait_for(lambda: self._changed_orders or self._changed_executions or self._notices, seconds)
            news = News(
                tuple(self._changed_orders),
                tuple(self._executions[key] for key in self._changed_executions),
                tuple(self._notices),
            )
            self._changed_orders, self._changed_executions, self._notices = {}, {}, []
            return news

    def reported(self, order: KnownOrder) -> tuple[ReportedStatus, Decimal, str]:
        """Status, filled quantity and reason of an order, in the broker's words as ours."""
        return reported(order, self.executed_quantity(order.reference))

    # -- the index ---------------------------------------------------------------------------------------------------

    def _find(self, perm_id: int, client_id: int, number: int) -> int | None:
        if perm_id and perm_id in self._by_perm:
            return self._by_perm[perm_id]
        if number <= 0:
            return None
        key = self._by_number.get((client_id, number))
        if key is not None and perm_id and self._orders[key].perm_id not in (0, perm_id):
            return None  # the number is used again for another order
        return key

    def _add(self, order: KnownOrder) -> int:
        key, self._next_key = self._next_key, self._next_key + 1
        self._orders[key] = order
        self._index(key, order)
        return key

    def _put(self, key: int, order: KnownOrder) -> None:
        changed = self._orders[key] != order
        self._orders[key] = order
        self._index(key, order)
        if changed and order.reference:
            self._changed_orders[order.reference] = None
            self._news.notify_all()

    def _index(self, key: int, order: KnownOrder) -> None:
        if order.perm_id:
            self._by_perm[order.perm_id] = key
        if order.order_number > 0:
            self._by_number[(order.client_id, order.order_number)] = key
        if order.reference:
            keys = self._by_reference.setdefault(order.reference, [])
            if key not in keys:
                keys.append(key)
            if len({self._orders[one].perm_id for one in keys} - {0}) > 1:
                self.notice(
                    f"the broker has {len(keys)} orders under the id {order.reference}: check what each of them filled",
                    once=f"two orders {order.reference}",
                )
