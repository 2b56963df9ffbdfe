"""The registry of models: which version of each was put to use when, made from what, and what became of it.

A version is a model under one set of settings and one state of the code; a trained model's artifact is a version of its
own. Versions and events are only added to.
"""

from __future__ import annotations

import hashlib
import json
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy import select

from quant_dagster.cycle import history
from quant_dagster.cycle.context import code_version
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import model_events, model_versions

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_NOT_OF_A_MODEL = ("workers", "backend", "dask_address", "time_out_seconds", "validation", "drift", "families")


def register_models(context: TradingContext, session: date, forecasts: pl.DataFrame) -> int:
    """Write down the versions that answered in a session's forecasts, and how each model did its work; idempotent.

    Returns
    -------
    int
        Versions that were not known before.
    """
    settings = context.settings.forecasting.model_dump(mode="json", exclude=set(_NOT_OF_A_MODEL))
    counted = (
        forecasts.unique(["symbol", "model"])
        .group_by("model")
        .agg(*((pl.col("status") == s).sum().alias(s) for s in ("fitted", "carried", "fallback", "refused")))
        .sort("model")
    )
    artifacts = trained_artifacts(context.home / "models", forecasts)
    data_version = int(forecasts["data_version"].max() or 0)  # type: ignore[arg-type]
    added = 0
    with context.ledger.write() as connection:
        now = context.ledger.now()
        for row in counted.iter_rows(named=True):
            model = row.pop("model")
            artifact = artifacts.get(model)
            version = artifact["key"] if artifact else _version(model, settings)
            record = {
                "model": model, "version": version, "session": session, "settings": settings,
                "data_version": data_version, "code_version": code_version(),
                "artifact": artifact["file"] if artifact else None,
                "artifact_sha256": artifact["sha256"] if artifact else None,
                "metrics": artifact["metrics"] if artifact else {},
                "reason": "trained" if artifact else "first used with these settings and this code",
                "recorded_at": now,
            }  # fmt: skip
            added += insert_new(connection, model_versions, record)
            event = {
                "event_id": hashlib.sha256(f"{model}|used|{session}".encode()).hexdigest()[:40],
                "model": model, "kind": "used", "session": session,
                "detail": ", ".join(f"{count} {status}" for status, count in row.items() if count),
                "payload": {"version": version, **row}, "recorded_at": now,
            }  # fmt: skip
            insert_new(connection, model_events, event)
    return added


def store_importance(context: TradingContext, forecasts: pl.DataFrame) -> int:
    """Store what each feature was worth in the trainings of a session; returns rows, none where nothing was trained."""
    rows = 0
    trained = forecasts.filter(pl.col("status") == "fitted")
    for model, artifact in trained_artifacts(context.home / "models", trained).items():
        from quant_dagster.forecasting.learned.artifacts import importance_frame

        report = json.loads((context.home / "models" / model / f"{artifact['key']}.json").read_text(encoding="utf-8"))
        frame = importance_frame(report)
        history.store(context, "feature_importance", frame)
        rows += frame.height
    return rows


def trained_artifacts(folder: Path, forecasts: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """Of each model whose rows name a trained artifact: its key, file, checksum and metrics, from its report."""
    found: dict[str, dict[str, Any]] = {}
    rows = forecasts.filter(pl.col("parameters").str.contains('"artifact"', literal=True)).unique("model")
    for model, parameters in rows.select("model", "parameters").iter_rows():
        key = json.loads(parameters)["artifact"]
        report = folder / model / f"{key}.json"
        if report.exists():
            content = json.loads(report.read_text(encoding="utf-8"))
            found[model] = {
                "key": key, "file": f"models/{model}/{key}.joblib", "sha256": content.get("sha256"),
                "metrics": content.get("metrics", {}),
            }  # fmt: skip
    return found


def models_table(context: TradingContext) -> list[dict[str, Any]]:
    """Every model's newest version and use, drift and versions counted, by name."""
    with context.ledger.read() as connection:
        versions = [dict(row) for row in connection.execute(select(model_versions)).mappings()]
        events = [dict(row) for row in connection.execute(select(model_events)).mappings()]
    rows = []
    for model in sorted({version["model"] for version in versions}):
        own = [version for version in versions if version["model"] == model]
        used = max((e for e in events if e["model"] == model and e["kind"] == "used"), key=_session, default=None)
        drifted = max((e["session"] for e in events if e["model"] == model and e["kind"] == "drifted"), default=None)
        version = used["payload"]["version"] if used else max(own, key=_session)["version"]
        rows.append(
            {
                "model": model,
                "version": version,
                "versions": len(own),
                "last_used": used["session"] if used else None,
                "use": used["detail"] if used else "",
                "drifted": drifted,
            }
        )
    return rows


def _version(model: str, settings: dict[str, Any]) -> str:
    content = json.dumps([model, settings, code_version()], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _session(row: dict[str, Any]) -> date:
    session: date = row["session"]
    return session
