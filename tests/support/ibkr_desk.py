"""The Interactive Brokers adapter before the loopback gateway, and the words to write orders and wait for them in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import Execution, OrderReport, ReportedStatus
from quant_dagster.execution.brokers.ibkr import IbkrBroker
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.orders import Order
from quant_dagster.settings import ConnectionSettings, IbkrSettings
from tests.support.tws_gateway import tws_gateway, wait_until

TODAY = date(2024, 1, 2)
START = datetime(2024, 1, 2, 15, 0, tzinfo=UTC)


class Desk:
    """Gateway and brokers of one test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.gateway: Gateway

    def serve(self, **options: Any) -> Gateway:
        self.gateway = self._stack.enter_context(tws_gateway(**options))
        return self.gateway

    def broker(self, *, open_: bool = True, highest: int = 0, answer: float = 3.0, **options: Any) -> IbkrBroker:
        settings = {name: options.pop(name) for name in list(options) if name in IbkrSettings.model_fields}
        broker = IbkrBroker(
            IbkrSettings(**{"host": self.gateway.host, "port": self.gateway.port} | settings),
            ConnectionSettings(answer_seconds=answer, connect_seconds=3),
            session_of=options.pop("session_of", lambda at: at.date()),
            terms=options.pop("terms", lambda symbol: None),
            highest_order_number=lambda: highest,
            **options,
        )
        self._stack.callback(broker.close)
        if open_:
            broker.open()
        return broker


def order(name: str, quantity: int = 100, limit: str | None = "169.90", **changed: Any) -> Order:
    fields: dict[str, Any] = {
        "client_order_id": name, "decision_id": None, "strategy": "trend", "session": TODAY, "symbol": "AAPL",
        "side": Side.BUY, "quantity": Decimal(quantity), "order_type": "limit" if limit else "market",
        "time_in_force": "day", "decision_price": Decimal(170), "created_at": START,
        "limit_price": None if limit is None else Decimal(limit),
    }  # fmt: skip
    return Order(**fields | changed)


def working(broker: IbkrBroker, name: str = "q1", **fields: Any) -> str:
    """An order that the broker has acknowledged; its number."""
    number = broker.reserve()
    broker.submit(order(name, **fields), number)
    wait_for(broker, name, ReportedStatus.WORKING)
    return number


def wait_for(broker: IbkrBroker, name: str, *statuses: ReportedStatus) -> OrderReport:
    def there() -> OrderReport | None:
        (report,) = broker.reports([name])
        return report if report.status in statuses else None

    found: OrderReport = wait_until(there)
    return found


def heard(broker: IbkrBroker, enough: Callable[[list[str]], bool]) -> list[str]:
    notices: list[str] = []

    def there() -> bool:
        notices.extend(broker.changes(0.05).notices)
        return enough(notices)

    wait_until(there)
    return notices


def filled(executions: list[Execution]) -> Decimal:
    return sum((execution.quantity for execution in executions), Decimal(0))
