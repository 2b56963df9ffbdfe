"""The paper broker: a venue of its own, with its own durable book, that fills only against real bars.

Its book (`paper_book`) is a SQLite file apart from the ledger, so that the desk has to find out what happened after a
crash the way it would with any broker: by asking. An order can meet only bars of sessions after the one it was decided
in.
With full bars a market order fills at the open; with closes only, at the close. A limit order fills at the open where
that is no worse than its limit, else at its limit if the bar reaches it. A stop order waits until the bar reaches its
price: it then fills at the stop, or at the open if the price jumped over it. Of an order that may only reduce, no more
is filled than closes the position at this venue; the rest is cancelled.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path

from quant_dagster.accounting.books import Side
from quant_dagster.errors import OrderError
from quant_dagster.execution.broker import (
    BrokerAccount,
    BrokerOrder,
    Capabilities,
    Execution,
    OrderReport,
    ReportedStatus,
    SessionBar,
)
from quant_dagster.execution.brokers.paper_book import PaperBook, execution_of, order_type_of, position_of, report_of
from quant_dagster.execution.costs import commission, fill_price
from quant_dagster.execution.orders import Order
from quant_dagster.settings import ExecutionSettings


class PaperBroker:
    """A simulated venue with real prices.

    Parameters
    ----------
    path
        Its book, a SQLite file.
    costs
        Slippage, commission, participation cap.
    volume_required
        Refuse to fill when a bar has no volume; otherwise the participation check is reported as not evaluated.
    opening_cash
        What the account was opened with, in ``currency``.
    """

    name = "paper"
    capabilities = Capabilities(frozenset({"market", "limit", "stop"}), modifies=True, remote=False)

    def __init__(
        self,
        path: Path,
        costs: ExecutionSettings,
        *,
        volume_required: bool,
        opening_cash: Decimal = Decimal(0),
        currency: str = "USD",
    ) -> None:
        self.path = path
        self._book = PaperBook(path)
        self.opening_cash = opening_cash
        self.currency = currency
        self.costs = costs
        self.volume_required = volume_required

    def together(self) -> AbstractContextManager[None]:
        """Make one transaction of all that this thread does within; nothing of it is on the book before it ends."""
        return self._book.together()

    def reserve(self) -> str:
        """Orders go under their own id here."""
        return ""

    def submit(self, order: Order, broker_order_id: str = "") -> OrderReport:
        """Take an order onto the book; the same id again answers with where that order stands."""
        if order.quantity <= 0 or order.quantity != order.quantity.to_integral_value():
            return OrderReport(
                order.client_order_id,
                ReportedStatus.REJECTED,
                order.session,
                Decimal(0),
                "quantity must be whole shares",
            )
        with self._book.transaction() as book:
            book.execute(
                "INSERT OR IGNORE INTO orders VALUES (?, ?, ?, ?, ?, '0', ?, ?, ?, ?, '', ?, ?, ?)",
                (
                    order.client_order_id,
                    order.session.isoformat(),
                    order.symbol,
                    order.side.value,
                    str(order.quantity),
                    order.time_in_force,
                    str(order.decision_price),
                    ReportedStatus.WORKING.value,
                    order.session.isoformat(),
                    int(order.reduce_only),
                    None if order.stop_price is None else str(order.stop_price),
                    None if order.limit_price is None else str(order.limit_price),
                ),
            )
            row = book.execute("SELECT * FROM orders WHERE client_order_id = ?", (order.client_order_id,)).fetchone()
        if row is None:
            raise OrderError(f"paper broker lost order {order.client_order_id}: {self.path} is not a usable book")
        return report_of(row)

    def cancel(self, client_order_id: str, session: date) -> OrderReport | None:
        """Take a working order off the book; None if it was never seen. A finished one stays as it is."""
        with self._book.transaction() as book:
            book.execute(
                "UPDATE orders SET status = ?, session = ?, reason = 'cancel_requested'"
                " WHERE client_order_id = ? AND status = ?",
                (ReportedStatus.CANCELED.value, session.isoformat(), client_order_id, ReportedStatus.WORKING.value),
            )
        return self.find(client_order_id)

    def modify(self, order: Order, *, quantity: Decimal, limit_price: Decimal | None) -> OrderReport | None:
        """Change a working order, but never to less than was filled; None if it was never seen."""
        with self._book.transaction() as book:
            book.execute(
                "UPDATE orders SET quantity = ?, limit_price = COALESCE(?, limit_price)"
                " WHERE client_order_id = ? AND status = ? AND CAST(filled AS REAL) < ?",
                (
                    str(quantity),
                    None if limit_price is None else str(limit_price),
                    order.client_order_id,
                    ReportedStatus.WORKING.value,
                    float(quantity),
                ),
            )
        return self.find(order.client_order_id)

    def find(self, client_order_id: str) -> OrderReport | None:
        """Where an order stands; None if it was never seen."""
        reports = self.reports([client_order_id])
        return reports[0] if reports else None

    def reports(self, client_order_ids: Sequence[str]) -> list[OrderReport]:
        """Where these orders stand."""
        with self._book.transaction() as book:
            rows = [
                row
                for order_id in client_order_ids
                for row in book.execute("SELECT * FROM orders WHERE client_order_id = ?", (order_id,))
            ]
        return [report_of(row) for row in rows]

    def executions(self, client_order_ids: Sequence[str] | None = None) -> list[Execution]:
        """Executions of these orders (None: every one there was), oldest first."""
        with self._book.transaction() as book:
            if client_order_ids is None:
                rows = book.execute("SELECT number, content FROM executions").fetchall()
            else:
                query = "SELECT number, content FROM executions WHERE client_order_id = ?"
                rows = [row for order_id in client_order_ids for row in book.execute(query, (order_id,))]
        return [execution_of(row["content"]) for row in sorted(rows, key=lambda row: row["number"])]

    def open_orders(self) -> list[BrokerOrder]:
        """What is on the book and may still fill."""
        with self._book.transaction() as book:
            query = "SELECT * FROM orders WHERE status = ? ORDER BY decided, client_order_id"
            rows = book.execute(query, (ReportedStatus.WORKING.value,)).fetchall()
        return [
            BrokerOrder(
                broker_order_id=row["client_order_id"],
                client_order_id=row["client_order_id"],
                symbol=row["symbol"],
                side=Side(row["side"]),
                quantity=Decimal(row["quantity"]),
                filled_quantity=Decimal(row["filled"]),
                order_type=order_type_of(row),
                limit_price=None if row["limit_price"] is None else Decimal(row["limit_price"]),
            )
            for row in rows
        ]

    def account(self) -> BrokerAccount:
        """Positions, and the opening cash with what was traded since; it knows of no dividends."""
        with self._book.transaction() as book:
            positions = book.execute("SELECT * FROM positions ORDER BY symbol").fetchall()
            executions = book.execute("SELECT content FROM executions").fetchall()
        cash = self.opening_cash
        for one in (execution_of(row["content"]) for row in executions):
            cash -= one.side.sign * one.quantity * one.price + (one.commission or 0)
        held = {row["symbol"]: Decimal(row["quantity"]) for row in positions if Decimal(row["quantity"])}
        return BrokerAccount(self.name, self.currency, {self.currency: cash}, held)

    def split(self, symbol: str, change: Callable[[Decimal], Decimal], reference: str) -> None:
        """Change what is held of a symbol by a split, once per ``reference``: the venue's shares split as ours do."""
        with self._book.transaction() as book:
            held = position_of(book, symbol)
            new = book.execute(
                "INSERT OR IGNORE INTO splits VALUES (?, ?, ?)", (reference, symbol, str(change(held)))
            ).rowcount
            if new and held:
                book.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (symbol, str(change(held))))

    def trade_session(self, session: date, bars: Mapping[str, SessionBar]) -> None:
        """Let every working order decided before ``session`` meet its bar, once; all of it is one transaction."""
        day = session.isoformat()
        with self._book.transaction() as book:
            working = book.execute(
                # What waits for a price comes last: what trades at the open is over when the price gets there.
                "SELECT * FROM orders WHERE status = ? AND decided < ?"
                " ORDER BY stop_price IS NOT NULL OR limit_price IS NOT NULL, decided, client_order_id",
                (ReportedStatus.WORKING.value, day),
            ).fetchall()
            for row in working:
                seen = book.execute(
                    "INSERT OR IGNORE INTO sessions VALUES (?, ?)", (day, row["client_order_id"])
                ).rowcount
                if seen:
                    self._trade(book, row, session, bars.get(row["symbol"]))

    def _trade(self, book: sqlite3.Connection, row: sqlite3.Row, session: date, bar: SessionBar | None) -> None:
        remaining = Decimal(row["quantity"]) - Decimal(row["filled"])
        closes = self._closable(book, row)
        reason = "no_bar"
        if closes > 0 and bar is not None:
            reference = _reference(row, bar)
            if reference is None:
                reason = f"{order_type_of(row)}_not_reached"
            else:
                quantity, reason = self._fillable(min(remaining, closes), bar)
                if quantity > 0:
                    self._execute(book, row, session, bar, quantity, reference)
                    remaining -= quantity
                    closes -= quantity
        filled = Decimal(row["quantity"]) - remaining
        status = ReportedStatus.WORKING
        if remaining == 0:
            status, reason = ReportedStatus.FILLED, ""
        elif closes == 0:
            status, reason = ReportedStatus.CANCELED, "reduce_only:no_position"
        elif row["time_in_force"] == "day":
            status, reason = ReportedStatus.EXPIRED, f"day_order_expired:{reason}"
        book.execute(
            "UPDATE orders SET filled = ?, status = ?, session = ?, reason = ? WHERE client_order_id = ?",
            (str(filled), status.value, session.isoformat(), reason, row["client_order_id"]),
        )

    def _closable(self, book: sqlite3.Connection, row: sqlite3.Row) -> Decimal:
        """Shares that may be filled: what closes the position here for an order that may only reduce, else all."""
        quantity = Decimal(row["quantity"])
        if not row["reduce_only"]:
            return quantity
        held = position_of(book, row["symbol"]) * Side(row["side"]).sign
        return min(quantity, max(Decimal(0), -held))

    def _fillable(self, remaining: Decimal, bar: SessionBar) -> tuple[Decimal, str]:
        if bar.volume is None:
            return (Decimal(0), "volume_unknown") if self.volume_required else (remaining, "")
        cap = (Decimal(repr(bar.volume)) * Decimal(repr(self.costs.participation_cap))).to_integral_value(ROUND_FLOOR)
        return (remaining, "") if remaining <= cap else (cap, "participation_cap")

    def _execute(
        self,
        book: sqlite3.Connection,
        row: sqlite3.Row,
        session: date,
        bar: SessionBar,
        quantity: Decimal,
        reference: float,
    ) -> None:
        side = Side(row["side"])
        priced_at = "close" if bar.open is None else "open" if reference == bar.open else order_type_of(row)
        participation = float(quantity) / bar.volume if bar.volume else None
        price = fill_price(
            side, reference, participation, self.costs, low=bar.low, high=bar.high, tick_size=bar.tick_size
        )
        if row["limit_price"] is not None:
            price = (min if side is Side.BUY else max)(price, Decimal(row["limit_price"]))
        content = {
            "execution_id": hashlib.sha256(f"{row['client_order_id']}|{session}".encode()).hexdigest()[:24],
            "client_order_id": row["client_order_id"],
            "session": session.isoformat(),
            "symbol": row["symbol"],
            "side": side.value,
            "quantity": str(quantity),
            "price": str(price),
            "commission": str(commission(quantity, price, self.costs)),
            "decision_price": row["decision_price"],
            "reference_price": repr(reference),
            "provenance": {
                "broker": self.name,
                "priced_at": priced_at,
                "participation": "not_evaluated" if participation is None else participation,
                "bar": {
                    "symbol": bar.symbol,
                    "session": bar.session.isoformat(),
                    "vendor": bar.vendor,
                    "row_hash": bar.row_hash,
                    "lake_version": bar.lake_version,
                },
            },
        }
        book.execute(
            "INSERT INTO executions (execution_id, client_order_id, content) VALUES (?, ?, ?)",
            (content["execution_id"], row["client_order_id"], json.dumps(content)),
        )
        held = position_of(book, row["symbol"]) + side.sign * quantity
        book.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", (row["symbol"], str(held)))


def _reference(row: sqlite3.Row, bar: SessionBar) -> float | None:
    """The market's price for an order in a session; None: its limit or its stop was not reached."""
    first = bar.open if bar.open is not None else bar.close
    if row["limit_price"] is not None:
        limit, sign = float(row["limit_price"]), Side(row["side"]).sign
        best = bar.low if sign > 0 else bar.high
        if sign * (first - limit) <= 0:
            return first
        return limit if best is not None and sign * (best - limit) <= 0 else None
    if row["stop_price"] is None:
        return first
    stop, sign = float(row["stop_price"]), Side(row["side"]).sign
    if sign * (first - stop) >= 0:
        return first  # there already, or jumped over
    furthest = bar.high if sign > 0 else bar.low
    return stop if furthest is not None and sign * (furthest - stop) >= 0 else None
