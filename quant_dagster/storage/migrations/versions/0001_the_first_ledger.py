"""The first ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from quant_dagster.storage import types

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "account_snapshots",
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("cash", types.Scaled(6), nullable=False),
        sa.Column("market_value", types.Scaled(6), nullable=False),
        sa.Column("equity", types.Scaled(6), nullable=False),
        sa.Column("gross_exposure", types.Scaled(6), nullable=False),
        sa.Column("net_exposure", types.Scaled(6), nullable=False),
        sa.Column("realised_pnl", types.Scaled(6), nullable=False),
        sa.Column("unrealised_pnl", types.Scaled(6), nullable=False),
        sa.Column("commission", types.Scaled(6), nullable=False),
        sa.Column("peak_equity", types.Scaled(6), nullable=False),
        sa.PrimaryKeyConstraint("session", name=op.f("pk_account_snapshots")),
    )
    op.create_table(
        "alerts",
        sa.Column("alert_key", sa.String(length=160), nullable=False),
        sa.Column("severity", sa.String(length=12), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("delivered", sa.Integer(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("alert_key", name=op.f("pk_alerts")),
    )
    op.create_table(
        "audit_log",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_key", sa.String(length=160), nullable=False),
        sa.Column("session", sa.Date(), nullable=True),
        sa.Column("action", sa.String(length=48), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.Column("previous_hash", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit_log")),
        sa.UniqueConstraint("event_key", name=op.f("uq_audit_log_event_key")),
    )
    op.create_table(
        "control_state",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("previous", sa.String(length=16), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("automatic", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_control_state")),
    )
    op.create_table(
        "cycles",
        sa.Column("cycle_id", sa.String(length=32), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=16), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("settings_hash", sa.String(length=32), nullable=False),
        sa.Column("code_version", sa.String(length=64), nullable=False),
        sa.Column("inputs", types.CanonicalJson(), nullable=False),
        sa.Column("started_at", types.UtcDateTime(), nullable=False),
        sa.Column("completed_at", types.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("cycle_id", name=op.f("pk_cycles")),
        sa.UniqueConstraint("strategy", "mode", "session", name=op.f("uq_cycles_strategy")),
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=128), nullable=False),
        sa.Column("expires_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )
    op.create_table(
        "positions",
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("quantity", types.Scaled(8), nullable=False),
        sa.Column("cost", types.Scaled(6), nullable=False),
        sa.Column("price", types.Scaled(6), nullable=False),
        sa.Column("price_session", sa.Date(), nullable=False),
        sa.Column("market_value", types.Scaled(6), nullable=False),
        sa.Column("unrealised_pnl", types.Scaled(6), nullable=False),
        sa.Column("realised_pnl", types.Scaled(6), nullable=False),
        sa.Column("commission", types.Scaled(6), nullable=False),
        sa.PrimaryKeyConstraint("session", "symbol", name=op.f("pk_positions")),
    )
    op.create_table(
        "postings",
        sa.Column("transaction_id", sa.String(length=80), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("account", sa.String(length=24), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=True),
        sa.Column("quantity", types.Scaled(8), nullable=False),
        sa.Column("amount", types.Scaled(6), nullable=False),
        sa.Column("execution_id", sa.String(length=64), nullable=True),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "line", name=op.f("pk_postings")),
    )
    with op.batch_alter_table("postings", schema=None) as batch_op:
        batch_op.create_index("ix_postings_account", ["account"], unique=False)

    op.create_table(
        "decisions",
        sa.Column("decision_id", sa.String(length=32), nullable=False),
        sa.Column("cycle_id", sa.String(length=32), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("reasons", types.CanonicalJson(), nullable=False),
        sa.Column("alpha", sa.String(length=32), nullable=True),
        sa.Column("confidence", sa.Float(), nullable=True),
        sa.Column("risk", sa.Float(), nullable=True),
        sa.Column("priority", sa.Float(), nullable=True),
        sa.Column("expected_return", sa.Float(), nullable=True),
        sa.Column("expected_volatility", sa.Float(), nullable=True),
        sa.Column("quality_score", sa.Float(), nullable=True),
        sa.Column("current_quantity", types.Scaled(8), nullable=False),
        sa.Column("target_quantity", types.Scaled(8), nullable=False),
        sa.Column("decision_price", types.Scaled(6), nullable=True),
        sa.Column("details", types.CanonicalJson(), nullable=False),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.cycle_id"], name=op.f("fk_decisions_cycle_id")),
        sa.PrimaryKeyConstraint("decision_id", name=op.f("pk_decisions")),
        sa.UniqueConstraint("cycle_id", "symbol", name=op.f("uq_decisions_cycle_id")),
    )
    with op.batch_alter_table("decisions", schema=None) as batch_op:
        batch_op.create_index("ix_decisions_session", ["session"], unique=False)

    op.create_table(
        "risk_events",
        sa.Column("event_id", sa.String(length=40), nullable=False),
        sa.Column("cycle_id", sa.String(length=32), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("outcome", sa.String(length=12), nullable=False),
        sa.Column("requested_quantity", types.Scaled(8), nullable=False),
        sa.Column("approved_quantity", types.Scaled(8), nullable=False),
        sa.Column("reasons", types.CanonicalJson(), nullable=False),
        sa.Column("checks", types.CanonicalJson(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["cycle_id"], ["cycles.cycle_id"], name=op.f("fk_risk_events_cycle_id")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_risk_events")),
    )
    op.create_table(
        "orders",
        sa.Column("client_order_id", sa.String(length=40), nullable=False),
        sa.Column("decision_id", sa.String(length=32), nullable=False),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("quantity", types.Scaled(8), nullable=False),
        sa.Column("order_type", sa.String(length=16), nullable=False),
        sa.Column("time_in_force", sa.String(length=8), nullable=False),
        sa.Column("decision_price", types.Scaled(6), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("status", sa.String(length=24), nullable=False),
        sa.Column("filled_quantity", types.Scaled(8), nullable=False),
        sa.Column("average_fill_price", types.Scaled(6), nullable=True),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.decision_id"], name=op.f("fk_orders_decision_id")),
        sa.PrimaryKeyConstraint("client_order_id", name=op.f("pk_orders")),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index("ix_orders_session", ["session"], unique=False)
        batch_op.create_index("ix_orders_status", ["status"], unique=False)

    op.create_table(
        "fills",
        sa.Column("execution_id", sa.String(length=64), nullable=False),
        sa.Column("correction", sa.Integer(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("client_order_id", sa.String(length=40), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("quantity", types.Scaled(8), nullable=False),
        sa.Column("price", types.Scaled(6), nullable=False),
        sa.Column("commission", types.Scaled(6), nullable=False),
        sa.Column("decision_price", types.Scaled(6), nullable=False),
        sa.Column("reference_price", types.Scaled(6), nullable=False),
        sa.Column("provenance", types.CanonicalJson(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["client_order_id"], ["orders.client_order_id"], name=op.f("fk_fills_client_order_id")),
        sa.PrimaryKeyConstraint("execution_id", name=op.f("pk_fills")),
        sa.UniqueConstraint("sequence", name=op.f("uq_fills_sequence")),
    )
    with op.batch_alter_table("fills", schema=None) as batch_op:
        batch_op.create_index("ix_fills_session", ["session"], unique=False)

    op.create_table(
        "order_events",
        sa.Column("client_order_id", sa.String(length=40), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("payload", types.CanonicalJson(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_order_id"], ["orders.client_order_id"], name=op.f("fk_order_events_client_order_id")
        ),
        sa.PrimaryKeyConstraint("client_order_id", "sequence", name=op.f("pk_order_events")),
    )
