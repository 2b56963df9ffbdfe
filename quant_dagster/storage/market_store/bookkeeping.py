"""What the store says of itself: how it was built, which version of each table it holds, from which session on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import Connection, text

from quant_dagster.errors import StorageError
from quant_dagster.storage.market_store.schema import SCHEMA, first_kept
from quant_dagster.storage.market_store.timescale import StoreEngine


@dataclass(frozen=True)
class Synced:
    """What the store holds of a table.

    Attributes
    ----------
    lake_version, committed_at
        The lake version it equals, and when that was committed: a lake made anew has other times. None: never synced.
    kept_from
        First session kept; earlier ones were dropped. None: all.
    policy_months
        Months the server's own retention policy keeps (TimescaleDB); None: it has none.
    """

    table: str
    lake_version: int | None = None
    committed_at: datetime | None = None
    synced_at: datetime | None = None
    kept_from: date | None = None
    policy_months: int | None = None

    def horizon(self, now: datetime) -> date | None:
        """First session the store answers for: nothing older is written to it or missed in it."""
        by_policy = None if self.policy_months is None else first_kept(self.policy_months, now.date())
        known = [bound for bound in (self.kept_from, by_policy) if bound is not None]
        return max(known, default=None)


def read_engine(connection: Connection) -> StoreEngine:
    """How the store was built; a StorageError where it was not."""
    found = connection.execute(text(f"SELECT engine FROM {SCHEMA}.store_engine")).scalar()
    if found is None:
        raise StorageError("the market store was not set up: run 'quant market-store upgrade'")
    return StoreEngine(found)


def read_synced(connection: Connection, table: str) -> Synced:
    """What the store holds of a table."""
    return read_all(connection).get(table, Synced(table))


def read_all(connection: Connection) -> dict[str, Synced]:
    """What the store holds of every table ever synced or cut."""
    rows = connection.execute(
        text(
            "SELECT table_name, lake_version, committed_at, synced_at, kept_from, policy_months "
            f"FROM {SCHEMA}.synced_tables ORDER BY table_name"
        )
    )
    return {row[0]: Synced(*row) for row in rows}


def write_synced(connection: Connection, synced: Synced) -> None:
    """Record what the store holds of a table, in the transaction that made it so."""
    connection.execute(
        text(
            f"INSERT INTO {SCHEMA}.synced_tables VALUES "
            "(:table, :lake_version, :committed_at, :synced_at, :kept_from, :policy_months) "
            "ON CONFLICT (table_name) DO UPDATE SET lake_version = EXCLUDED.lake_version, "
            "committed_at = EXCLUDED.committed_at, synced_at = EXCLUDED.synced_at, kept_from = EXCLUDED.kept_from, "
            "policy_months = EXCLUDED.policy_months"
        ),
        vars(synced),
    )
