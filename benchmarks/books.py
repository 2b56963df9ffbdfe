"""The books under a day's executions: milliseconds to enter, to enter again, to rebuild orders, to ask for a position.

    python benchmarks/books.py [--executions 2600] [--events 100000]

A ledger of its own in a temporary folder (SQLite, synchronous=FULL). 2,600 working orders of 260 symbols are executed
once each; prices and sizes follow from their number. Orders have four events each (approved, submitting, accepted,
filled).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.accounting import books  # noqa: E402
from quant_dagster.accounting.books import Side  # noqa: E402
from quant_dagster.execution import order_log  # noqa: E402
from quant_dagster.execution.booking import book_executions  # noqa: E402
from quant_dagster.execution.broker import Execution  # noqa: E402
from quant_dagster.execution.orders import Order, OrderEvent, OrderEventKind  # noqa: E402
from quant_dagster.observability import audit  # noqa: E402
from quant_dagster.storage.ledger import Ledger  # noqa: E402
from quant_dagster.storage.ledger_tables import orders  # noqa: E402

AT = datetime(2024, 1, 2, 21, tzinfo=UTC)
DAY = date(2024, 1, 2)
SYMBOLS = 260


def timed(what: str, work: Callable[[], object]) -> float:
    start = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - start
    print(f"{what:58} {seconds:8.3f} s   {result if isinstance(result, int) else ''}")
    return seconds


def order(number: int) -> Order:
    price = Decimal(50 + number % 200)
    return Order(
        client_order_id=f"q{number:023d}",
        decision_id=None,
        strategy="benchmark",
        session=DAY,
        symbol=f"S{number % SYMBOLS:03d}",
        side=Side.SELL if number % 3 == 0 else Side.BUY,
        quantity=Decimal(100 + number % 7),
        order_type="market",
        time_in_force="day",
        decision_price=price,
        created_at=AT,
        origin="command",
    )


def execution(one: Order, number: int) -> Execution:
    return Execution(
        execution_id=f"e{number:07d}",
        client_order_id=one.client_order_id,
        symbol=one.symbol,
        side=one.side,
        quantity=one.quantity,
        price=one.decision_price + Decimal(number % 13) / 100,
        session=DAY,
        commission=Decimal("1.05"),
        executed_at=AT + timedelta(milliseconds=number),
    )


def working_orders(ledger: Ledger, first: int, count: int) -> list[Order]:
    """Orders that the broker has accepted, with their events."""
    made = [order(number) for number in range(first, first + count)]
    with ledger.write() as connection:
        chain = audit.Buffer(connection)
        recorder = order_log.Recorder(connection, chain, AT)
        rows = [
            {name: getattr(one, name) for name in one.__dataclass_fields__} | {"status": "approved"} for one in made
        ]
        connection.execute(orders.insert(), rows)
        recorder.adopt(made)
        for kind in (OrderEventKind.APPROVED, OrderEventKind.SUBMITTING, OrderEventKind.ACCEPTED):
            for one in made:
                recorder.record(OrderEvent(one.client_order_id, kind, DAY, {"quantity": one.quantity}), actor="desk")
        recorder.flush()
        chain.flush()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executions", type=int, default=2600)
    parser.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db", lambda: AT)
        ledger.upgrade()
        made = working_orders(ledger, 0, options.executions)
        said = [execution(one, number) for number, one in enumerate(made)]
        timed(f"{len(said)} new executions", lambda: book_executions(ledger, "paper", said).new)
        timed(f"{len(said)} executions known already", lambda: book_executions(ledger, "paper", said).new)
        left = options.events // 4 - options.executions
        if left > 0:
            more = working_orders(ledger, options.executions, left)
            rest = [execution(one, options.executions + number) for number, one in enumerate(more)]
            timed(f"{left} more, in a book of {options.executions}", lambda: book_executions(ledger, "paper", rest).new)
        with ledger.write() as connection:
            connection.execute(orders.update().values(status="approved", filled_quantity=0, events=1))
            timed(f"every order rebuilt from {options.events} events", lambda: order_log.rebuild(connection))
        with ledger.read() as connection:
            timed("orders against their events", lambda: len(order_log.problems(connection)))
            timed("books against their fills", lambda: len(books.problems(connection)))
            timed("holding_of, 200 times", lambda: [books.holding_of(connection, f"S{n:03d}") for n in range(200)])
        timed("audit chain verified", lambda: len(audit.verify(ledger).problems))


if __name__ == "__main__":
    main()
