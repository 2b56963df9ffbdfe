"""Run one cycle, or replay many: the stages in order, timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TypeVar

from quant_dagster.cycle import history
from quant_dagster.cycle.anomalies import record_anomalies
from quant_dagster.cycle.approval import Approval
from quant_dagster.cycle.broker_reconciliation import reconcile_account
from quant_dagster.cycle.context import TradingContext
from quant_dagster.cycle.execution_quality import measure_execution
from quant_dagster.cycle.risk_report import risk_report
from quant_dagster.cycle.session import SessionCycle
from quant_dagster.cycle.stress_report import stress_report
from quant_dagster.cycle.var_backtest import backtest_all
from quant_dagster.errors import ConfigurationError, DataUnavailableError
from quant_dagster.execution.broker import SimulatedVenue

_T = TypeVar("_T")


@dataclass
class CycleReport:
    """What one cycle did; ``seconds`` per stage. ``repeated``: it had been completed before and nothing was done."""

    session: date
    repeated: bool = False
    bars: int = 0
    features: int = 0
    anomalies: int = 0
    forecasts: int = 0
    carried: int = 0
    fallbacks: int = 0
    refused: int = 0
    drifted: int = 0
    signals: int = 0
    fills: int = 0
    expired: int = 0
    orders: int = 0
    sent: int = 0
    breaks: int = 0
    actions: dict[str, int] = field(default_factory=dict)
    equity: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


def run_cycle(context: TradingContext, session: date) -> CycleReport:
    """One session through every stage; a completed session is left alone."""
    cycle = SessionCycle(context, session)
    report = CycleReport(session)
    context.ledger.upgrade()
    if cycle.is_complete():
        report.repeated = True
        report.equity = float(cycle.account().equity)
        return report

    def timed(stage: str, work: Callable[[], _T]) -> _T:
        started = time.perf_counter()
        result = work()
        report.seconds[stage] = time.perf_counter() - started
        return result

    timed("open", cycle.begin)
    timed("raw_prices", cycle.ingest)
    report.bars = timed("bars", cycle.build_bars)
    timed("quality", cycle.score_quality)
    settlement = timed("fills", cycle.settle)
    report.fills, report.expired = settlement.fills, settlement.expired
    report.features = timed("features", cycle.store_features).height
    timed("online features", cycle.push_features)
    timed("factors", cycle.store_factors)
    report.anomalies = timed("anomalies", lambda: record_anomalies(cycle)).height
    report.drifted = timed("model scores", cycle.watch_models).filter("drifted").height
    forecasts = timed("forecasts", cycle.forecast)
    report.forecasts = forecasts.height
    report.carried, report.fallbacks, report.refused = (
        int((forecasts["status"] == status).sum()) for status in ("carried", "fallback", "refused")
    )
    report.signals = timed("signals", cycle.make_signals).height
    approval: Approval = timed("approved_orders", cycle.approve)
    report.orders, report.actions = approval.orders, dict(approval.actions)
    report.sent = timed("submit", cycle.submit).sent
    timed("close", cycle.complete)
    report.breaks = timed("reconciliation", lambda: _reconcile(context, session))
    timed("execution quality", lambda: measure_execution(context, session))
    timed("risk report", lambda: risk_report(context, session))
    report.equity = float(cycle.account().equity)
    return report


def _reconcile(context: TradingContext, session: date) -> int:
    """Open breaks with a venue of our own; a remote broker was asked when its connection was there."""
    if not isinstance(context.broker, SimulatedVenue):
        return 0
    with context.desk.leased():
        return len(reconcile_account(context, session, "cycle").breaks)


def replay(
    context: TradingContext,
    sessions: int,
    end: date | None = None,
    on_cycle: Callable[[CycleReport], None] = lambda report: None,
) -> list[CycleReport]:
    """Load history, then trade the last ``sessions`` sessions up to ``end`` one after the other.

    What is held at the end is stressed, and the value at risk of the universe backtested.

    Sessions already traded are left alone, so the same replay again changes nothing and one that was killed goes on.

    Parameters
    ----------
    end
        Last session; default: the newest the vendors have.
    """
    days = replay_sessions(context, sessions, end)
    reports = []
    for number, session in enumerate(days):
        context.progress("replaying sessions", number, len(days))
        report = run_cycle(context, session)
        on_cycle(report)
        reports.append(report)
    context.progress("replaying sessions", len(days), len(days))
    if days:
        context.progress("stress and backtest of risk", 0, 2)
        stress_report(context, days[-1])
        context.progress("stress and backtest of risk", 1, 2)
        backtest_all(context, days[-1])
        context.progress("stress and backtest of risk", 2, 2)
    return reports


def replay_sessions(context: TradingContext, sessions: int, end: date | None) -> Sequence[date]:
    """Load the history a replay needs and say which sessions it trades."""
    last = end or context.calendar.latest_completed(context.now())
    _last_sessions(context, sessions, last)  # what cannot be is refused before anything is loaded
    context.ledger.upgrade()
    history.backfill(context, context.settings.market_data.history_start, last)
    bars = context.lake.read("bars", columns=["session"], symbols=context.symbols, end=last, ordered=False)
    newest = bars["session"].max()
    if not isinstance(newest, date):
        raise DataUnavailableError("every symbol", "every vendor", None, last, "no bars up to there")
    return _last_sessions(context, sessions, newest)


def _last_sessions(context: TradingContext, sessions: int, newest: date) -> Sequence[date]:
    # Twice the calendar days hold more than enough sessions; the surplus is cut.
    first = max(context.settings.market_data.history_start, newest - timedelta(days=2 * sessions + 14))
    days = context.calendar.session_dates(first, newest)[-sessions:]
    if len(days) < sessions:
        raise ConfigurationError(
            f"{sessions} sessions up to {newest} would begin before market_data.history_start, {first}: there are "
            f"{len(days)}"
        )
    return days
