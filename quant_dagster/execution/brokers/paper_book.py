"""The paper broker's book: a SQLite file of orders, executions and positions, and what its rows say.

Belongs here: the file's tables, its transactions, reading it. Does not: what fills at what price (``paper``).
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from quant_dagster.accounting.books import Side
from quant_dagster.execution.broker import Execution, OrderReport, ReportedStatus

_SPLITS = """CREATE TABLE IF NOT EXISTS splits (
    reference TEXT PRIMARY KEY, symbol TEXT NOT NULL, quantity TEXT NOT NULL)"""
_SCHEMA = f"""{_SPLITS};
CREATE TABLE IF NOT EXISTS orders (
    client_order_id TEXT PRIMARY KEY, decided TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL,
    quantity TEXT NOT NULL, filled TEXT NOT NULL, time_in_force TEXT NOT NULL, decision_price TEXT NOT NULL,
    status TEXT NOT NULL, session TEXT NOT NULL, reason TEXT NOT NULL,
    reduce_only INTEGER NOT NULL DEFAULT 0, stop_price TEXT, limit_price TEXT);
CREATE TABLE IF NOT EXISTS executions (
    number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL UNIQUE, client_order_id TEXT NOT NULL,
    content TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS executions_of_order ON executions (client_order_id);
CREATE TABLE IF NOT EXISTS positions (symbol TEXT PRIMARY KEY, quantity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sessions (session TEXT NOT NULL, client_order_id TEXT NOT NULL,
    PRIMARY KEY (session, client_order_id));
"""


class PaperBook:
    """The file, opened for each transaction anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = threading.local()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is done within, or none of it; inside `together`, with the rest of that."""
        already = getattr(self._open, "book", None)
        if already is not None:
            yield already
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        book = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        book.row_factory = sqlite3.Row
        try:
            book.execute("PRAGMA journal_mode=WAL")
            book.execute("PRAGMA synchronous=FULL")
            book.execute("BEGIN IMMEDIATE")
            _upgrade(book)
            yield book
            book.execute("COMMIT")
        except BaseException:
            if book.in_transaction:
                book.execute("ROLLBACK")
            raise
        finally:
            book.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Make one transaction of all that this thread does within; nothing of it is on the book before it ends."""
        with self.transaction() as book:
            self._open.book = book
            try:
                yield
            finally:
                self._open.book = None


def position_of(book: sqlite3.Connection, symbol: str) -> Decimal:
    """Shares held of a symbol."""
    row = book.execute("SELECT quantity FROM positions WHERE symbol = ?", (symbol,)).fetchone()
    return Decimal(row["quantity"]) if row is not None else Decimal(0)


def order_type_of(row: sqlite3.Row) -> str:
    """Which of the broker's order types a row of ``orders`` is."""
    if row["stop_price"] is not None:
        return "stop"
    return "market" if row["limit_price"] is None else "limit"


def report_of(row: sqlite3.Row) -> OrderReport:
    """Where an order stands, from its row."""
    return OrderReport(
        client_order_id=row["client_order_id"],
        status=ReportedStatus(row["status"]),
        session=date.fromisoformat(row["session"]),
        filled_quantity=Decimal(row["filled"]),
        reason=row["reason"],
    )


def execution_of(content: str) -> Execution:
    """An execution, from column ``content`` of its row."""
    said: dict[str, Any] = json.loads(content)
    return Execution(
        execution_id=said["execution_id"],
        client_order_id=said["client_order_id"],
        session=date.fromisoformat(said["session"]),
        symbol=said["symbol"],
        side=Side(said["side"]),
        quantity=Decimal(said["quantity"]),
        price=Decimal(said["price"]),
        commission=Decimal(said["commission"]),
        reference_price=Decimal(said["reference_price"]),
        provenance=said["provenance"],
    )


def _upgrade(book: sqlite3.Connection) -> None:
    """Create what is not there yet; a book of an earlier version gets its new columns, and its positions counted."""
    known = {row["name"] for row in book.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "positions" in known:
        if "splits" not in known:
            book.execute(_SPLITS)
        if "limit_price" not in {row["name"] for row in book.execute("PRAGMA table_info(orders)")}:
            book.execute("ALTER TABLE orders ADD COLUMN limit_price TEXT")
        return
    for statement in _SCHEMA.split(";"):
        if statement.strip():
            book.execute(statement)
    if "orders" not in known:
        return
    book.execute("ALTER TABLE orders ADD COLUMN reduce_only INTEGER NOT NULL DEFAULT 0")
    book.execute("ALTER TABLE orders ADD COLUMN stop_price TEXT")
    book.execute("ALTER TABLE orders ADD COLUMN limit_price TEXT")
    held: dict[str, Decimal] = {}
    for row in book.execute("SELECT content FROM executions"):
        fill = execution_of(row["content"])
        held[fill.symbol] = held.get(fill.symbol, Decimal(0)) + fill.side.sign * fill.quantity
    book.executemany("INSERT INTO positions VALUES (?, ?)", [(name, str(count)) for name, count in held.items()])
