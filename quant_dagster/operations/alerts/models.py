"""What people should hear of the models: a family that broke down, a model that has drifted."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from quant_dagster.cycle.model_watch import events
from quant_dagster.operations.alerts.notifications import Alert, Severity

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_SHARE = 0.5
"""Share of the symbols a model must fail for, by one and the same reason, before it counts as broken down."""


def model_alerts(context: TradingContext, session: date) -> list[Alert]:
    """Everything to be told of a session's forecasts and of the drift tests made at it."""
    alerts = [broken_alert(session, *row) for row in broken_models(context, session).iter_rows()]
    alerts += [
        Alert(
            key=f"model_drift:{event['model']}:{event['session']}:{event['payload'].get('detector', '')}",
            severity=Severity.WARNING,
            title=f"model {event['model']} has drifted ({event['session']})",
            details=(event["detail"], "Its fits are made anew, the oldest first; 'quant validate' judges it again."),
        )
        for event in events(context, ["drifted"], session, session)
    ]
    return alerts


def broken_models(context: TradingContext, session: date) -> pl.DataFrame:
    """Models that failed for most symbols by one and the same reason: model, symbols, of how many, reason.

    A time-out, an exception and an answer that is no number are one reason for every symbol; a short history is not.
    """
    rows = context.lake.read(
        "forecasts",
        columns=["symbol", "model", "status", "fallback"],
        symbols=context.symbols,
        start=session,
        end=session,
        where=(pl.col("horizon") == min(context.settings.forecasting.horizons)) & (pl.col("model") != "combined"),
    )
    asked = rows.group_by("model").len("asked")
    failed = rows.filter(pl.col("status").is_in(["fallback", "refused"]) & ~_waits())
    return (
        failed.group_by("model", "fallback")
        .len("failed")
        .join(asked, on="model")
        .filter(pl.col("failed") > _SHARE * pl.col("asked"))
        .select("model", "failed", "asked", "fallback")
        .sort("model")
    )


def broken_alert(session: date, model: str, failed: int, asked: int, reason: str) -> Alert:
    """A model that did not answer for most symbols."""
    return Alert(
        key=f"model_broken:{model}:{session}",
        severity=Severity.ERROR,
        title=f"model {model} failed for {failed} of {asked} symbols on {session}",
        details=(reason, "Simpler models stood in; every row says which. 'quant models' lists what each one did."),
    )


def _waits() -> pl.Expr:
    """A first fit that is spread over sessions, or too short a history: expected, and no breakdown."""
    return pl.col("fallback").str.contains("waits for its first fit|returns, the model needs|no bar on")
