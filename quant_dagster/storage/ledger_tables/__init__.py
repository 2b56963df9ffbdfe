"""The ledger's tables, by the part of the system that writes them. Whoever reads one imports it from here.

Orders, fills, postings and audit are append-only; what is a projection says so.
"""

from quant_dagster.storage.ledger_tables.base import metadata
from quant_dagster.storage.ledger_tables.books import account_snapshots, positions, postings
from quant_dagster.storage.ledger_tables.broker import (
    broker_quarantine,
    connection_events,
    desk_requests,
    leases,
    reconciliation_breaks,
    reconciliation_runs,
)
from quant_dagster.storage.ledger_tables.cycle import cycles, decisions
from quant_dagster.storage.ledger_tables.market_data import backfill_progress, instruments, quarantine, vendor_switches
from quant_dagster.storage.ledger_tables.models import model_events, model_versions
from quant_dagster.storage.ledger_tables.record import alerts, audit_log
from quant_dagster.storage.ledger_tables.risk import (
    account_events,
    control_state,
    daily_resets,
    heartbeats,
    lockouts,
    operators,
    risk_actions,
    risk_events,
)
from quant_dagster.storage.ledger_tables.services import circuit_breakers, request_budgets, service_observations
from quant_dagster.storage.ledger_tables.trading import (
    execution_quality,
    fills,
    order_events,
    orders,
    parent_events,
    parent_orders,
)

__all__ = [
    "account_events",
    "account_snapshots",
    "alerts",
    "audit_log",
    "backfill_progress",
    "broker_quarantine",
    "circuit_breakers",
    "connection_events",
    "control_state",
    "cycles",
    "daily_resets",
    "decisions",
    "desk_requests",
    "execution_quality",
    "fills",
    "heartbeats",
    "instruments",
    "leases",
    "lockouts",
    "metadata",
    "model_events",
    "model_versions",
    "operators",
    "order_events",
    "orders",
    "parent_events",
    "parent_orders",
    "positions",
    "postings",
    "quarantine",
    "reconciliation_breaks",
    "reconciliation_runs",
    "request_budgets",
    "risk_actions",
    "risk_events",
    "service_observations",
    "vendor_switches",
]
