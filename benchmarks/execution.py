"""Execution: approved orders on the wire and through the paper broker, what a reconnect costs, and the pace of sending.

    python benchmarks/execution.py [latency] [paper] [sync] [throughput] [--orders 400]

Each part has a ledger of its own in a temporary folder (SQLite, synchronous=FULL). The broker is the loopback gateway
in a process of its own; when a message came is its monotonic clock, which is the machine's. Prices are of a script and
stand still, but ``paper`` fills at real opens of us_daily_yahoo_2014_2024.parquet (../shared/data, or the folder
QUANT_TEST_DATA names). The reference of latency is ``ib_insync.IB.placeOrder`` with nothing written down. Rebuilding
orders from their events is measured by ``benchmarks/books.py``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.accounting import books  # noqa: E402
from quant_dagster.accounting.books import Side  # noqa: E402
from quant_dagster.cycle.context import TradingContext  # noqa: E402
from quant_dagster.execution import order_log, verdicts  # noqa: E402
from quant_dagster.execution.broker import RemoteBroker, SessionBar  # noqa: E402
from quant_dagster.execution.desk import ExecutionDesk  # noqa: E402
from quant_dagster.execution.gateway.gateway import Gateway  # noqa: E402
from quant_dagster.execution.gateway.records import Ticket  # noqa: E402
from quant_dagster.execution.orders import OrderEvent, OrderEventKind, OrderStatus, client_order_id  # noqa: E402
from quant_dagster.execution.pricing import as_approved  # noqa: E402
from quant_dagster.observability import audit  # noqa: E402
from quant_dagster.operations.verification import verify_ledger  # noqa: E402
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision  # noqa: E402
from quant_dagster.risk.permission import read_permission  # noqa: E402
from quant_dagster.settings import load_settings  # noqa: E402
from quant_dagster.storage.ledger import Ledger  # noqa: E402
from tests.support.tws_gateway import InsyncClient  # noqa: E402

DECIDED, TRADING = date(2024, 1, 2), date(2024, 1, 3)
DURING = datetime(2024, 1, 3, 15, 0, tzinfo=UTC)
CASH = Decimal(10_000_000_000)
PRICES = {f"S{n:03d}": Decimal(50 + n) for n in range(50)}
CLIENT = 1
SPACING = 0.05
"""Seconds between orders: 20 a second, below the 30 that pacing lets through."""
NO_PACING = 1_000_000


# -- the gateway, in a process of its own -----------------------------------------------------------------------------


def serve(pipe: Pipe) -> None:
    """Run a gateway and answer what the benchmark asks of it."""
    with Gateway(prices=PRICES, start=DURING, cash=CASH, leverage=Decimal(1000)) as gateway:
        pipe.send(gateway.port)
        while (asked := pipe.recv())[0] != "stop":
            if asked[0] == "received":
                pipe.send([(one.at, one.fields) for one in gateway.messages_received() if one.fields[0] == "3"])
            else:  # "executed": orders of ours, each filled whole
                for number, (name, symbol, quantity) in enumerate(asked[1], 1):
                    price = PRICES[symbol]
                    ticket = Ticket(CLIENT, number, symbol, Side.BUY, quantity, "LMT", limit=price, order_ref=name)
                    gateway._do(lambda t=ticket: gateway._venue.place(t, gateway.clock.now()))
                    gateway.fill(name, quantity, price)
                pipe.send(len(gateway.standing_executions()))


class FarGateway:
    """The gateway's process, from here."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        self._process.start()
        self.host, self.port = "127.0.0.1", int(self._pipe.recv())

    def arrivals(self) -> dict[str, float]:
        """When each order first came, by its reference."""
        self._pipe.send(("received",))
        found: dict[str, float] = {}
        for at, fields in self._pipe.recv():
            for name in fields:
                if name.startswith(("q", "bare")) and len(name) > 5:
                    found.setdefault(name, at)
        return found

    def execute(self, orders: Sequence[tuple[str, str, Decimal]]) -> int:
        """Put orders there that were filled."""
        self._pipe.send(("executed", list(orders)))
        return int(self._pipe.recv())

    def stop(self) -> None:
        self._pipe.send(("stop",))
        self._process.join(20)


