"""Tables of services that may fail: breakers, request budgets, how requests went."""

from __future__ import annotations

from sqlalchemy import Column, Float, Integer, String, Table, Text

from quant_dagster.storage.ledger_tables.base import metadata, recorded_at
from quant_dagster.storage.types import UtcDateTime

# One row per protected service, shared by every process. A row that cannot be read counts as open.
circuit_breakers = Table(
    "circuit_breakers",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(12), nullable=False),
    Column("failures", Integer, nullable=False),
    Column("successes", Integer, nullable=False),
    Column("opened_at", UtcDateTime),
    Column("retry_at", UtcDateTime),
    Column("probe_holder", String(128)),
    Column("probe_expires_at", UtcDateTime),
    Column("reason", Text, nullable=False),
    recorded_at(),
)

# Requests made in a window: a budget that all processes share.
request_budgets = Table(
    "request_budgets",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("window_seconds", Integer, primary_key=True),
    Column("window_start", UtcDateTime, primary_key=True),
    Column("used", Integer, nullable=False),
)

# How each request to a service went; the newest few hundred of each are kept.
service_observations = Table(
    "service_observations",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("operation", String(48), nullable=False),
    Column("outcome", String(24), nullable=False),
    Column("seconds", Float, nullable=False),
    Column("detail", Text, nullable=False),
    recorded_at(),
)
