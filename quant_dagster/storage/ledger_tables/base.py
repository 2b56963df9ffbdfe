"""What the ledger's tables share: their naming of keys and indexes, and exact columns of money and quantities."""

from __future__ import annotations

from sqlalchemy import Column, MetaData

from quant_dagster.storage.types import MONEY_PLACES, QUANTITY_PLACES, Scaled, UtcDateTime

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def money(name: str, nullable: bool = False) -> Column[object]:
    """An amount of currency, exact to a millionth."""
    return Column(name, Scaled(MONEY_PLACES), nullable=nullable)


def quantity(name: str) -> Column[object]:
    """A number of shares, contracts or coins, exact to 1e-8."""
    return Column(name, Scaled(QUANTITY_PLACES), nullable=False)


def recorded_at() -> Column[object]:
    """When the row was written, by the ledger's clock."""
    return Column("recorded_at", UtcDateTime, nullable=False)
