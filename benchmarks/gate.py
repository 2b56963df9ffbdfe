"""The pre-trade gate on 498 real stocks: nanoseconds an order, and its decisions beside a readable gate's.

    python benchmarks/gate.py [--orders 100000] [--sessions 200]

Reads ../shared/data/us_daily_yahoo_2014_2024.parquet, or that file in QUANT_TEST_DATA. Each session opens a gate on
real closes, volumes and sectors-by-hash with 250 real scenarios, over the account that the session before left; seeded
random orders are checked and what is approved fills before the next session. The readable gate is
``tests/unit/risk/gate/reference.py``: objects, everything recomputed for each order. Times are of the compiled gate
alone: one order through every numeric check with exact CVaR and its commitment; the same through `Gate.check` with its
`RiskDecision`; and many at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from quant_dagster.accounting.books import Side  # noqa: E402
from quant_dagster.market_data.panel import Panel  # noqa: E402
from quant_dagster.risk.control import ControlMode  # noqa: E402
from quant_dagster.risk.gate import (  # noqa: E402
    MarketFacts,
    OrderIntent,
    Outcome,
    PortfolioView,
    Verdict,
    commitment,
    kernel,
)
from quant_dagster.risk.gate import checks as at  # noqa: E402
from quant_dagster.risk.gate.gate import Gate  # noqa: E402
from quant_dagster.settings import RiskSettings  # noqa: E402
from tests.unit.risk.gate.accounts import counterpart  # noqa: E402

SCENARIOS = 250
LIMITS = RiskSettings(
    max_symbol_weight=0.02, max_sector_weight=0.15, max_gross_leverage=1.5, max_net_leverage=0.8,
    max_turnover_per_session=0.6, cvar_limit=0.014, max_concentration=0.01, max_participation=0.0005,
    max_liquidation_sessions=2.0, max_counterparty_exposure=1.2, account_type="margin",
)  # fmt: skip


def load() -> Panel:
    folder = Path(os.environ.get("QUANT_TEST_DATA", PROJECT / ".." / "shared" / "data"))
    bars = pl.read_parquet(folder / "us_daily_yahoo_2014_2024.parquet")
    return Panel.from_bars(bars.rename({"date": "session"}).with_columns(pl.col("symbol").cast(pl.String)))


def facts(panel: Panel, row: int) -> dict[str, MarketFacts]:
    """What was known of every stock with two closes, at one session."""
    found = {}
    day = panel.sessions[row].astype(object)
    volumes = np.nanmean(
        np.where(np.isfinite(panel.volume[row - 19 : row + 1]), panel.volume[row - 19 : row + 1], 0), 0
    )
    for i, symbol in enumerate(panel.symbols):
        price, before = panel.close[row, i], panel.close[row - 1, i]
        if np.isfinite(price) and np.isfinite(before):
            sector = f"sector{sum(map(ord, symbol)) % 11}"
            found[symbol] = MarketFacts(float(price), day, float(before), float(volumes[i]) or None, sector)
    return found


def open_gate(panel: Panel, row: int, held: dict[str, float], cash: float) -> Gate:
    known = facts(panel, row)
    held = {s: q for s, q in held.items() if s in known}
    equity = cash + sum(q * known[s].price for s, q in held.items())
    with np.errstate(invalid="ignore"):
        returns = panel.close[row - SCENARIOS + 1 : row + 1] / panel.close[row - SCENARIOS : row] - 1
    return Gate(
        limits=LIMITS, mode=ControlMode.NORMAL, session=panel.sessions[row].astype(object),
        sessions_since={panel.sessions[row].astype(object): 0}, facts=known,
        portfolio=PortfolioView(cash=cash, equity=equity, held=held), scenario_returns=returns,
        scenario_symbols=panel.symbols, allow_short=True, volume_required=True,
    )  # fmt: skip


def orders(gate: Gate, count: int, rng: np.random.Generator) -> list[OrderIntent]:
    """Random orders of random size, half of them in names that are held."""
    names = sorted(gate.facts)
    held = [s for s in names if gate.exposure.committed(s)] or names
    made = []
    for n in range(count):
        symbol = str(rng.choice(held if n % 2 else names))
        price = gate.facts[symbol].price
        shares = Decimal(max(1, int(rng.lognormal(9.0, 1.5) / price)))
        side = Side.BUY if rng.random() < 0.55 else Side.SELL
        asked = OrderIntent(f"o{n}", None, "benchmark", gate.session, symbol, side, shares, Decimal(repr(price)))
        made.append(asked)
    return made


def compare(panel: Panel, total: int, sessions: int) -> None:
    rng = np.random.default_rng(7)
    held: dict[str, float] = {}
    cash, per_session = 1e6, total // sessions
    outcomes = dict.fromkeys(Outcome, 0)
    codes: dict[str, int] = {}
    different, ours, theirs = 0, 0.0, 0.0
    for row in range(len(panel.sessions) - sessions, len(panel.sessions)):
        gate = open_gate(panel, row, held, cash)
        plain = counterpart(gate, LIMITS)
        for asked in orders(gate, per_session, rng):
            begin = time.perf_counter()
            said = gate.check(asked)
            ours += time.perf_counter() - begin
            begin = time.perf_counter()
            size, failed, scaled = plain.check(
                asked.symbol, asked.side.sign, float(asked.quantity), float(asked.decision_price),
                order_id=asked.client_order_id,
            )  # fmt: skip
            theirs += time.perf_counter() - begin
            names = {check.code.replace("control_normal", "control_mode"): check.verdict for check in said.checks}
            same = (
                float(said.approved_quantity) == size
                and {c for c, v in names.items() if v is Verdict.FAILED} == failed
                and {c for c, v in names.items() if v is Verdict.SCALED} == scaled
            )
            different += not same
            if not same:
                print("  differs:", asked.symbol, asked.side.value, asked.quantity, said.approved_quantity, size,
                      said.reasons, failed, scaled)  # fmt: skip
            outcomes[said.outcome] += 1
            for code in failed | scaled:
                codes[code] = codes.get(code, 0) + 1
            if said.outcome is not Outcome.REJECTED:
                plain.commit(asked.symbol, asked.side.sign, size, order_id=asked.client_order_id)
                held[asked.symbol] = held.get(asked.symbol, 0.0) + asked.side.sign * size
                cash -= asked.side.sign * size * gate.facts[asked.symbol].price
    print(f"{total:,} orders over {sessions} sessions of {len(panel.symbols)} stocks: {different} decisions differ")
    print("  " + ", ".join(f"{name.value} {count:,}" for name, count in outcomes.items()))
    print("  " + ", ".join(f"{code} {count:,}" for code, count in sorted(codes.items(), key=lambda x: -x[1])))
    print(f"  readable gate {theirs / total * 1e6:,.0f} µs an order, Gate.check {ours / total * 1e6:.1f}: "
          f"{theirs / ours:.0f} times")  # fmt: skip


def one_at_a_time(panel: Panel, count: int = 20_000) -> None:
    """Check and commitment of single orders, called from Python; the account is put back in between."""
    gate = open_gate(panel, len(panel.sessions) - 1, {}, 1e6)
    e, limits = gate.exposure, gate._limits
    spent = np.empty(count)
    approved = 0
    for n in range(count):
        i = n % len(e.symbols)
        begin = time.perf_counter_ns()
        size = kernel.check_order(
            i, 1.0, 7.0, e.rows[i, at.PRICE], 0, e.account, e.rows, e.sectors, e.counterparties, limits, e.returns,
            e.pnl, gate._scratch, gate._worst, gate._tail_rows, gate._out,
        )  # fmt: skip
        if size > 0:
            commitment.commit(
                i, 1.0, size, False, False, e.account, e.rows, e.sectors, e.counterparties, e.returns, e.pnl,
            )  # fmt: skip
        spent[n] = time.perf_counter_ns() - begin
        if size > 0:
            approved += 1
            e.rows[i, [at.BUYS, at.WORKING, at.ORDERED, at.RESERVED]] = 0
            e.account[at.TURNOVER] = e.account[at.ORDERS] = 0
            commitment.recommit(i, e.account, e.rows, e.sectors, e.counterparties, e.returns, e.pnl)
    low, median, high = np.percentile(spent[1000:], [1, 50, 99])
    print(f"one order, every numeric check, exact CVaR on {SCENARIOS} x {len(e.symbols)}, and its commitment "
          f"({approved / count:.0%} approved): {median / 1e3:.2f} µs, p99 {high / 1e3:.2f} (target 5), "
          f"p1 {low / 1e3:.2f}")  # fmt: skip
    rng = np.random.default_rng(3)
    gate = open_gate(panel, len(panel.sessions) - 1, {}, 1e6)
    asked = orders(gate, 5_000, rng)
    whole = np.empty(len(asked))
    for n, intent in enumerate(asked):
        begin = time.perf_counter_ns()
        gate.check(intent)
        whole[n] = time.perf_counter_ns() - begin
    print(f"the whole gate with its RiskDecision: {np.median(whole) / 1e3:.1f} µs, "
          f"p99 {np.percentile(whole, 99) / 1e3:.1f} (target 50)")  # fmt: skip


def in_bulk(panel: Panel, count: int = 500_000) -> None:
    rng = np.random.default_rng(11)
    best = np.inf
    rate = 0.0
    for _ in range(3):
        gate = open_gate(panel, len(panel.sessions) - 1, {}, 1e9)
        e = gate.exposure
        # Nothing of the session's counts is used up, else most would be refused for that alone.
        gate._limits[at.MAX_ORDERS] = gate._limits[at.MAX_TURNOVER] = 1e9
        e.rows[:, at.VOLUME] = 1e12
        rows = rng.integers(0, len(e.symbols), count)
        signs = rng.choice([-1.0, 1.0], count)
        sizes = np.floor(rng.lognormal(3.0, 1.0, count)) + 1
        approved, said = np.zeros(count), np.zeros((count, len(at.CODES)), dtype=np.int8)
        prices = e.rows[rows, at.PRICE]
        begin = time.perf_counter()
        kernel.check_many(
            rows, signs, sizes, prices, e.account, e.rows, e.sectors, e.counterparties, gate._limits, e.returns, e.pnl,
            approved, said,
        )  # fmt: skip
        spent = time.perf_counter() - begin
        if spent < best:
            best, rate = spent, float((approved > 0).mean())
    print(f"in bulk: {count / best / 1e6:.2f} M orders a second, {rate:.0%} approved (target 1)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--sessions", type=int, default=200)
    chosen = parser.parse_args()
    panel = load()
    assert isinstance(panel.sessions[0].astype(object), date)
    one_at_a_time(panel)
    in_bulk(panel)
    compare(panel, chosen.orders, chosen.sessions)


if __name__ == "__main__":
    main()
