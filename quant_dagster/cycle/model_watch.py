"""Watching models at work: how stored forecasts did once their outcome is known, and whether one has drifted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from sqlalchemy import select

from quant_dagster.cycle import history
from quant_dagster.forecasting.records import LEVELS, QUANTILES
from quant_dagster.market_data.panel import Panel
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import model_events
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext
    from quant_dagster.forecasting.drift import DriftTest

_LOOK_BACK = 30
"""Newest sessions whose forecasts are scored if they have not been: a desk that slept catches up this far."""


def watch_models(context: TradingContext, panel: Panel) -> pl.DataFrame:
    """Score what can be scored at the panel's last session, test every model for drift; returns the tests.

    Both are stored. A model that drifted gets an event in the ledger, once for that session: people are told, and its
    fits are made anew, the oldest first.
    """
    score_known_outcomes(context, panel)
    tests = drift_frame(context, panel.last_session)
    history.store(context, "model_drift", tests)
    for row in tests.filter(pl.col("drifted")).iter_rows(named=True):
        record_event(context, row["model"], "drifted", row["session"], f"{row['detector']}: {row['detail']}", row)
    return tests


def score_known_outcomes(context: TradingContext, panel: Panel) -> pl.DataFrame:
    """Scores of stored forecasts whose outcome became known by the panel's last session, stored; returns new rows."""
    sessions = panel.sessions.astype("datetime64[D]").astype(object).tolist()
    first = sessions[max(0, len(sessions) - 1 - _LOOK_BACK - max(context.settings.forecasting.horizons))]
    scored = context.lake.read("forecast_scores", columns=["session", "horizon"], start=first, ordered=False).unique()
    done = set(scored.iter_rows())
    last = len(sessions) - 1
    due = [
        (origin, horizon)
        for horizon in context.settings.forecasting.horizons
        for origin in range(max(0, last - horizon - _LOOK_BACK), last - horizon + 1)
        if (sessions[origin], horizon) not in done
    ]
    if not due:
        return TABLES["forecast_scores"].empty()
    origins = sorted({sessions[origin] for origin, _ in due})
    columns = ["session", "symbol", "model", "horizon", "status", "mean", "std", *QUANTILES]
    answered = pl.col("mean").is_not_null() & pl.col("session").is_in(origins)
    rows = context.lake.read(
        "forecasts", columns=columns, symbols=panel.symbols, start=origins[0], end=origins[-1], where=answered,
        ordered=False,
    )  # fmt: skip
    closes = np.log(np.where(panel.close > 0.0, panel.close, np.nan))
    outcomes = [
        pl.DataFrame(
            {
                "session": [sessions[origin]] * len(panel.symbols),
                "horizon": [horizon] * len(panel.symbols),
                "symbol": list(panel.symbols),
                "outcome": closes[origin + horizon] - closes[origin],
            },
            schema_overrides={"horizon": pl.Int32},
        )
        for origin, horizon in due
    ]
    known = rows.join(pl.concat(outcomes), on=["session", "horizon", "symbol"]).filter(pl.col("outcome").is_finite())
    scores = scored_frame(known)
    if scores.height:
        history.store(context, "forecast_scores", scores)
    return scores


def scored_frame(known: pl.DataFrame) -> pl.DataFrame:
    """Mean scores per session, model and horizon of forecasts with their ``outcome``, as ``forecast_scores`` has them.

    QLIKE is ``log s2 + e2 / s2`` (Patton 2011), pinball the mean quantile loss over the five levels.
    """
    error = pl.col("outcome") - pl.col("mean")
    variance = pl.col("std") ** 2
    pinball = pl.mean_horizontal(
        pl.max_horizontal(level * (pl.col("outcome") - pl.col(q)), (level - 1.0) * (pl.col("outcome") - pl.col(q)))
        for q, level in zip(QUANTILES, LEVELS, strict=True)
    )
    return (
        known.group_by("session", "model", "horizon")
        .agg(
            pl.len().cast(pl.Int64).alias("forecasts"),
            (pl.col("status") == "fallback").sum().cast(pl.Int64).alias("fallbacks"),
            (error**2).mean().alias("squared_error"),
            (variance.log() + error**2 / variance).mean().alias("qlike"),
            pinball.mean().alias("pinball"),
            pl.col("outcome").is_between("q05", "q95").mean().alias("coverage_90"),
            (error**2 / variance).mean().alias("standardised_square"),
            (pl.col("outcome").sign() == pl.col("mean").sign()).mean().alias("hit_rate"),
        )
        .sort("session", "model", "horizon")
        .select(list(TABLES["forecast_scores"].schema))
    )


