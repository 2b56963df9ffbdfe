"""Tables of market data: instruments, vendor changes, backfills, symbols not to be traded on."""

from __future__ import annotations

from sqlalchemy import Column, Date, Integer, String, Table, Text

from quant_dagster.storage.ledger_tables.base import metadata, money, quantity, recorded_at
from quant_dagster.storage.types import CanonicalJson

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
    recorded_at(),
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
    recorded_at(),
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
    recorded_at(),
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
    quantity("tick_size"),
    quantity("lot_size"),
    quantity("multiplier"),
    money("minimum_notional", nullable=True),
    Column("trading_hours", CanonicalJson, nullable=False),
    Column("identifiers", CanonicalJson, nullable=False),
    Column("source", String(64), nullable=False),
    recorded_at(),
)
