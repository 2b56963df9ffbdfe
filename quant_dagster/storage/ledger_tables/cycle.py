"""Tables of the cycle: what one was a function of, and what it decided."""

from __future__ import annotations

from sqlalchemy import Column, Date, Float, ForeignKey, Index, String, Table, UniqueConstraint

from quant_dagster.storage.ledger_tables.base import metadata, money, quantity
from quant_dagster.storage.types import CanonicalJson, UtcDateTime

# One row per strategy, mode and session: what a cycle was a function of.
cycles = Table(
    "cycles",
    metadata,
    Column("cycle_id", String(32), primary_key=True),
    Column("strategy", String(64), nullable=False),
    Column("mode", String(16), nullable=False),
    Column("session", Date, nullable=False),
    Column("status", String(16), nullable=False),
    Column("settings_hash", String(32), nullable=False),
    Column("code_version", String(64), nullable=False),
    Column("inputs", CanonicalJson, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("completed_at", UtcDateTime),
    UniqueConstraint("strategy", "mode", "session"),
)

# Exactly one per symbol and cycle.
decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", String(32), primary_key=True),
    Column("cycle_id", String(32), ForeignKey("cycles.cycle_id"), nullable=False),
    Column("session", Date, nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("action", String(8), nullable=False),
    Column("reasons", CanonicalJson, nullable=False),
    Column("alpha", String(32)),
    Column("confidence", Float),
    Column("risk", Float),
    Column("priority", Float),
    Column("expected_return", Float),
    Column("expected_volatility", Float),
    Column("quality_score", Float),
    quantity("current_quantity"),
    quantity("target_quantity"),
    money("decision_price", nullable=True),
    Column("details", CanonicalJson, nullable=False),
    UniqueConstraint("cycle_id", "symbol"),
    Index("ix_decisions_session", "session"),
)
