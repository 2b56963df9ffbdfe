"""What is served, by which key, from which files: entity, sources, feature views and services.

One feature view per ``View`` of ``quant_dagster.features.definitions``, generated from the one list of features, so
that what is computed and what is served cannot drift apart. Importing this module touches no file:
``repository(root)`` builds the objects over any folder, ``definitions`` over QUANT_HOME's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, PushSource, ValueType
from feast.data_format import ParquetFormat
from feast.types import Float64, String

from quant_dagster.features.definitions import FEATURES, View, features_of
from quant_dagster.features.offline import CREATED, EVENT, OfflineFiles
from quant_dagster.features.services import SERVICES
from quant_dagster.features.store import MAX_AGE

PURPOSE = {
    View.RETURNS: "Returns, their lags, moments and extremes, and momentum.",
    View.TREND: "Where the close stands against its averages; oscillators; drawdown.",
    View.VOLATILITY: "How much the price moves, from closes and from ranges.",
    View.LIQUIDITY: "What is traded and what it costs to trade; absent without volume.",
    View.CROSS_SECTION: "A symbol against the other symbols of the same session.",
    View.CALENDAR: "What the exchange calendar says in advance.",
}


@dataclass(frozen=True)
class Repository:
    """The objects of the repository, for one folder of offline files."""

    symbol: Entity
    push_sources: tuple[PushSource, ...]
    views: tuple[FeatureView, ...]
    services: tuple[FeatureService, ...]

    def objects(self) -> list[Entity | PushSource | FeatureView | FeatureService]:
        """Everything, in the order in which it can be applied."""
        return [self.symbol, *self.push_sources, *self.views, *self.services]


def repository(root: Path) -> Repository:
    """Entities, sources, views and services over the offline files below ``root``, whose folders are created."""
    files = OfflineFiles(root)
    files.prepare()
    symbol = Entity(
        name="symbol",
        join_keys=["symbol"],
        value_type=ValueType.STRING,
        description="An instrument by its ticker on its primary exchange.",
    )
    pushes = []
    views: dict[View, FeatureView] = {}
    for view in View:
        source = FileSource(
            name=f"{view.value}_files",
            path=str(files.folder(view).resolve()),
            file_format=ParquetFormat(),
            timestamp_field=EVENT,
            created_timestamp_column=CREATED,
            description=f"{PURPOSE[view]} Monthly Parquet files; a restated value is a later row.",
        )
        push = PushSource(name=f"{view.value}_push", batch_source=source)
        schema = [Field(name="symbol", dtype=String)]
        for feature in features_of(view):
            tags = {"unit": feature.unit, "needs": ",".join(feature.needs), "warm_up": str(feature.warm_up)}
            schema.append(Field(name=feature.name, dtype=Float64, description=feature.description, tags=tags))
        views[view] = FeatureView(
            name=view.value,
            entities=[symbol],
            ttl=MAX_AGE,
            schema=schema,
            source=push,
            online=True,
            description=PURPOSE[view],
            tags={"layer": "features"},
        )
        pushes.append(push)
    return Repository(symbol, tuple(pushes), tuple(views.values()), tuple(_services(views)))


def _services(views: dict[View, FeatureView]) -> Iterator[FeatureService]:
    for name, service in SERVICES.items():
        chosen: dict[View, list[str]] = {}
        for feature in service.features:
            chosen.setdefault(FEATURES[feature].view, []).append(feature)
        yield FeatureService(
            name=name,
            features=[views[view][names] for view, names in chosen.items()],
            description=service.description,
            tags={"layer": "features"},
        )
