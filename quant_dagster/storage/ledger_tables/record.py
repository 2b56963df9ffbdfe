"""Tables of what was done and told: the hash-chained audit log and alerts."""

from __future__ import annotations

from sqlalchemy import Column, Date, Integer, String, Table, Text

from quant_dagster.storage.ledger_tables.base import metadata, recorded_at

# What people were told, once each.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_key", String(160), primary_key=True),
    Column("severity", String(12), nullable=False),
    Column("title", Text, nullable=False),
    Column("delivered", Integer, nullable=False),
    recorded_at(),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("event_key", String(160), nullable=False, unique=True),
    Column("session", Date),
    Column("action", String(48), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    recorded_at(),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
