"""Tables of the way to a broker: who may use it, its connection, what people ask, what does not agree."""

from __future__ import annotations

from sqlalchemy import Column, Date, ForeignKey, Index, Integer, String, Table, Text

from quant_dagster.storage.ledger_tables.base import metadata, money, quantity, recorded_at
from quant_dagster.storage.types import CanonicalJson, UtcDateTime

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

# What people ask of the trading daemon, which alone talks to the broker while it runs.
desk_requests = Table(
    "desk_requests",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("order_id", String(40), nullable=False),
    Column("wanted", CanonicalJson, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("done_at", UtcDateTime),
    Column("outcome", Text),
)

# Every change of the state of the connection to a broker; the newest row of a broker is its state.
connection_events = Table(
    "connection_events",
    metadata,
    Column("broker", String(32), primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("previous", String(16)),
    Column("reason", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    recorded_at(),
)

# What works or was executed at a broker under no order of ours: kept until a person, or the policy, has dealt with it.
broker_quarantine = Table(
    "broker_quarantine",
    metadata,
    Column("broker", String(32), primary_key=True),
    Column("kind", String(12), primary_key=True),  # order or execution
    Column("reference", String(80), primary_key=True),
    Column("symbol", String(32), nullable=False),
    Column("side", String(8), nullable=False),
    quantity("quantity"),
    money("price", nullable=True),
    Column("detail", CanonicalJson, nullable=False),
    Column("state", String(12), nullable=False),  # quarantined, adopted, cancelled, dismissed
    recorded_at(),
    Column("resolved_at", UtcDateTime),
    Column("resolved_by", String(64)),
)

# The books held against the broker's: one row each time, and one for each thing that did not agree.
reconciliation_runs = Table(
    "reconciliation_runs",
    metadata,
    Column("run_id", String(64), primary_key=True),
    Column("broker", String(32), nullable=False),
    Column("session", Date, nullable=False),
    Column("trigger", String(24), nullable=False),  # cycle, reconnect, timer, command
    Column("compared", CanonicalJson, nullable=False),  # how many of each kind
    Column("breaks", Integer, nullable=False),
    recorded_at(),
    Index("ix_reconciliation_runs_session", "session"),
)

reconciliation_breaks = Table(
    "reconciliation_breaks",
    metadata,
    Column("break_id", String(64), primary_key=True),
    Column("run_id", String(64), ForeignKey("reconciliation_runs.run_id"), nullable=False),
    Column("broker", String(32), nullable=False),
    Column("kind", String(12), nullable=False),  # order, fill, position, cash, commission
    Column("reference", String(80), nullable=False),  # order or execution id, symbol, currency
    Column("symbol", String(32)),
    Column("ours", String(80), nullable=False),
    Column("theirs", String(80), nullable=False),
    Column("detail", Text, nullable=False),
    Column("state", String(12), nullable=False),  # open, agreed, balanced, accepted
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("closed_by", String(64)),
    Index("ix_reconciliation_breaks_state", "state"),
)
