"""The trading daemon in a thread of the test, against the loopback gateway, with orders that were approved before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.trading_daemon import TradingDaemon
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.algorithms import parent_log
from quant_dagster.execution.algorithms.parameters import Parameters
from quant_dagster.execution.algorithms.parents import Algorithm, ParentOrder
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.orders import Order, client_order_id
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.settings import load_settings

DECIDED, TRADING = date(2019, 2, 8), date(2019, 2, 11)
DURING = datetime(2019, 2, 11, 15, 0, tzinfo=UTC)
"""Half an hour after the open of the session that trades."""
CASH = Decimal(1_000_000)
PRICES = {"AAPL": Decimal("170.00"), "JPM": Decimal("99.80"), "KO": Decimal("49.60"), "MSFT": Decimal("105.50")}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Poll until something is true; what it was."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return found


class DaemonScene:
    """A desk, its daemon and what it said.

    Parameters
    ----------
    home
        Where its ledger is; the rest is under ``QUANT_HOME``.
    execution
        Settings under ``execution`` beside the gateway's address.
    """

    def __init__(self, home: Path, gateway: Gateway, **execution: Any) -> None:
        self.gateway = gateway
        quick = {
            "heartbeat_seconds": 0.5, "answer_seconds": 2.0, "connect_seconds": 10.0, "backoff_first_seconds": 0.05,
            "backoff_longest_seconds": 0.2,
        }  # fmt: skip
        given = dict(execution)
        ibkr = {"port": gateway.port} | given.pop("ibkr", {})
        connection = quick | given.pop("connection", {})
        settings = load_settings(
            {
                "storage": {"ledger_url": f"sqlite:///{home}/ledger.db"},
                "execution": {"broker": "ibkr", "clock": "broker", "ibkr": ibkr, "connection": connection, **given},
            }
        )
        self.context = TradingContext(settings)
        self.ledger = self.context.ledger
        self.lines: list[str] = []
        self.context.open_ledger()
        with self.ledger.write() as connection_:
            books.deposit(connection_, CASH, session=DECIDED, at=self.ledger.now(), reference="opening")
        self.daemon: TradingDaemon | None = None
        self._thread: threading.Thread | None = None
        self.error: BaseException | None = None

    def approve(
        self,
        symbol: str,
        quantity: int,
        *,
        side: Side = Side.BUY,
        name: str = "",
        limit: str | None = None,
        order_type: str = "limit",
        session: date = DECIDED,
    ) -> str:
        """An approved order, as a cycle would have left it."""
        order_id = client_order_id("scene", session, symbol, name or f"{side}:{quantity}")
        intent = OrderIntent(
            order_id, None, "scene", session, symbol, side, Decimal(quantity), PRICES[symbol], origin=Origin.COMMAND
        )
        verdict = RiskDecision(intent, Outcome.APPROVED, Decimal(quantity), (), (), reduce_only=False)
        with self.ledger.write() as connection:
            at = self.ledger.now()
            verdicts.record(connection, verdict, cycle_id=None, at=at)
            order_log.create(
                connection, verdict, order_type=order_type, time_in_force="day", at=at,
                limit_price=None if limit is None else Decimal(limit),
            )  # fmt: skip
        return order_id

    def approve_parent(self, symbol: str, quantity: int) -> str:
        """An approved order that TWAP is to work."""
        order_id = client_order_id("scene", DECIDED, symbol, f"twap:{quantity}")
        intent = OrderIntent(order_id, None, "scene", DECIDED, symbol, Side.BUY, Decimal(quantity), PRICES[symbol])
        verdict = RiskDecision(intent, Outcome.APPROVED, Decimal(quantity), (), (), reduce_only=False)
        settings = self.context.settings.execution.algorithms
        parameters = Parameters.chosen(Algorithm.TWAP, settings, lot=Decimal(1))
        with self.ledger.write() as connection:
            at = self.ledger.now()
            parent_log.create(connection, verdict, algorithm=Algorithm.TWAP, parameters=parameters, at=at)
        return order_id

    def parent(self, parent_id: str) -> ParentOrder:
        """An algorithm's order as the ledger has it."""
        with self.ledger.read() as connection:
            return parent_log.get(connection, parent_id)

    def start(self, **options: Any) -> TradingDaemon:
        """Let a daemon work; it is stopped at the end of the scene."""
        self.daemon = TradingDaemon(self.context, say=self.lines.append, **options)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self.daemon

    def stop(self, reason: str = "the test is over") -> None:
        """Stop it and wait until it has."""
        if self.daemon is not None and self._thread is not None:
            self.daemon.stop(reason)
            self._thread.join(30)
            assert not self._thread.is_alive(), f"it does not stop: {self.lines[-5:]}"

    def _run(self) -> None:
        assert self.daemon is not None
        try:
            self.daemon.run()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def __enter__(self) -> DaemonScene:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
        if exc[0] is None and self.error is not None:
            raise self.error

    def order(self, order_id: str) -> Order:
        """An order as the ledger has it."""
        with self.ledger.read() as connection:
            return order_log.get(connection, order_id)

    def until(self, order_id: str, status: str, seconds: float = 15.0) -> Order:
        """Wait until an order has got somewhere."""
        wait_for(
            lambda: self.order(order_id).status == status or self.error, f"{order_id} {status}: {self.lines}", seconds
        )
        if self.error is not None:
            raise self.error
        return self.order(order_id)

    def heard(self, part: str, seconds: float = 15.0) -> str:
        """Wait until the daemon has said something."""
        return str(wait_for(lambda: next((line for line in self.lines if part in line), None),
                            f"'{part}' in {self.lines} {self.error}", seconds))  # fmt: skip


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A gateway whose orders fill when the test says so."""
    with Gateway(prices=PRICES, start=DURING, cash=CASH, fills_at_once=False) as started:
        yield started


@pytest.fixture
def scene(gateway: Gateway, tmp_path: Path) -> Iterator[DaemonScene]:
    """A desk at that gateway; no daemon runs before the test starts one."""
    with DaemonScene(tmp_path, gateway) as made:
        yield made
