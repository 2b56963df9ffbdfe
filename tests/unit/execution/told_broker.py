"""A broker that says what a test has it say, and a desk that listens to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

from quant_dagster.accounting.books import Side
from quant_dagster.execution import order_log
from quant_dagster.execution.broker import (
    BrokerAccount,
    BrokerOrder,
    Capabilities,
    Execution,
    OrderReport,
    ReportedStatus,
)
from quant_dagster.execution.desk import ExecutionDesk
from quant_dagster.execution.orders import Order, OrderStatus
from quant_dagster.execution.pricing import Pricing
from quant_dagster.risk.control import ControlMode
from quant_dagster.storage.ledger import Ledger
from tests.unit.execution.test_desk import approve
from tests.unit.execution.test_paper import MONDAY, TUESDAY

SENT_AT = datetime(2013, 2, 25, 15, 0, tzinfo=UTC)
CAPABILITIES = Capabilities(frozenset({"market", "limit"}), modifies=True, remote=False)


@dataclass
class ToldBroker:
    """Says what the test has it say, and keeps what it was asked to do."""

    name: str = "told"
    capabilities: Capabilities = CAPABILITIES
    said: list[OrderReport] = field(default_factory=list)
    executed: list[Execution] = field(default_factory=list)
    working: list[BrokerOrder] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    first_word: Callable[[Order], OrderReport] = lambda order: report(order.client_order_id)
    meanwhile: Callable[[], None] = lambda: None

    def reserve(self) -> str:
        return "7"

    def submit(self, order: Order, broker_order_id: str = "") -> OrderReport:
        self.asked.append(("submit", order.client_order_id))
        return self.first_word(order)

    def modify(self, order: Order, *, quantity: Decimal, limit_price: Decimal | None) -> OrderReport | None:
        self.asked.append(("modify", order.client_order_id))
        return self.find(order.client_order_id)

    def cancel(self, client_order_id: str, session: date) -> OrderReport | None:
        self.asked.append(("cancel", client_order_id))
        return self.find(client_order_id)

    def find(self, client_order_id: str) -> OrderReport | None:
        return next((one for one in self.said if one.client_order_id == client_order_id), None)

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        return [one for one in self.said if one.client_order_id in client_order_ids]

    def executions(self, client_order_ids: Sequence[str] | None = None) -> list[Execution]:
        return [one for one in self.executed if client_order_ids is None or one.client_order_id in client_order_ids]

    def open_orders(self) -> list[BrokerOrder]:
        self.meanwhile()
        return self.working

    def account(self) -> BrokerAccount:
        return BrokerAccount(self.name, "USD", {}, {})


def report(order_id: str, status: ReportedStatus = ReportedStatus.WORKING, filled: int = 0, **more: str) -> OrderReport:
    return OrderReport(order_id, status, TUESDAY, Decimal(filled), **more)


def execution(order_id: str, quantity: int = 100, name: str = "e1") -> Execution:
    return Execution(name, order_id, "IBM", Side.BUY, Decimal(quantity), Decimal(200), TUESDAY, Decimal(1))


def at_broker(order_id: str, quantity: int = 100, *, order_type: str = "market") -> BrokerOrder:
    return BrokerOrder("9", order_id, "IBM", Side.BUY, Decimal(quantity), Decimal(0), order_type, None)


def desk_of(ledger: Ledger, broker: ToldBroker, **options: object) -> ExecutionDesk:
    settings: dict[str, object] = {"pricing": lambda order: Pricing(order.limit_price, at=SENT_AT)}
    return ExecutionDesk(ledger, broker, lease_seconds=60, mode=lambda: ControlMode.NORMAL, **settings | options)  # type: ignore[arg-type]


def status_of(ledger: Ledger, order_id: str) -> OrderStatus:
    with ledger.read() as connection:
        return order_log.get(connection, order_id).status


def half_sent(ledger: Ledger, broker: ToldBroker, desk: ExecutionDesk) -> str:
    """An order that went out, and of which the broker has said nothing."""
    order_id = approve(ledger)
    broker.first_word = lambda order: report(order.client_order_id, ReportedStatus.SENT)
    assert desk.submit(MONDAY).sent == 1
    assert status_of(ledger, order_id) is OrderStatus.SUBMITTING
    return order_id


def accepted(ledger: Ledger, desk: ExecutionDesk) -> str:
    order_id = approve(ledger)
    desk.submit(MONDAY)
    assert status_of(ledger, order_id) is OrderStatus.ACCEPTED
    return order_id
