"""Tables of risk: control modes, verdicts, account rules, automatic actions, persons and signs of life."""

from __future__ import annotations

from sqlalchemy import Column, Date, ForeignKey, Index, Integer, String, Table, Text

from quant_dagster.storage.ledger_tables.base import metadata, quantity, recorded_at
from quant_dagster.storage.types import CanonicalJson, UtcDateTime

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
    recorded_at(),
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
    quantity("requested_quantity"),
    quantity("approved_quantity"),
    Column("reasons", CanonicalJson, nullable=False),
    Column("checks", CanonicalJson, nullable=False),
    recorded_at(),
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
    recorded_at(),
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
    recorded_at(),
)

# Trading days that were begun: the daily reset happens once each.
daily_resets = Table(
    "daily_resets",
    metadata,
    Column("trading_day", Date, primary_key=True),
    Column("reset_at", UtcDateTime, nullable=False),  # when it was due
    recorded_at(),  # when it was done
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
    recorded_at(),
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
