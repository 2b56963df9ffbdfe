"""The feature store: Feast with the guarantees that trading needs and Feast alone does not give.

* History never looks ahead: a restated value counts from when it was known (``filter_by_created_timestamp``).
* Online, an older value never replaces a newer one, and a value that is too old, or from after the time asked
  about, is absent. Feast itself serves years-old values as present.

Feast takes seconds to import, so it is imported on first use.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from filelock import FileLock

from quant_dagster.errors import ConfigurationError, StorageError
from quant_dagster.features.calendar import session_closes
from quant_dagster.features.compute import view_columns
from quant_dagster.features.definitions import FEATURES, View
from quant_dagster.features.offline import EVENT, OfflineFiles
from quant_dagster.features.services import SERVICE, SERVICES

MAX_AGE = timedelta(days=10)
"""Age at which a value counts as absent, offline (the views' TTL) and online. Longer makes historical joins many
times slower."""


@dataclass(frozen=True)
class OnlinePush:
    """What a push did, in (symbol, view) rows: those now served, and those where something newer was kept."""

    session: date
    written: int
    kept_newer: int


class FeatureStore:
    """Features of every session, offline and online.

    Parameters
    ----------
    repo
        The folder ``feature_repo``.
    root
        The features folder, usually ``QUANT_HOME/features``; created by ``apply``.
    postgres_url
        SQLAlchemy URL for registry and online store; default: SQLite files below ``root``.
    exchange
        Calendar that says when a session closed.
    """

    def __init__(self, repo: Path, root: Path, postgres_url: str | None = None, exchange: str = "XNYS") -> None:
        self.repo = Path(repo).resolve()
        self.root = Path(root).expanduser().resolve()
        self.postgres_url = postgres_url
        self.exchange = exchange
        self.offline = OfflineFiles(self.root, exchange)
        self._services: dict[str, Any] = {}
        """Services asked for before: Feast reads one from the registry anew each time, which takes longer than to serve
        fifty symbols."""

    def apply(self) -> None:
        """Create or update registry, folders and online tables. May be repeated, also by several processes."""
        definitions = _load(self.repo / "equity_features.py")
        self.root.mkdir(parents=True, exist_ok=True)
        # Feast's registry numbers a view's versions by reading and then inserting: two at once would collide.
        with FileLock(self.root / "registry.lock", timeout=120):
            self._services.clear()
            self._feast.apply(definitions.repository(self.root).objects())
            self._guard_postgres()

    def write_offline(self, frame: pl.DataFrame, known_at: datetime | None = None) -> int:
        """Add a long frame of features (symbol, session, features); return the number of rows that were news.

        ``known_at`` is when the values could first be known (UTC); None takes it from the column ``known_at``.
        Writing the same again adds nothing; a changed value needs a later ``known_at``. See ``OfflineFiles.write``.
        """
        return self.offline.write(frame, known_at)

    def push_online(self, session: date) -> OnlinePush:
        """Serve the newest known values of a session; symbols already served with a newer session keep it.

        Raises
        ------
        StorageError
            Nothing was written offline for that session.
        """
        close = self._close(session)
        self._guard_postgres()
        pushed: dict[str, list[str]] = {}
        for view in View:
            rows = self.offline.known(view, close, close)
            values = rows.select(view_columns(view))
            # Where closes are all there is, a view of volumes has nothing to serve; Feast would warn and skip it too.
            if sum(values.null_count().row(0)) < values.height * values.width:
                self._feast.write_to_online_store(view.value, rows.to_pandas())
                pushed[view.value] = rows["symbol"].to_list()
        if not pushed:
            raise StorageError(f"cannot push {session} online: no features of it are stored; write_offline first")
        written = sum(self._served_from(view, symbols, close) for view, symbols in pushed.items())
        return OnlinePush(session, written, sum(map(len, pushed.values())) - written)

    def get_online(
        self,
        symbols: Sequence[str],
        features: Sequence[str] | str = SERVICE,
        *,
        now: datetime,
        max_age: timedelta = MAX_AGE,
    ) -> pl.DataFrame:
        """Served values, one row a symbol in the order asked.

        Parameters
        ----------
        symbols
            Unknown ones give nulls.
        features
            A feature service, or names of features (``rsi_14``).
        now
            The time to judge age by. Values from after it or older than ``max_age`` are null.

        Returns
        -------
        pl.DataFrame
            symbol, event_timestamp (the oldest of the values in the row; null if none), and the features.
        """
        asked = self._references(features)
        response = self._feast.get_online_features(features=asked, entity_rows=[{"symbol": name} for name in symbols])
        # to_dict would look up the type of every single value
        names_found = response.proto.metadata.feature_names.val
        answer = dict(zip(names_found, response.proto.results, strict=True))
        names = self._ordered(features, list(answer))
        oldest, newest = max(1, int((now - max_age).timestamp())), int(now.timestamp())
        never = sys.maxsize
        times = [never] * len(symbols)
        columns: dict[str, list[float | None]] = {}
        for name in names:
            vector = answer[name]
            columns[name] = column = []
            for i, (value, moment) in enumerate(zip(vector.values, vector.event_timestamps, strict=True)):
                stamp = moment.seconds
                if oldest <= stamp <= newest:
                    times[i] = min(times[i], stamp)
                    column.append(value.double_val if value.HasField("double_val") else None)
                else:
                    column.append(None)
        events = [None if stamp == never else datetime.fromtimestamp(stamp, UTC) for stamp in times]
        row_keys = [pl.Series("symbol", symbols, pl.String), pl.Series(EVENT, events, pl.Datetime("us", "UTC"))]
        return pl.DataFrame([*row_keys, *(pl.Series(name, column, pl.Float64) for name, column in columns.items())])

    def served_since(self, symbols: Sequence[str], features: Sequence[str] | str = SERVICE) -> list[datetime | None]:
        """Time of the oldest value that is served of each symbol, however old; None where there is none at all."""
        far = datetime(9999, 1, 1, tzinfo=UTC)
        ages = far - datetime(1971, 1, 1, tzinfo=UTC)
        return self.get_online(symbols, features, now=far, max_age=ages)[EVENT].to_list()

    def contents(self) -> list[dict[str, Any]]:
        """What the registry holds: a row for each view and service, with its features."""
        views = sorted(self._feast.list_feature_views(), key=lambda view: list(View).index(View(view.name)))
        rows = [
            {
                "kind": "view",
                "name": view.name,
                "features": [field.name for field in view.features],
                "description": view.description,
            }
            for view in views
        ]
        services = {service.name: service for service in self._feast.list_feature_services()}
        for name in [*(name for name in SERVICES if name in services), *sorted(set(services) - set(SERVICES))]:
            held = [field.name for part in services[name].feature_view_projections for field in part.features]
            description = services[name].description
            rows.append({"kind": "service", "name": name, "features": held, "description": description})
        return rows

    def get_historical(self, entities: pl.DataFrame, features: Sequence[str] | str = SERVICE) -> pl.DataFrame:
        """Point-in-time values: for each row the newest event not after its time, as it was known at its time.

        Parameters
        ----------
        entities
            Columns symbol and event_timestamp (``Datetime("us", "UTC")``), and any others, which are kept.
        features
            A feature service, or names of features.

        Returns
        -------
        pl.DataFrame
            The rows and their order, with the features; null where nothing was known within the views' TTL.
        """
        if entities.is_empty():
            raise StorageError("cannot read features: the entity frame has no rows")
        table = entities.with_row_index("_row").with_columns(pl.col(EVENT).cast(pl.Datetime("us", "UTC")))
        job = self._feast.get_historical_features(
            entity_df=table.to_pandas(), features=self._references(features), filter_by_created_timestamp=True
        )
        found = pl.DataFrame(job.to_arrow()).sort("_row")
        names = self._ordered(features, found.columns)
        return entities.hstack(found.select(pl.col(names).cast(pl.Float64)))

    def serve(self, host: str, port: int) -> None:
        """Answer over HTTP with Feast's own feature server until interrupted (SIGINT or SIGTERM).

        ``feast serve`` runs the same application below gunicorn, which keeps a socket in the user's home, replaces its
        worker every thousand requests (a second of which nobody is answered) and takes half a minute to stop. Age is
        not judged here: Feast answers with what is served, and its time.
        """
        import uvicorn
        from feast.feature_server import get_app

        uvicorn.run(get_app(self._feast), host=host, port=port, access_log=False, log_level="warning")

    @cached_property
    def _feast(self) -> Any:
        """Feast's own store over this configuration."""
        import feast

        from quant_dagster.features import feast_home  # noqa: F401 - registers the SQLite dialect with SQLAlchemy

        self.root.mkdir(parents=True, exist_ok=True)
        if self.postgres_url is None:
            registry = f"sqlite+quant_home:///{self.root / 'registry.db'}"
            online: dict[str, Any] = {
                "type": "quant_dagster.features.feast_home.QuantHomeOnlineStore",
                "path": str(self.root / "online.db"),
            }
        else:
            registry, online = _postgres(self.postgres_url)
        config = feast.RepoConfig(
            project="quant_dagster",
            provider="local",
            registry={"registry_type": "sql", "path": registry},
            offline_store={"type": "duckdb"},
            online_store=online,
            entity_key_serialization_version=3,
        )
        config.repo_path = self.repo
        return feast.FeatureStore(config=config)

    def _guard_postgres(self) -> None:
        """Install the triggers that refuse older values; the SQLite store does this itself."""
        if self.postgres_url is None:
            return
        from quant_dagster.features.feast_home import online_table, postgres_guard

        with self._feast.registry.write_engine.begin() as connection:
            for view in View:
                for statement in postgres_guard(online_table("quant_dagster", view.value)):
                    connection.exec_driver_sql(statement)

    def _references(self, features: Sequence[str] | str) -> Any:
        if isinstance(features, str):
            if features in self._services:
                return self._services[features]
            from feast.errors import FeatureServiceNotFoundException

            try:
                self._services[features] = self._feast.get_feature_service(features)
                return self._services[features]
            except FeatureServiceNotFoundException:
                known = ", ".join(sorted(service.name for service in self._feast.list_feature_services()))
                raise ConfigurationError(f"no feature service '{features}'; there are: {known}") from None
        unknown = [name for name in features if name not in FEATURES]
        if unknown:
            raise ConfigurationError(
                f"unknown features {unknown}; 'quant features list' names those there are (definitions.FEATURES)"
            )
        return [f"{FEATURES[name].view.value}:{name}" for name in features]

    def _ordered(self, features: Sequence[str] | str, found: Sequence[str]) -> list[str]:
        """Feature columns in the order asked, a service's in the order of the registry: Feast's order varies."""
        return [name for name in FEATURES if name in found] if isinstance(features, str) else list(features)

    def _served_from(self, view: str, symbols: list[str], close: datetime) -> int:
        """How many of the symbols are served with exactly the event at ``close``."""
        feature = next(name for name, definition in FEATURES.items() if definition.view.value == view)
        return sum(moment == close.replace(microsecond=0) for moment in self.served_since(symbols, [feature]))

    def _close(self, session: date) -> datetime:
        closes = session_closes(np.array([session], dtype="datetime64[D]"), self.exchange)
        return pl.Series(closes).dt.replace_time_zone("UTC")[0]  # type: ignore[no-any-return]


def _load(path: Path) -> Any:
    """The repository's objects, as a module that no other module's name can shadow."""
    name = "quant_dagster_feature_repo"
    if name in sys.modules and sys.modules[name].__file__ == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ConfigurationError(f"no Feast repository at {path}: pass the folder that holds it")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _postgres(url: str) -> tuple[str, dict[str, Any]]:
    """Feast's registry URL and online store settings for one PostgreSQL database (psycopg 3)."""
    from sqlalchemy import make_url

    parsed = make_url(url).set(drivername="postgresql+psycopg")
    host = parsed.host or parsed.query.get("host")
    port = parsed.port or parsed.query.get("port") or 5432
    if not host or not parsed.database:
        raise ConfigurationError("the feature store's PostgreSQL URL needs a host and a database: postgresql://u@h/db")
    online = {
        "type": "postgres",
        "host": host,
        "port": int(str(port)),
        "database": parsed.database,
        "db_schema": "public",
        "user": parsed.username or "postgres",
        "password": parsed.password or "",
        "sslmode": parsed.query.get("sslmode", "prefer"),
    }
    return parsed.render_as_string(hide_password=False), online
