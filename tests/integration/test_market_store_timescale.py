"""When TimescaleDB is used, and the statements that are then sent.

The texts follow TimescaleDB's reference, https://www.tigerdata.com/docs/reference/timescaledb: pages create_hypertable,
drop_chunks, show_chunks, create_materialized_view (continuous aggregate), refresh_continuous_aggregate,
add_continuous_aggregate_policy, add_retention_policy, remove_retention_policy. They are run by ``test_market_store.py``
where a server with TimescaleDB is at hand.
"""

from __future__ import annotations

from datetime import date

import pytest

from quant_dagster.errors import StorageError
from quant_dagster.storage.market_store import MarketStore, timescale
from quant_dagster.storage.market_store.timescale import Extension, StoreEngine, choose
from quant_dagster.storage.tables import TABLES


@pytest.mark.parametrize(
    ("extension", "engine"),
    [
        (Extension(None, None, False, None), StoreEngine.POSTGRESQL),
        (Extension("2.23.1", None, True, "timescale"), StoreEngine.TIMESCALEDB),
        (Extension("2.23.1", "2.23.1", None, "timescale"), StoreEngine.TIMESCALEDB),
        (Extension("2.23.1", None, False, None), StoreEngine.POSTGRESQL),
        (Extension("2.23.1", None, None, None), StoreEngine.POSTGRESQL),
        (Extension("2.23.1", "2.23.1", True, "apache"), StoreEngine.POSTGRESQL),
    ],
)
def test_timescaledb_is_used_where_it_can_be_installed_and_has_its_community_features(
    extension: Extension, engine: StoreEngine
) -> None:
    chosen, why = choose(extension)
    assert chosen is engine
    assert "TimescaleDB" in why


def test_a_hypertable_is_cut_by_a_column_of_every_unique_key() -> None:
    for table in TABLES.values():
        if table.partitioned:
            assert timescale.dimension(table) in table.key
    assert timescale.create_hypertable(TABLES["bars"]) == (
        "SELECT create_hypertable('market.\"bars\"', by_range('session', INTERVAL '1 month'), "
        "create_default_indexes => false, if_not_exists => true)"
    )
    assert "by_range('bar_start', INTERVAL '1 month')" in timescale.create_hypertable(TABLES["intraday_bars"])


def test_the_continuous_aggregate_buckets_the_hypertables_own_dimension() -> None:
    statement = timescale.create_continuous_aggregate()
    assert statement.startswith(
        'CREATE MATERIALIZED VIEW IF NOT EXISTS market."intraday_bars_5m" '
        "WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS SELECT "
    )
    assert (
        f"time_bucket(INTERVAL '5 minutes', {timescale.dimension(TABLES['intraday_bars'])}) AS bucket_start"
        in statement
    )
    assert statement.endswith("GROUP BY vendor, symbol, session, bucket_start WITH NO DATA")
    assert timescale.refresh() == "CALL refresh_continuous_aggregate('market.intraday_bars_5m', NULL, NULL)"
    assert timescale.add_refresh_policy() == (
        "SELECT add_continuous_aggregate_policy('market.intraday_bars_5m', start_offset => NULL, end_offset => NULL, "
        "schedule_interval => INTERVAL '1 hour', if_not_exists => true)"
    )


def test_the_servers_own_retention_never_reaches_into_the_months_kept() -> None:
    """It drops chunks by instant and not by session: a week and a month of margin."""
    assert timescale.replace_retention_policy(TABLES["intraday_bars"], 3) == (
        "SELECT remove_retention_policy('market.\"intraday_bars\"', if_exists => true)",
        "SELECT add_retention_policy('market.\"intraday_bars\"', drop_after => INTERVAL '4 months 7 days')",
    )
    assert timescale.drop_chunks(TABLES["trades"], date(2024, 3, 1)) == (
        "SELECT drop_chunks('market.\"trades\"', older_than => DATE '2024-03-01')::text"
    )
    assert timescale.drop_chunks(TABLES["intraday_bars"], date(2024, 3, 1), dry_run=True) == (
        "SELECT show_chunks('market.\"intraday_bars\"', older_than => TIMESTAMPTZ '2024-02-23 00:00:00+00')::text"
    )


@pytest.mark.postgres
def test_a_store_is_not_half_made_where_the_offered_extension_cannot_be_installed(postgres_url: str) -> None:
    """This server has not loaded TimescaleDB: told that it has, the store fails whole, and names the reason."""
    offered = Extension("2.23.1", None, True, "timescale")
    store = MarketStore(postgres_url, extension=lambda _connection: offered)
    with pytest.raises(StorageError, match="timescaledb"):
        store.upgrade()
    with pytest.raises(StorageError, match="market-store upgrade"):
        store.versions()
    store.close()
    plain = MarketStore(postgres_url)
    assert plain.upgrade().startswith("postgresql: ")
    later = MarketStore(postgres_url, extension=lambda _connection: offered)
    assert later.upgrade().startswith("postgresql: it was made so"), "what it is made of stays"
    plain.close()
    later.close()
