"""The ledger's tables. Orders, fills, postings and audit are append-only; what is a projection says so."""

from __future__ import annotations

from sqlalchemy import (
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from quant_dagster.storage.types import MONEY_PLACES, QUANTITY_PLACES, CanonicalJson, Scaled, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _money(name: str, **options: bool) -> Column[object]:
    return Column(name, Scaled(MONEY_PLACES), nullable=options.get("nullable", False))


def _quantity(name: str, **options: bool) -> Column[object]:
    return Column(name, Scaled(QUANTITY_PLACES), nullable=options.get("nullable", False))


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
    _quantity("current_quantity"),
    _quantity("target_quantity"),
    _money("decision_price", nullable=True),
    Column("details", CanonicalJson, nullable=False),
    UniqueConstraint("cycle_id", "symbol"),
    Index("ix_decisions_session", "session"),
)

# An order that an algorithm works in slices: what the risk gate approved as a whole. `state` and what follows it are a
# projection of parent_events.
parent_orders = Table(
    "parent_orders",
    metadata,
    Column("parent_id", String(40), primary_key=True),
    Column("decision_id", String(32), ForeignKey("decisions.decision_id")),
    Column("strategy", String(64), nullable=False),
    Column("origin", String(16), nullable=False, server_default="strategy"),
    Column("session", Date, nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("side", String(8), nullable=False),
    _quantity("quantity"),
    Column("reduce_only", Integer, nullable=False, server_default="0"),
    Column("algorithm", String(24), nullable=False),
    Column("parameters", CanonicalJson, nullable=False),
    _money("decision_price"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", String(12), nullable=False),  # approved, working, paused, done, cancelled
    Column("starts_at", UtcDateTime),
    Column("ends_at", UtcDateTime),
    _money("arrival_price", nullable=True),
    Column("events", Integer, nullable=False),
    Index("ix_parent_orders_state", "state"),
    Index("ix_parent_orders_session", "session"),
)

parent_events = Table(
    "parent_events",
    metadata,
    Column("parent_id", String(40), ForeignKey("parent_orders.parent_id"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("kind", String(24), nullable=False),
    Column("payload", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# Columns from `status` on are a projection of order_events.
orders = Table(
    "orders",
    metadata,
    Column("client_order_id", String(40), primary_key=True),
    # None: nobody decided on the symbol, the order is an automatic action's or a command's (`origin`).
    Column("decision_id", String(32), ForeignKey("decisions.decision_id")),
    Column("strategy", String(64), nullable=False),
    Column("origin", String(16), nullable=False, server_default="strategy"),
    Column("session", Date, nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("side", String(8), nullable=False),
    _quantity("quantity"),
    Column("order_type", String(16), nullable=False),
    Column("time_in_force", String(8), nullable=False),
    # 1: the venue fills no more of it than closes what is held.
    Column("reduce_only", Integer, nullable=False, server_default="0"),
    _money("stop_price", nullable=True),
    _money("limit_price", nullable=True),
    # The algorithm's order this one is a slice of.
    Column("parent_id", String(40), ForeignKey("parent_orders.parent_id")),
    _money("decision_price"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", String(24), nullable=False),
    _quantity("filled_quantity"),
    _money("average_fill_price", nullable=True),
    # The broker's number, written down before the order is sent.
    Column("broker_order_id", String(64)),
    # The first instant the order can be at the broker, in the market's time; its price then is `arrival_price`.
    Column("sent_at", UtcDateTime),
    _money("arrival_price", nullable=True),
    Column("events", Integer, nullable=False),
    Index("ix_orders_status", "status"),
    Index("ix_orders_session", "session"),
    Index("ix_orders_parent_id", "parent_id"),
)

order_events = Table(
    "order_events",
    metadata,
    Column("client_order_id", String(40), ForeignKey("orders.client_order_id"), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("kind", String(24), nullable=False),
    Column("session", Date, nullable=False),
    Column("payload", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# Keyed on the execution id without its correction segment; a correction replaces the row and is posted as a difference.
fills = Table(
    "fills",
    metadata,
    Column("execution_id", String(64), primary_key=True),
    Column("correction", Integer, nullable=False),
    Column("sequence", Integer, nullable=False, unique=True),
    Column("client_order_id", String(40), ForeignKey("orders.client_order_id"), nullable=False),
    Column("session", Date, nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("side", String(8), nullable=False),
    _quantity("quantity"),
    _money("price"),
    _money("commission"),
    _money("decision_price"),
    _money("reference_price"),
    # When it happened, where the venue knows more than the session.
    Column("executed_at", UtcDateTime),
    # None: the account's currency.
    Column("currency", String(8)),
    Column("provenance", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Index("ix_fills_session", "session"),
    Index("ix_fills_symbol", "symbol"),
    Index("ix_fills_client_order_id", "client_order_id"),
)

# Double entry: the amounts of one transaction sum to zero in each currency (None: the account's).
postings = Table(
    "postings",
    metadata,
    Column("transaction_id", String(80), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("session", Date, nullable=False),
    Column("account", String(24), nullable=False),
    Column("symbol", String(32)),
    _quantity("quantity"),
    _money("amount"),
    Column("currency", String(8)),
    Column("execution_id", String(64)),
    Column("recorded_at", UtcDateTime, nullable=False),
    Index("ix_postings_account", "account"),
    Index("ix_postings_symbol", "symbol"),
)

# End-of-session snapshots: projections of postings and the session's closes.
positions = Table(
    "positions",
    metadata,
    Column("session", Date, primary_key=True),
    Column("symbol", String(32), primary_key=True),
    _quantity("quantity"),
    _money("cost"),
    _money("price"),
    Column("price_session", Date, nullable=False),
    _money("market_value"),
    _money("unrealised_pnl"),
    _money("realised_pnl"),
    _money("commission"),
)

account_snapshots = Table(
    "account_snapshots",
    metadata,
    Column("session", Date, primary_key=True),
    _money("cash"),
    _money("market_value"),
    _money("equity"),
    _money("gross_exposure"),
    _money("net_exposure"),
    _money("realised_pnl"),
    _money("unrealised_pnl"),
    _money("commission"),
    _money("peak_equity"),
)

# Every change of control mode; the newest row is the mode.
control_state = Table(
    "control_state",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("mode", String(16), nullable=False),
    Column("previous", String(16)),
    Column("actor", String(64), nullable=False),
    Column("automatic", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# The risk gate's verdicts, with every check, its value and its limit.
risk_events = Table(
    "risk_events",
    metadata,
    Column("event_id", String(40), primary_key=True),
    # None: the order is not a cycle's (`origin`).
    Column("cycle_id", String(32), ForeignKey("cycles.cycle_id")),
    Column("origin", String(16), nullable=False, server_default="strategy"),
    Column("session", Date, nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("outcome", String(12), nullable=False),
    _quantity("requested_quantity"),
    _quantity("approved_quantity"),
    Column("reasons", CanonicalJson, nullable=False),
    Column("checks", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# Everything the account rules have seen, once each: their state is a projection of these.
account_events = Table(
    "account_events",
    metadata,
    Column("event_key", String(160), primary_key=True),
    Column("trading_day", Date, nullable=False),
    Column("kind", String(24), nullable=False),
    Column("symbol", String(32)),
    Column("happened_at", UtcDateTime, nullable=False),
    Column("payload", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Index("ix_account_events_trading_day", "trading_day"),
)

# What may not be opened, why and until when. `expires_at` None: until `released_at`.
lockouts = Table(
    "lockouts",
    metadata,
    Column("lockout_id", String(64), primary_key=True),
    Column("rule", String(48), nullable=False),
    Column("kind", String(12), nullable=False),  # lockout or cooldown
    Column("symbol", String(32)),  # None: the whole account
    Column("reason", Text, nullable=False),
    Column("trading_day", Date, nullable=False),
    Column("starts_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("released_at", UtcDateTime),
    Column("released_by", String(64)),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# Trading days that were begun: the daily reset happens once each.
daily_resets = Table(
    "daily_resets",
    metadata,
    Column("trading_day", Date, primary_key=True),
    Column("reset_at", UtcDateTime, nullable=False),  # when it was due
    Column("recorded_at", UtcDateTime, nullable=False),  # when it was done
)

# Close all, halve, tighten stops: what positions an action wants, and how far it has come.
risk_actions = Table(
    "risk_actions",
    metadata,
    Column("action_id", String(64), primary_key=True),
    Column("kind", String(24), nullable=False),
    Column("symbol", String(32)),  # None: everything held
    Column("trigger", String(160), nullable=False),
    Column("actor", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("targets", CanonicalJson, nullable=False),
    Column("state", String(12), nullable=False),  # working, done, escalated
    Column("attempts", Integer, nullable=False),
    Column("requested_at", UtcDateTime, nullable=False),
    Column("concluded_at", UtcDateTime),
    Index("ix_risk_actions_state", "state"),
)

# Persons who may loosen the control mode, and the scrypt verifier of their passphrase.
operators = Table(
    "operators",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("salt", String(64), nullable=False),
    Column("verifier", String(128), nullable=False),
    Column("added_by", String(64), nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

# The last sign of life of each process that must give one.
heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("state", String(24), nullable=False),  # ok, or what is wrong
    Column("detail", Text, nullable=False),
    Column("beat_at", UtcDateTime, nullable=False),
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
    _quantity("quantity"),
    _money("price", nullable=True),
    Column("detail", CanonicalJson, nullable=False),
    Column("state", String(12), nullable=False),  # quarantined, adopted, cancelled, dismissed
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("resolved_at", UtcDateTime),
    Column("resolved_by", String(64)),
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
    Column("recorded_at", UtcDateTime, nullable=False),
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
    Column("recorded_at", UtcDateTime, nullable=False),
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

# How each order, or algorithm's order, was executed, against its benchmarks. A projection; made anew at will.
execution_quality = Table(
    "execution_quality",
    metadata,
    Column("order_id", String(40), primary_key=True),
    Column("session", Date, nullable=False),
    Column("symbol", String(32), nullable=False),
    Column("side", String(8), nullable=False),
    Column("algorithm", String(24), nullable=False),
    _quantity("ordered"),
    _quantity("filled"),
    _money("decision_price", nullable=True),
    _money("arrival_price", nullable=True),
    _money("average_price", nullable=True),
    _money("interval_vwap", nullable=True),
    _money("close_price", nullable=True),
    # Basis points of the decision's value, positive is a cost.
    Column("delay_bps", Float),
    Column("spread_bps", Float),
    Column("impact_bps", Float),
    Column("fees_bps", Float),
    Column("opportunity_bps", Float),
    Column("total_bps", Float),
    Column("vwap_slippage_bps", Float),
    Column("participation", Float),
    Column("estimated_bps", Float),  # what the model said before
    Column("evidence", CanonicalJson, nullable=False),
    Index("ix_execution_quality_session", "session"),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("holder", String(128), nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

# What people were told, once each.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_key", String(160), primary_key=True),
    Column("severity", String(12), nullable=False),
    Column("title", Text, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
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
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)


# -- market data services ---------------------------------------------------------------------------------------------

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
    Column("recorded_at", UtcDateTime, nullable=False),
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
    Column("recorded_at", UtcDateTime, nullable=False),
)

# Every change of the vendor an asset class is served by; the newest row of a class is in force.
vendor_switches = Table(
    "vendor_switches",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("asset_class", String(24), nullable=False),
    Column("vendor", String(64), nullable=False),
    Column("previous", String(64)),
    Column("actor", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("sessions", CanonicalJson, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# How far a backfill has come, per vendor and symbol.
backfill_progress = Table(
    "backfill_progress",
    metadata,
    Column("vendor", String(64), primary_key=True),
    Column("symbol", String(32), primary_key=True),
    Column("first", Date, nullable=False),
    Column("last", Date, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# Symbols that are not to be traded on until a person or a clean reconciliation releases them.
quarantine = Table(
    "quarantine",
    metadata,
    Column("symbol", String(32), primary_key=True),
    Column("since", Date, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("actor", String(64), nullable=False),
    Column("released_on", Date),
    Column("released_by", String(64)),
    Column("recorded_at", UtcDateTime, nullable=False),
)

# The instrument master: what is true of an instrument from a date on.
instruments = Table(
    "instruments",
    metadata,
    Column("symbol", String(32), primary_key=True),
    Column("valid_from", Date, primary_key=True),
    Column("valid_to", Date),
    Column("name", String(128), nullable=False),
    Column("asset_class", String(24), nullable=False),
    Column("exchange", String(16), nullable=False),
    Column("currency", String(8), nullable=False),
    _quantity("tick_size"),
    _quantity("lot_size"),
    _quantity("multiplier"),
    _money("minimum_notional", nullable=True),
    Column("trading_hours", CanonicalJson, nullable=False),
    Column("identifiers", CanonicalJson, nullable=False),
    Column("source", String(64), nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
)


# -- models -----------------------------------------------------------------------------------------------------------

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
    Column("recorded_at", UtcDateTime, nullable=False),
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
    Column("recorded_at", UtcDateTime, nullable=False),
    Index("ix_model_events_session", "session"),
)