def drift_frame(context: TradingContext, session: date) -> pl.DataFrame:
    """Every drift test of every model at a session, as ``model_drift`` has them.

    Recent losses are live ones; the reference is the live ones before, or, while those are few, the losses of the
    newest walk-forward validation before them. One model has several tests: its p-values are multiplied by their
    number (Bonferroni).
    """
    from quant_dagster.forecasting.drift import drift_tests
    from quant_dagster.forecasting.families.registry import FAMILIES, LOSS, NAIVE

    settings = context.settings.forecasting.drift
    horizon = min(context.settings.forecasting.horizons)
    live = context.lake.read("forecast_scores", end=session, where=pl.col("horizon") == horizon)
    judged = context.lake.read("validation_losses", end=session, where=pl.col("horizon") == horizon)
    rows: list[dict[str, Any]] = []
    for spec in FAMILIES:
        if spec.naive:
            continue
        loss, naive = LOSS[spec.target], NAIVE[spec.target].value
        own = _differences(live, "session", spec.model.value, naive, loss)
        recent, before = own.tail(settings.sessions), own.head(max(0, own.height - settings.sessions))
        reference = before.tail(settings.reference_sessions)
        if reference.height < settings.reference_sessions and recent.height:
            older = judged.filter(pl.col("origin") < recent["at"][0])
            newest = older.filter(pl.col("session") == pl.col("session").max())
            simulated = _differences(newest, "origin", spec.model.value, naive, loss)
            if simulated.height > reference.height:
                reference = simulated.tail(settings.reference_sessions)
        squares = live.filter(pl.col("model") == spec.model.value).tail(settings.sessions)["standardised_square"]
        tests = drift_tests(reference["difference"].to_numpy(), recent["difference"].to_numpy(), squares.to_numpy())
        rows.extend(_row(session, spec.model.value, test, len(tests), settings.threshold) for test in tests)
    return pl.DataFrame(rows, schema=TABLES["model_drift"].schema)


def _differences(scores: pl.DataFrame, at: str, model: str, naive: str, loss: str) -> pl.DataFrame:
    """Loss of the model less the naive one's per session, columns ``at`` and ``difference``, oldest first."""
    one, other = (
        scores.filter(pl.col("model") == name).select(pl.col(at).alias("at"), loss) for name in (model, naive)
    )
    joined = one.join(other, on="at", suffix="_naive").sort("at")
    return joined.select("at", (pl.col(loss) - pl.col(f"{loss}_naive")).alias("difference"))


def _row(session: date, model: str, test: DriftTest, tests: int, threshold: float) -> dict[str, Any]:
    p_value = min(1.0, test.p_value * tests)
    return {
        "session": session, "model": model, "detector": test.detector, "statistic": test.statistic,
        "p_value": p_value, "drifted": p_value < threshold, "detail": test.detail,
    }  # fmt: skip


# -- events -----------------------------------------------------------------------------------------------------------


def record_event(
    context: TradingContext, model: str, kind: str, session: date, detail: str, payload: dict[str, Any]
) -> bool:
    """Write down what happened to a model; the same event of the same session is written once."""
    key = hashlib.sha256(f"{model}|{kind}|{session}|{payload.get('detector', '')}".encode()).hexdigest()[:40]
    content = {name: value for name, value in payload.items() if name not in ("session", "model")}
    with context.ledger.write() as connection:
        row = {
            "event_id": key, "model": model, "kind": kind, "session": session, "detail": detail, "payload": content,
            "recorded_at": context.ledger.now(),
        }  # fmt: skip
        return insert_new(connection, model_events, row)


def events(context: TradingContext, kinds: Sequence[str], start: date, end: date) -> list[dict[str, Any]]:
    """Events of these kinds in a range of sessions, oldest first."""
    query = (
        select(model_events)
        .where(model_events.c.kind.in_(list(kinds)), model_events.c.session.between(start, end))
        .order_by(model_events.c.session, model_events.c.model, model_events.c.event_id)
    )
    with context.ledger.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def last_drift(context: TradingContext, session: date) -> dict[str, date]:
    """The newest session up to ``session`` at which each model was found to have drifted."""
    return {row["model"]: row["session"] for row in events(context, ["drifted"], date.min, session)}
