"""Everything that can go wrong between a desk and its broker, from a seed: the daemon is killed, the line is cut, falls
silent and lies about the order of things, executions are partial, corrected and taken back.

The gateway runs in this process and is the truth; the trading daemon is ``quant trade`` in a process of its own.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

from quant_dagster.accounting import books
from quant_dagster.accounting.books import Side
from quant_dagster.execution import order_log, verdicts
from quant_dagster.execution.gateway.faults import FaultPlan
from quant_dagster.execution.gateway.gateway import Gateway
from quant_dagster.execution.gateway.market import RunningClock
from quant_dagster.execution.orders import client_order_id
from quant_dagster.observability import audit
from quant_dagster.operations.verification import verify_ledger
from quant_dagster.risk.gate import OrderIntent, Origin, Outcome, RiskDecision
from quant_dagster.storage.ledger import Ledger

DECIDED, TRADING = date(2019, 2, 8), date(2019, 2, 11)
START = datetime(2019, 2, 11, 14, 40, tzinfo=UTC)
PRICES = {"AAPL": "170.00", "BAC": "28.40", "JPM": "99.80", "KO": "49.60", "MSFT": "105.50"}
CASH = Decimal(500_000_000)
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Chaos:
    """What one run came to."""

    seed: int
    intents: int
    kills: int = 0
    cuts: int = 0
    silences: int = 0
    outages: int = 0
    corrections: int = 0
    busts: int = 0
    executions: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    output: str = ""

    def summary(self) -> str:
        """One line."""
        return (
            f"seed {self.seed}: {self.intents} intents, {self.executions} executions, {self.kills} kills,"
            f" {self.cuts} cuts, {self.silences} silences, {self.outages} outages, {self.corrections} corrections,"
            f" {self.busts} busts,"
            f" {self.seconds:.0f} s, {len(self.problems)} problems"
        )


class Storm:
    """One run.

    Parameters
    ----------
    home
        An empty folder.
    per_second
        Messages a second the daemon may send; the broker allows 50.
    kills, troubles
        How often the daemon is killed, and how much goes wrong in all, beside what the line does by itself.
    """

    def __init__(
        self, home: Path, seed: int, intents: int, *, per_second: int = 50, kills: int = 6, troubles: int = 25
    ) -> None:
        self.home = home
        self.chance = random.Random(seed)
        self.result = Chaos(seed, intents)
        self.kills_wanted = kills
        self.troubles = self.troubles_left = troubles
        self.ledger = Ledger(f"sqlite:///{home}/ledger.db")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("QUANT_")} | {
            "QUANT_HOME": str(home),
            "QUANT_EXECUTION__BROKER": "ibkr",
            "QUANT_EXECUTION__CLOCK": "broker",
            "QUANT_EXECUTION__IBKR__MESSAGES_PER_SECOND": str(per_second),
            "QUANT_EXECUTION__DEADLINE_SECONDS": "36000",
            "QUANT_EXECUTION__CONNECTION__HEARTBEAT_SECONDS": "1.5",
            "QUANT_EXECUTION__CONNECTION__ANSWER_SECONDS": "3",
            "QUANT_EXECUTION__CONNECTION__CONNECT_SECONDS": "4",
            "QUANT_EXECUTION__CONNECTION__BACKOFF_FIRST_SECONDS": "0.1",
            "QUANT_EXECUTION__CONNECTION__BACKOFF_LONGEST_SECONDS": "0.5",
            "QUANT_PORTFOLIO__INITIAL_CASH": str(CASH),
            "PYTHONPATH": str(ROOT),
        }
        self.log = home / "daemon.log"
        self.daemon: subprocess.Popen[bytes] | None = None

    def run(self, seconds: float = 300.0) -> Chaos:
        """Approve the intents, let everything go wrong until all are done, then compare."""
        began = time.monotonic()
        self._approve()
        plan = FaultPlan(
            seed=self.result.seed,
            delay=(0.0, 0.0004),
            duplicate=0.05,
            reorder=0.05,
            cut_after_received=(10_000, 120_000),
            cut_share=0.5,
            commission_never=0.05,
            fill_before_acknowledgement=0.1,
        )
        clock = RunningClock(START, 1.0)
        prices = {symbol: Decimal(price) for symbol, price in PRICES.items()}
        with Gateway(prices=prices, clock=clock, cash=CASH, leverage=Decimal(50), faults=plan) as gateway:
            self.environment["QUANT_EXECUTION__IBKR__PORT"] = str(gateway.port)
            self._start()
            try:
                self._until_done(gateway, began + seconds)
                gateway.change_faults(FaultPlan())
                self._settle(gateway, time.monotonic() + 60)
            finally:
                self._stop()
            self._compare(gateway)
        self.result.seconds = time.monotonic() - began
        self.result.output = self.log.read_text()
        return self.result

    # -- the desk -----------------------------------------------------------------------------------------------------

    def _approve(self) -> None:
        self.ledger.upgrade()
        with self.ledger.write() as connection:
            at = self.ledger.now()
            books.deposit(connection, CASH, session=DECIDED, at=at, reference="opening")
            for number in range(self.result.intents):
                symbol = self.chance.choice(sorted(PRICES))
                side = Side.BUY if self.chance.random() < 0.6 else Side.SELL
                quantity = Decimal(self.chance.randint(1, 300))
                price = Decimal(PRICES[symbol])
                intent = OrderIntent(
                    client_order_id("chaos", DECIDED, symbol, str(number)), None, "chaos", DECIDED, symbol, side,
                    quantity, price, origin=Origin.COMMAND,
                )  # fmt: skip
                verdict = RiskDecision(intent, Outcome.APPROVED, quantity, (), (), reduce_only=False)
                verdicts.record(connection, verdict, cycle_id=None, at=at)
                order_log.create(
                    connection, verdict, order_type="limit", time_in_force="day", at=at, limit_price=price
                )  # fmt: skip

    def _start(self) -> None:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "quant_dagster.cli.main", "trade", "--keep-orders"]
            self.daemon = subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)

    def _kill(self) -> None:
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        self.result.kills += 1
        self._start()

    def _stop(self) -> None:
        assert self.daemon is not None
        self.daemon.terminate()
        try:
            self.daemon.wait(40)
        except subprocess.TimeoutExpired:
            self.daemon.kill()
            self.result.problems.append("the daemon did not stop at SIGTERM")

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    def _until_done(self, gateway: Gateway, deadline: float) -> None:
        next_trouble = time.monotonic() + 3.0
        while time.monotonic() < deadline:
            done = self._fill_some(gateway)
            assert self.daemon is not None
            if self.daemon.poll() is not None:
                self.result.problems.append(f"the daemon ended by itself with {self.daemon.returncode}")
                return
            # Spread over the orders as well as over time: a fast machine gets no fewer of them.
            due = (self.troubles - self.troubles_left + 1) * self.result.intents / (self.troubles + 1)
            if self.troubles_left and (time.monotonic() >= next_trouble or done >= due):
                self.troubles_left -= 1
                self._trouble(gateway)
                next_trouble = time.monotonic() + self.chance.uniform(0.5, 3.0)
            if done >= self.result.intents:
                return
            time.sleep(0.05)
        self.result.problems.append("not every intent was filled in time")

    def _fill_some(self, gateway: Gateway) -> int:
        """Fill working orders, in one to three parts; returns how many are filled whole."""
        finished = 0
        for one in gateway.orders():
            if one.state.is_final:
                finished += 1
                continue
            if one.state.value not in ("Submitted", "PreSubmitted") or self.chance.random() < 0.3:
                continue
            left = one.remaining
            part = left if left < 3 or self.chance.random() < 0.5 else Decimal(self.chance.randint(1, int(left) - 1))
            tick = Decimal("0.01") * self.chance.randint(0, 5)
            gateway.fill(one.ticket.order_ref, part, one.ticket.limit - one.ticket.side.sign * tick)
        return finished

    def _trouble(self, gateway: Gateway) -> None:
        kind = self.chance.random()
        left = self.kills_wanted - self.result.kills
        if left and (kind < 0.2 or left >= self.troubles_left):
            self._kill()
        elif kind < 0.4:
            self.result.cuts += 1
            gateway.disconnect_all()
        elif kind < 0.5:
            self.result.silences += 1
            gateway.go_silent(True)
            time.sleep(self.chance.uniform(0.1, 1.0))
            gateway.go_silent(False)
        elif kind < 0.6:
            self.result.outages += 1
            gateway.upstream_lost()
            for _ in range(3):
                self._fill_some(gateway)
                time.sleep(0.1)
            gateway.upstream_restored(data_lost=self.chance.random() < 0.5)
        elif kind < 0.9 and (standing := gateway.standing_executions()):
            one = self.chance.choice(standing)
            if self.chance.random() < 0.2:
                self.result.busts += 1
                gateway.bust(one.exec_id)
            else:
                self.result.corrections += 1
                gateway.correct(one.exec_id, price=one.price - Decimal("0.01"))

    # -- the end ------------------------------------------------------------------------------------------------------

    def _settle(self, gateway: Gateway, deadline: float) -> None:
        """Wait until the desk knows everything; the line is good now."""
        gateway.disconnect_all()
        while time.monotonic() < deadline:
            if not self._differences(gateway):
                return
            time.sleep(0.25)

    def _differences(self, gateway: Gateway) -> list[str]:
        with self.ledger.read() as connection:
            booked = {one.execution_id: one for one in books.fills_of(connection)}
            working = order_log.with_status(connection, order_log.OPEN)
        theirs = {one.exec_id.rpartition(".")[0]: one for one in gateway.standing_executions()}
        found = [f"order {one.client_order_id} is still {one.status}" for one in working]
        for key in sorted(set(theirs) | {name for name, one in booked.items() if one.quantity}):
            one, other = booked.get(key), theirs.get(key)
            if one is None or other is None:
                found.append(f"execution {key}: booked {one is not None}, at the broker {other is not None}")
            elif (one.quantity, one.price) != (other.quantity, other.price):
                found.append(
                    f"execution {key}: {one.quantity} at {one.price}, theirs {other.quantity} at {other.price}"
                )
            elif one.commission != other.commission:
                found.append(f"execution {key}: commission {one.commission}, theirs {other.commission}")
        return found

    def _compare(self, gateway: Gateway) -> None:
        result = self.result
        result.executions = len(gateway.standing_executions())
        result.problems += self._differences(gateway)
        references = Counter(one.ticket.order_ref for one in gateway.orders())
        twice = [name for name, count in references.items() if count > 1]
        result.problems += [f"order {name} was made {references[name]} times at the broker" for name in twice]
        with self.ledger.read() as connection:
            intents = {one.client_order_id for one in order_log.with_status(connection, tuple(order_log.OrderStatus))}
            balances = books.balances(connection)
        if set(references) != intents:
            result.problems.append(f"{len(intents - set(references))} intents never arrived")
        held = {symbol: one.quantity for symbol, one in balances.holdings.items() if one.quantity}
        theirs = {one.symbol: one.quantity for one in gateway.positions() if one.quantity}
        if held != theirs:
            result.problems.append(f"positions: the books say {held}, the broker {theirs}")
        if balances.cash != gateway.cash():
            result.problems.append(f"cash: the books say {balances.cash}, the broker {gateway.cash()}")
        result.problems += verify_ledger(self.ledger).problems
        result.problems += audit.verify(self.ledger).problems
