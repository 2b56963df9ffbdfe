"""Services of market data: breakers, budgets, vendor switches, progress, quarantine, the instrument master."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from quant_dagster.storage import types

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backfill_progress",
        sa.Column("vendor", sa.String(length=64), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("first", sa.Date(), nullable=False),
        sa.Column("last", sa.Date(), nullable=False),
        sa.Column("sessions", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("vendor", "symbol", name=op.f("pk_backfill_progress")),
    )
    op.create_table(
        "circuit_breakers",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("successes", sa.Integer(), nullable=False),
        sa.Column("opened_at", types.UtcDateTime(), nullable=True),
        sa.Column("retry_at", types.UtcDateTime(), nullable=True),
        sa.Column("probe_holder", sa.String(length=128), nullable=True),
        sa.Column("probe_expires_at", types.UtcDateTime(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_circuit_breakers")),
    )
    op.create_table(
        "instruments",
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("asset_class", sa.String(length=24), nullable=False),
        sa.Column("exchange", sa.String(length=16), nullable=False),
        sa.Column("currency", sa.String(length=8), nullable=False),
        sa.Column("tick_size", types.Scaled(8), nullable=False),
        sa.Column("lot_size", types.Scaled(8), nullable=False),
        sa.Column("multiplier", types.Scaled(8), nullable=False),
        sa.Column("minimum_notional", types.Scaled(6), nullable=True),
        sa.Column("trading_hours", types.CanonicalJson(), nullable=False),
        sa.Column("identifiers", types.CanonicalJson(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("symbol", "valid_from", name=op.f("pk_instruments")),
    )
    op.create_table(
        "quarantine",
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("released_on", sa.Date(), nullable=True),
        sa.Column("released_by", sa.String(length=64), nullable=True),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("symbol", "since", name=op.f("pk_quarantine")),
    )
    op.create_table(
        "request_budgets",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("window_seconds", sa.Integer(), nullable=False),
        sa.Column("window_start", types.UtcDateTime(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", "window_seconds", "window_start", name=op.f("pk_request_budgets")),
    )
    op.create_table(
        "service_observations",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("operation", sa.String(length=48), nullable=False),
        sa.Column("outcome", sa.String(length=24), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", "sequence", name=op.f("pk_service_observations")),
    )
    op.create_table(
        "vendor_switches",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("asset_class", sa.String(length=24), nullable=False),
        sa.Column("vendor", sa.String(length=64), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("sessions", types.CanonicalJson(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_vendor_switches")),
    )
