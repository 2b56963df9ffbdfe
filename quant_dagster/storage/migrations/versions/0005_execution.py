"""Execution: algorithms' orders and their events, what a broker says of nobody's orders, reconciliation, costs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from quant_dagster.storage import types

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "broker_quarantine",
        sa.Column("broker", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("reference", sa.String(length=80), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("quantity", types.Scaled(8), nullable=False),
        sa.Column("price", types.Scaled(6), nullable=True),
        sa.Column("detail", types.CanonicalJson(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.Column("resolved_at", types.UtcDateTime(), nullable=True),
        sa.Column("resolved_by", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("broker", "kind", "reference", name=op.f("pk_broker_quarantine")),
    )
    op.create_table(
        "connection_events",
        sa.Column("broker", sa.String(length=32), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("previous", sa.String(length=16), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("broker", "sequence", name=op.f("pk_connection_events")),
    )
    op.create_table(
        "desk_requests",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("order_id", sa.String(length=40), nullable=False),
        sa.Column("wanted", types.CanonicalJson(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("requested_at", types.UtcDateTime(), nullable=False),
        sa.Column("done_at", types.UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_desk_requests")),
    )
    op.create_table(
        "execution_quality",
        sa.Column("order_id", sa.String(length=40), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("algorithm", sa.String(length=24), nullable=False),
        sa.Column("ordered", types.Scaled(8), nullable=False),
        sa.Column("filled", types.Scaled(8), nullable=False),
        sa.Column("decision_price", types.Scaled(6), nullable=True),
        sa.Column("arrival_price", types.Scaled(6), nullable=True),
        sa.Column("average_price", types.Scaled(6), nullable=True),
        sa.Column("interval_vwap", types.Scaled(6), nullable=True),
        sa.Column("close_price", types.Scaled(6), nullable=True),
        sa.Column("delay_bps", sa.Float(), nullable=True),
        sa.Column("spread_bps", sa.Float(), nullable=True),
        sa.Column("impact_bps", sa.Float(), nullable=True),
        sa.Column("fees_bps", sa.Float(), nullable=True),
        sa.Column("opportunity_bps", sa.Float(), nullable=True),
        sa.Column("total_bps", sa.Float(), nullable=True),
        sa.Column("vwap_slippage_bps", sa.Float(), nullable=True),
        sa.Column("participation", sa.Float(), nullable=True),
        sa.Column("estimated_bps", sa.Float(), nullable=True),
        sa.Column("evidence", types.CanonicalJson(), nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_execution_quality")),
    )
    with op.batch_alter_table("execution_quality", schema=None) as batch_op:
        batch_op.create_index("ix_execution_quality_session", ["session"], unique=False)

    op.create_table(
        "reconciliation_runs",
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("broker", sa.String(length=32), nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("trigger", sa.String(length=24), nullable=False),
        sa.Column("compared", types.CanonicalJson(), nullable=False),
        sa.Column("breaks", sa.Integer(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_reconciliation_runs")),
    )
    with op.batch_alter_table("reconciliation_runs", schema=None) as batch_op:
        batch_op.create_index("ix_reconciliation_runs_session", ["session"], unique=False)

    op.create_table(
        "reconciliation_breaks",
        sa.Column("break_id", sa.String(length=64), nullable=False),
        sa.Column("run_id", sa.String(length=64), nullable=False),
        sa.Column("broker", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=12), nullable=False),
        sa.Column("reference", sa.String(length=80), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=True),
        sa.Column("ours", sa.String(length=80), nullable=False),
        sa.Column("theirs", sa.String(length=80), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("opened_at", types.UtcDateTime(), nullable=False),
        sa.Column("closed_at", types.UtcDateTime(), nullable=True),
        sa.Column("closed_by", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["run_id"], ["reconciliation_runs.run_id"], name=op.f("fk_reconciliation_breaks_run_id")
        ),
        sa.PrimaryKeyConstraint("break_id", name=op.f("pk_reconciliation_breaks")),
    )
    with op.batch_alter_table("reconciliation_breaks", schema=None) as batch_op:
        batch_op.create_index("ix_reconciliation_breaks_state", ["state"], unique=False)

    op.create_table(
        "parent_orders",
        sa.Column("parent_id", sa.String(length=40), nullable=False),
        sa.Column("decision_id", sa.String(length=32), nullable=True),
        sa.Column("strategy", sa.String(length=64), nullable=False),
        sa.Column("origin", sa.String(length=16), server_default="strategy", nullable=False),
        sa.Column("session", sa.Date(), nullable=False),
        sa.Column("symbol", sa.String(length=32), nullable=False),
        sa.Column("side", sa.String(length=8), nullable=False),
        sa.Column("quantity", types.Scaled(8), nullable=False),
        sa.Column("reduce_only", sa.Integer(), server_default="0", nullable=False),
        sa.Column("algorithm", sa.String(length=24), nullable=False),
        sa.Column("parameters", types.CanonicalJson(), nullable=False),
        sa.Column("decision_price", types.Scaled(6), nullable=False),
        sa.Column("created_at", types.UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("starts_at", types.UtcDateTime(), nullable=True),
        sa.Column("ends_at", types.UtcDateTime(), nullable=True),
        sa.Column("arrival_price", types.Scaled(6), nullable=True),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["decision_id"], ["decisions.decision_id"], name=op.f("fk_parent_orders_decision_id")),
        sa.PrimaryKeyConstraint("parent_id", name=op.f("pk_parent_orders")),
    )
    with op.batch_alter_table("parent_orders", schema=None) as batch_op:
        batch_op.create_index("ix_parent_orders_session", ["session"], unique=False)
        batch_op.create_index("ix_parent_orders_state", ["state"], unique=False)

    op.create_table(
        "parent_events",
        sa.Column("parent_id", sa.String(length=40), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("payload", types.CanonicalJson(), nullable=False),
        sa.Column("recorded_at", types.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["parent_id"], ["parent_orders.parent_id"], name=op.f("fk_parent_events_parent_id")),
        sa.PrimaryKeyConstraint("parent_id", "sequence", name=op.f("pk_parent_events")),
    )
    with op.batch_alter_table("fills", schema=None) as batch_op:
        batch_op.add_column(sa.Column("executed_at", types.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("currency", sa.String(length=8), nullable=True))
        batch_op.create_index("ix_fills_client_order_id", ["client_order_id"], unique=False)
        batch_op.create_index("ix_fills_symbol", ["symbol"], unique=False)

    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.add_column(sa.Column("limit_price", types.Scaled(6), nullable=True))
        batch_op.add_column(sa.Column("parent_id", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("broker_order_id", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("sent_at", types.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("arrival_price", types.Scaled(6), nullable=True))
        batch_op.create_index("ix_orders_parent_id", ["parent_id"], unique=False)
        batch_op.create_foreign_key(batch_op.f("fk_orders_parent_id"), "parent_orders", ["parent_id"], ["parent_id"])

    with op.batch_alter_table("postings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("currency", sa.String(length=8), nullable=True))
        batch_op.create_index("ix_postings_symbol", ["symbol"], unique=False)
