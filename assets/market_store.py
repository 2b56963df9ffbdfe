"""The PostgreSQL market store: kept up to date from the lake, where one is set up."""

import dagster as dg
import polars as pl

from assets.metadata import OWNERS, markdown_table
from quant_dagster.cycle.context import code_version
from quant_dagster.storage.market_store import MarketStore
from resources.desk import DeskResource


def build_market_store_assets() -> list[dg.AssetsDefinition]:
    """``market_store``."""

    @dg.asset(
        group_name="market_data",
        owners=OWNERS,
        code_version=code_version(),
        deps=["price_history", "bars"],
        kinds={"python", "postgres"},
        description="The lake's tables on PostgreSQL for SQL users and dashboards, brought to the lake's newest "
        "versions: only rows that changed are sent. Does nothing where storage.market_url is not set.",
    )
    def market_store(context: dg.AssetExecutionContext, desk: DeskResource) -> dg.MaterializeResult:
        trading = desk.open()
        storage = trading.settings.storage
        if storage.market_url is None:
            return dg.MaterializeResult(metadata={"market_store": "not configured: storage.market_url is empty"})
        store = MarketStore(storage.market_url, clock=trading.now)
        try:
            made_of = store.upgrade()
            dropped = []
            if storage.market_retention_months is not None:
                # Before the sync: a first sync then leaves out what would be dropped at once.
                dropped = store.retain(storage.market_retention_months)
            done = store.sync(trading.lake)
            status = pl.DataFrame([vars(one) for one in store.status(trading.lake)], infer_schema_length=None)
        finally:
            store.close()
        return dg.MaterializeResult(
            metadata={
                "market_store": made_of,
                "address": store.database.address,
                "dagster/row_count": int(status["rows"].sum()),
                "rows_written": sum(one.rows_written for one in done),
                "rows_deleted": sum(one.rows_deleted for one in done),
                "five_minute_bars_made": sum(one.buckets for one in done),
                "dropped": ", ".join(dropped) or "nothing",
                "tables": dg.MetadataValue.md(markdown_table(status)),
            }
        )

    return [market_store]
