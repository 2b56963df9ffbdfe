"""The lake's tables once more on PostgreSQL, for SQL users and dashboards; kept up to date by the lake's change feed.

Belongs here: shaping those tables, filling them, reading and checking them, and dropping their old months. Does not:
anything the desk decides from (that reads the lake, which stays the record), nor the ledger.
"""

from quant_dagster.storage.market_store.store import MarketStore

__all__ = ["MarketStore"]
