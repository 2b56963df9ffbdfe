"""Tables of models: the versions put to use, and what happened to them."""

from __future__ import annotations

from sqlalchemy import Column, Date, Index, Integer, String, Table, Text

from quant_dagster.storage.ledger_tables.base import metadata, recorded_at
from quant_dagster.storage.types import CanonicalJson

# One row per version of a model that was put to use: what it was made from. Only added to.
model_versions = Table(
    "model_versions",
    metadata,
    Column("model", String(48), primary_key=True),
    Column("version", String(32), primary_key=True),
    Column("session", Date, nullable=False),
    Column("settings", CanonicalJson, nullable=False),
    Column("data_version", Integer, nullable=False),
    Column("code_version", String(64), nullable=False),
    Column("artifact", String(160)),
    Column("artifact_sha256", String(64)),
    Column("metrics", CanonicalJson, nullable=False),
    Column("reason", Text, nullable=False),
    recorded_at(),
)

# What happened to a model: validated, weighted, drifted, retrained, timed out.
model_events = Table(
    "model_events",
    metadata,
    Column("event_id", String(64), primary_key=True),
    Column("model", String(48), nullable=False),
    Column("kind", String(24), nullable=False),
    Column("session", Date, nullable=False),
    Column("detail", Text, nullable=False),
    Column("payload", CanonicalJson, nullable=False),
    recorded_at(),
    Index("ix_model_events_session", "session"),
)
