"""Tables of trading: orders, their events, executions and what executing cost."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Date, Float, ForeignKey, Index, Integer, String, Table

from quant_dagster.storage.ledger_tables.base import metadata, money, quantity, recorded_at
from quant_dagster.storage.types import CanonicalJson, UtcDateTime


def _what_is_ordered() -> tuple[Column[Any], ...]:
    return (
        # None: nobody decided on the symbol, the order is an automatic action's or a command's (`origin`).
        Column("decision_id", String(32), ForeignKey("decisions.decision_id")),
        Column("strategy", String(64), nullable=False),
        Column("origin", String(16), nullable=False, server_default="strategy"),
        Column("session", Date, nullable=False),
        Column("symbol", String(32), nullable=False),
        Column("side", String(8), nullable=False),
        quantity("quantity"),
    )


# An order that an algorithm works in slices: what the risk gate approved as a whole. `state` and what follows it are a
# projection of parent_events.
parent_orders = Table(
    "parent_orders",
    metadata,
    Column("parent_id", String(40), primary_key=True),
    *_what_is_ordered(),
    Column("reduce_only", Integer, nullable=False, server_default="0"),
    Column("algorithm", String(24), nullable=False),
    Column("parameters", CanonicalJson, nullable=False),
    money("decision_price"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("state", String(12), nullable=False),  # approved, working, paused, done, cancelled
    Column("starts_at", UtcDateTime),
    Column("ends_at", UtcDateTime),
    money("arrival_price", nullable=True),
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
    recorded_at(),
)

# Columns from `status` on are a projection of order_events.
orders = Table(
    "orders",
    metadata,
    Column("client_order_id", String(40), primary_key=True),
    *_what_is_ordered(),
    Column("order_type", String(16), nullable=False),
    Column("time_in_force", String(8), nullable=False),
    # 1: the venue fills no more of it than closes what is held.
    Column("reduce_only", Integer, nullable=False, server_default="0"),
    money("stop_price", nullable=True),
    money("limit_price", nullable=True),
    # The algorithm's order this one is a slice of.
    Column("parent_id", String(40), ForeignKey("parent_orders.parent_id")),
    money("decision_price"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("status", String(24), nullable=False),
    quantity("filled_quantity"),
    money("average_fill_price", nullable=True),
    # The broker's number, written down before the order is sent.
    Column("broker_order_id", String(64)),
    # The first instant the order can be at the broker, in the market's time; its price then is `arrival_price`.
    Column("sent_at", UtcDateTime),
    money("arrival_price", nullable=True),
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
    recorded_at(),
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
    quantity("quantity"),
    money("price"),
    money("commission"),
    money("decision_price"),
    money("reference_price"),
    # When it happened, where the venue knows more than the session.
    Column("executed_at", UtcDateTime),
    # None: the account's currency.
    Column("currency", String(8)),
    Column("provenance", CanonicalJson, nullable=False),
    recorded_at(),
    Index("ix_fills_session", "session"),
    Index("ix_fills_symbol", "symbol"),
    Index("ix_fills_client_order_id", "client_order_id"),
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
    quantity("ordered"),
    quantity("filled"),
    money("decision_price", nullable=True),
    money("arrival_price", nullable=True),
    money("average_price", nullable=True),
    money("interval_vwap", nullable=True),
    money("close_price", nullable=True),
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