@contextmanager
def far_gateway() -> Iterator[FarGateway]:
    gateway = FarGateway()
    try:
        yield gateway
    finally:
        gateway.stop()


# -- the desk ---------------------------------------------------------------------------------------------------------


@contextmanager
def trading(gateway: FarGateway | None, per_second: int = 30) -> Iterator[TradingContext]:
    """A desk in a folder of its own; without a gateway on the paper broker."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QUANT_HOME"] = folder
        given: dict[str, Any] = {"broker": "paper"}
        if gateway is not None:
            given = {"broker": "ibkr", "clock": "broker", "ibkr": {"port": gateway.port, "client_id": CLIENT}}
        settings = load_settings({"execution": given, "portfolio": {"initial_cash": float(CASH)}})
        # Not through the settings' validation: the broker's limit of 50 a second is lifted where that is wanted.
        ibkr = settings.execution.ibkr.model_copy(update={"messages_per_second": per_second})
        settings = settings.model_copy(update={"execution": settings.execution.model_copy(update={"ibkr": ibkr})})
        context = TradingContext(settings)
        context.open_ledger()
        yield context
        if isinstance(context.broker, RemoteBroker):
            context.broker.close()
        context.ledger.close()


def approve(
    ledger: Ledger,
    names: Sequence[str],
    symbols: Sequence[str],
    quantity: Decimal,
    prices: Sequence[Decimal],
    kind: str,
) -> list[str]:
    """Approved orders, as a cycle would have left them."""
    made = []
    with ledger.write() as connection:
        at = ledger.now()
        for name, symbol, price in zip(names, symbols, prices, strict=True):
            order_id = client_order_id("benchmark", DECIDED, symbol, name)
            intent = OrderIntent(
                order_id, None, "benchmark", DECIDED, symbol, Side.BUY, quantity, price, origin=Origin.COMMAND
            )
            verdict = RiskDecision(intent, Outcome.APPROVED, quantity, (), (), reduce_only=False)
            verdicts.record(connection, verdict, cycle_id=None, at=at)
            limit = price if kind == "limit" else None
            order_log.create(connection, verdict, order_type=kind, time_in_force="day", at=at, limit_price=limit)
            made.append(order_id)
    return made


def approve_numbered(ledger: Ledger, first: int, count: int) -> list[str]:
    """Approved limit orders of the scripted symbols, one after the other."""
    symbols = [f"S{n % len(PRICES):03d}" for n in range(first, first + count)]
    names = [str(n) for n in range(first, first + count)]
    return approve(ledger, names, symbols, Decimal(100), [PRICES[s] for s in symbols], "limit")


def plain_desk(context: TradingContext) -> ExecutionDesk:
    """The desk with limits as they were approved: no quote is asked for."""
    return ExecutionDesk(
        context.ledger, context.broker, lease_seconds=600, pricing=as_approved,
        mode=lambda: read_permission(context.ledger, context.settings, context.home).mode,
    )  # fmt: skip


def broker_of(context: TradingContext) -> RemoteBroker:
    assert isinstance(context.broker, RemoteBroker)
    return context.broker


def said(what: str, seconds: Sequence[float], target: str = "") -> None:
    low, middle, high = np.percentile(np.asarray(seconds) * 1e3, [1, 50, 99])
    print(f"{what:66} {middle:7.2f} ms, p99 {high:6.2f}, p1 {low:5.2f}  (n = {len(seconds)}){target}", flush=True)


# -- 1: latency -------------------------------------------------------------------------------------------------------


def one_by_one(
    context: TradingContext, desk: ExecutionDesk, count: int, spacing: float
) -> dict[str, tuple[float, float]]:
    """Approve an order, send it, listen; when it was looked for and when that returned."""
    broker, began = broker_of(context), {}
    with desk.leased():
        broker.open()
        broker.prepare(sorted(PRICES))
        desk.sync(TRADING)
        for number in range(count):
            until = time.monotonic() + spacing
            (order_id,) = approve_numbered(context.ledger, number, 1)
            begin = time.monotonic()
            desk.submit(DECIDED)
            began[order_id] = (begin, time.monotonic())
            while time.monotonic() < until or desk.unanswered:
                desk.absorb(broker.changes(max(0.0, min(0.01, until - time.monotonic()))))
    return began


def bare(gateway: FarGateway, count: int, spacing: float) -> list[float]:
    """The library alone, from its own thread: an order object, ``placeOrder``, and nothing remembered."""
    import ib_insync

    began: dict[str, float] = {}
    with InsyncClient() as client:
        client.connect(gateway, client_id=CLIENT + 1)
        contracts = client.ask(
            lambda: client.ib.qualifyContractsAsync(*[ib_insync.Stock(s, "SMART", "USD") for s in sorted(PRICES)]), 60
        )

        def place(name: str, contract: Any) -> None:
            limit = float(PRICES[contract.symbol])
            client.ib.placeOrder(contract, ib_insync.LimitOrder("BUY", 100, limit, orderRef=name, tif="DAY"))

        for number in range(count):
            name, contract = f"bare-{number:06d}", contracts[number % len(contracts)]
            began[name] = time.monotonic()
            client.do(lambda name=name, contract=contract: place(name, contract))
            time.sleep(spacing)
        time.sleep(0.2)
        arrived = gateway.arrivals()
    return [arrived[name] - at for name, at in began.items()]


def to_the_wire(gateway: FarGateway, began: dict[str, tuple[float, float]]) -> list[float]:
    arrived = gateway.arrivals()
    return [arrived[name] - begin for name, (begin, _) in began.items()]


def commits(count: int) -> list[float]:
    """What the disk asks for one transaction of one row."""
    spent = []
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        ledger.upgrade()
        for number in range(count):
            begin = time.monotonic()
            with ledger.write() as connection:
                audit.append(connection, f"benchmark:{number}", "benchmark", actor="benchmark", at=ledger.now())
            spent.append(time.monotonic() - begin)
        ledger.close()
    return spent


def latency(count: int) -> None:
    said("one audit row, durable", commits(count))
    with far_gateway() as gateway:
        with trading(gateway) as context:
            began = one_by_one(context, plain_desk(context), count, SPACING)
            ours = to_the_wire(gateway, began)
        said("approved order to the gateway's socket, limit given", ours, "  target 3, 15")
        said("  until the desk goes on", [after - begin for begin, after in began.values()])
        alone = bare(gateway, count, SPACING)
        said("placeOrder of ib_insync to the gateway's socket", alone)
        print(f"  what the ledger, the verdict and the mode cost: {np.median(ours) / np.median(alone):.1f} times")
    with far_gateway() as gateway, trading(gateway) as context:
        began = one_by_one(context, context.desk, count // 2, 2.5 * SPACING)
        said("the same, priced at a quote that is asked for", to_the_wire(gateway, began))


# -- 2: the paper broker ----------------------------------------------------------------------------------------------


def real_bars(count: int) -> dict[str, SessionBar]:
    import polars as pl

    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    rows = pl.read_parquet(folder / "us_daily_yahoo_2014_2024.parquet").filter(pl.col("date") == TRADING)
    return {
        row["symbol"]: SessionBar(
            row["symbol"], TRADING, row["open"], row["high"], row["low"], row["close"], float(row["volume"]), "yahoo",
            f"{row['symbol']}:{TRADING}", 0,
        )
        for row in rows.sort("symbol").head(count).iter_rows(named=True)
    }  # fmt: skip


def paper(count: int = 500) -> None:
    bars = real_bars(count)
    with trading(None) as context:
        symbols = [sorted(bars)[n % len(bars)] for n in range(count)]
        prices = [Decimal(str(round(bars[s].close, 2))) for s in symbols]
        approve(context.ledger, [str(n) for n in range(count)], symbols, Decimal(100), prices, "market")
        desk = plain_desk(context)
        begin = time.perf_counter()
        with desk.leased():
            sent = desk.submit(DECIDED).sent
            middle = time.perf_counter()
            fills = desk.settle(TRADING, bars).fills
        end = time.perf_counter()
        assert sent == fills == count, (sent, fills)
        assert verify_ledger(context.ledger).problems == ()
    print(f"{count} approved orders through the paper broker and the books: {end - begin:.2f} s (target 2): "
          f"sent {middle - begin:.2f}, filled and booked {end - middle:.2f}", flush=True)  # fmt: skip


# -- 3: sync ----------------------------------------------------------------------------------------------------------


def accepted(ledger: Ledger, count: int) -> list[tuple[str, str, Decimal]]:
    """Orders that were sent and acknowledged, and then nothing was heard."""
    made = approve_numbered(ledger, 0, count)
    with ledger.write() as connection:
        chain = audit.Buffer(connection)
        recorder = order_log.Recorder(connection, chain, ledger.now())
        recorder.expect(made)
        for number, name in enumerate(made, 1):
            sent = {"broker": "ibkr", "broker_order_id": str(number), "sent_at": DURING.isoformat()}
            recorder.record(OrderEvent(name, OrderEventKind.SUBMITTING, DECIDED, sent), actor="desk")
            recorder.record(OrderEvent(name, OrderEventKind.ACCEPTED, DECIDED, {"broker": "ibkr"}), actor="broker")
        recorder.flush()
        chain.flush()
        return [(name, order_log.get(connection, name).symbol, Decimal(100)) for name in made]


def sync(count: int = 2600) -> None:
    with far_gateway() as gateway, trading(gateway) as context:
        desk, broker = plain_desk(context), broker_of(context)
        there = gateway.execute(accepted(context.ledger, count))
        with desk.leased():
            for what, expected in (("all new to the ledger", count), ("all booked already", 0)):
                begin = time.perf_counter()
                broker.open()
                middle = time.perf_counter()
                done = desk.sync(TRADING)
                end = time.perf_counter()
                assert done.booked.new == expected, done
                print(f"reconnect and sync, {there} executions, {what}: {end - begin:.2f} s (target 2): connected and "
                      f"told {middle - begin:.2f}, ledger {end - middle:.2f}", flush=True)  # fmt: skip
                broker.close()
        with context.ledger.read() as connection:
            assert len(books.fills_of(connection)) == count
            assert not order_log.with_status(connection, order_log.OPEN)


# -- 5: throughput ----------------------------------------------------------------------------------------------------


def throughput(count: int) -> None:
    for per_second in (30, 50, NO_PACING):
        number = count if per_second == NO_PACING else 4 * per_second
        with far_gateway() as gateway, trading(gateway, per_second) as context:
            desk, broker = plain_desk(context), broker_of(context)
            made = approve_numbered(context.ledger, 0, number)
            with desk.leased():
                broker.open()
                broker.prepare(sorted(PRICES))
                desk.sync(TRADING)
                time.sleep(1.2)  # what connecting sent is out of the window
                begin = time.monotonic()
                desk.submit(DECIDED)
                returned = time.monotonic()
                while desk.unanswered:
                    desk.absorb(broker.changes(0.05))
                end = time.monotonic()
                with context.ledger.read() as connection:
                    waiting = order_log.with_status(connection, (OrderStatus.SUBMITTING, OrderStatus.APPROVED))
                assert not waiting
            arrived = gateway.arrivals()
            at = np.sort([arrived[name] for name in made])
            busiest = max(int(np.searchsorted(at, t + 1.0, side="left")) - n for n, t in enumerate(at))
            # What a window lets through at once is no pace: it counts from where the first window is full.
            first = 0 if per_second == NO_PACING else per_second - 1
            rate = (number - 1 - first) / (at[-1] - at[first])
            limit = "no pacing" if per_second == NO_PACING else f"{per_second} messages a second allowed"
            print(f"{limit}: {number} orders arrive at {rate:.1f} a second, at most {busiest} in any second; desk done "
                  f"after {returned - begin:.2f} s, all acknowledged after {end - begin:.2f}", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts: dict[str, Callable[[int], None]] = {
        "latency": latency, "paper": lambda _: paper(), "sync": lambda _: sync(), "throughput": throughput,
    }  # fmt: skip
    parser.add_argument("parts", nargs="*", choices=[[], *parts], help="default: all")
    parser.add_argument("--orders", type=int, default=400)
    chosen = parser.parse_args()
    for name in chosen.parts or parts:
        parts[name](chosen.orders)


if __name__ == "__main__":
    main()
