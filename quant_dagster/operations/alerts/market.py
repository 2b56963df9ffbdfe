"""What people should hear of the data: a change of vendor, symbols without bars, bars that cannot be trusted.

Each alert has a key of its own, so that it is told once however often it is looked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.market_data import failover
from quant_dagster.market_data.failover import Switch
from quant_dagster.operations.alerts.notifications import Alert, Severity

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_NAMED = 20


def market_alerts(context: TradingContext, session: date) -> list[Alert]:
    """Everything to be told of a session that has been loaded, and of every recent change of vendor."""
    with context.ledger.read() as connection:
        changes = failover.switches(connection, context.universe.asset_class, limit=20)
    alerts = [switch_alert(change) for change in reversed(changes)]
    bars = context.lake.read("bars", columns=["symbol"], start=session, end=session, ordered=False)["symbol"]
    missing = sorted(set(context.symbols_on(session)) - set(bars.to_list()))
    if missing and len(bars):
        alerts.append(missing_alert(session, missing, len(bars)))
    scores = context.lake.read("quality", symbols=context.symbols, start=session, end=session)
    minimum = context.settings.quality.minimum_score
    low = scores.filter((pl.col("score") < minimum) & ~pl.col("symbol").is_in(missing)).sort("score")
    if low.height:
        alerts.append(low_score_alert(session, low, minimum))
    return alerts


def switch_alert(switch: Switch) -> Alert:
    """A change of vendor."""
    sessions = ", ".join(day.isoformat() for day in switch.sessions) or "none"
    return Alert(
        key=f"vendor_switch:{switch.sequence}",
        severity=Severity.WARNING,
        title=f"{switch.asset_class} prices now come from {switch.vendor} instead of {switch.previous}",
        details=(switch.reason, f"sessions loaded again: {sessions}", f"at {switch.recorded_at:%Y-%m-%d %H:%M %Z}"),
    )


def missing_alert(session: date, missing: Sequence[str], present: int) -> Alert:
    """Symbols without a bar; they are not traded on that session."""
    return Alert(
        key=f"missing_bars:{session}",
        severity=Severity.WARNING,
        title=f"{len(missing)} of {len(missing) + present} symbols have no bar for {session}",
        details=(_named(missing), "They are not traded on that session. 'quant data progress' says what vendors said."),
    )


def low_score_alert(session: date, low: pl.DataFrame, minimum: float) -> Alert:
    """Bars below the score at which they are traded on."""
    lines = [f"{symbol}: {score:.2f} {issues}" for symbol, score, issues in
             low.head(_NAMED).select("symbol", "score", "issues").iter_rows()]  # fmt: skip
    return Alert(
        key=f"low_quality:{session}",
        severity=Severity.WARNING,
        title=f"{low.height} symbols score below {minimum:g} on {session}",
        details=tuple(lines),
    )


def _named(symbols: Sequence[str]) -> str:
    shown = ", ".join(symbols[:_NAMED])
    return shown if len(symbols) <= _NAMED else f"{shown} and {len(symbols) - _NAMED} more"
