"""SQL models as assets."""

import dagster as dg


def build_mart_assets() -> list[dg.AssetsDefinition]:
    """Nothing yet."""
    return []
