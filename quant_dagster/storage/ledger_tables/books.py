"""Tables of the books: double entry, and the end-of-session snapshots that follow from it."""

from __future__ import annotations

from sqlalchemy import Column, Date, Index, Integer, String, Table

from quant_dagster.storage.ledger_tables.base import metadata, money, quantity, recorded_at

# Double entry: the amounts of one transaction sum to zero in each currency (None: the account's).
postings = Table(
    "postings",
    metadata,
    Column("transaction_id", String(80), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("session", Date, nullable=False),
    Column("account", String(24), nullable=False),
    Column("symbol", String(32)),
    quantity("quantity"),
    money("amount"),
    Column("currency", String(8)),
    Column("execution_id", String(64)),
    recorded_at(),
    Index("ix_postings_account", "account"),
    Index("ix_postings_symbol", "symbol"),
)

# End-of-session snapshots: projections of postings and the session's closes.
positions = Table(
    "positions",
    metadata,
    Column("session", Date, primary_key=True),
    Column("symbol", String(32), primary_key=True),
    quantity("quantity"),
    money("cost"),
    money("price"),
    Column("price_session", Date, nullable=False),
    money("market_value"),
    money("unrealised_pnl"),
    money("realised_pnl"),
    money("commission"),
)

account_snapshots = Table(
    "account_snapshots",
    metadata,
    Column("session", Date, primary_key=True),
    money("cash"),
    money("market_value"),
    money("equity"),
    money("gross_exposure"),
    money("net_exposure"),
    money("realised_pnl"),
    money("unrealised_pnl"),
    money("commission"),
    money("peak_equity"),
)
