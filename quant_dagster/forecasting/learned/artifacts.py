"""Files of trained models: a cache, and what is said of each model beside it.

``<key>.joblib`` is the model, ``<key>.json`` its report. The key is a hash of everything the model is a function of:
the bars it was trained on, the settings, the versions of the libraries and the code. So a file is never out of date,
and a missing one only costs a training. A model file is unpickled only when its checksum is the report's.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_dagster import features
from quant_dagster.forecasting import learned
from quant_dagster.forecasting.learned.boosting import Trained
from quant_dagster.forecasting.parameters import ForecastParameters
from quant_dagster.forecasting.records import ForecastModel
from quant_dagster.market_data.panel import FIELDS, Panel

_LOG = logging.getLogger(__name__)
_LIBRARIES = ("scikit-learn", "numpy", "joblib")


def artifact_key(panel: Panel, settings: ForecastParameters) -> str:
    """Key of the model trained on the whole of ``panel``: 24 hexadecimal digits."""
    digest = hashlib.sha256()
    content = [asdict(settings.learned), settings.exchange, panel.symbols, _code(), _versions()]
    digest.update(json.dumps(content, sort_keys=True).encode())
    digest.update(panel.sessions.astype("datetime64[D]").astype(np.int64).tobytes())
    for field in FIELDS:
        digest.update(np.where(np.isnan(values := getattr(panel, field)), np.nan, values).tobytes(order="F"))
    return digest.hexdigest()[:24]


def store_model(folder: Path, key: str, trained: Trained) -> Path:
    """Write model and report, each complete or not at all; the path of the report."""
    import joblib

    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    joblib.dump(trained, buffer, compress=3)
    content = buffer.getvalue()
    _replace(folder / f"{key}.joblib", content)
    report = report_of(trained, key, hashlib.sha256(content).hexdigest())
    path = folder / f"{key}.json"
    _replace(path, json.dumps(report, indent=1, allow_nan=False).encode())
    return path


def load_model(folder: Path, key: str) -> Trained | None:
    """The model of that key; None where there is none, or where its file is not the one its report describes."""
    import joblib

    model, report = folder / f"{key}.joblib", folder / f"{key}.json"
    if not model.exists() or not report.exists():
        return None
    content = model.read_bytes()
    try:
        promised = json.loads(report.read_text(encoding="utf-8"))["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        _LOG.error("report %s cannot be read (%r); the model is trained anew", report, error)
        return None
    if hashlib.sha256(content).hexdigest() != promised:
        _LOG.error("model %s is not the file its report describes; it is not opened but trained anew", model)
        return None
    trained = joblib.load(io.BytesIO(content))
    return trained if isinstance(trained, Trained) else None


def report_of(trained: Trained, key: str, sha256: str) -> dict[str, Any]:
    """What is said of a model, as plain JSON values."""
    return {
        "key": key,
        "sha256": sha256,
        "model": ForecastModel.BOOSTING.value,
        "trained_on": trained.trained_on.isoformat(),
        "horizon": trained.horizon,
        "sessions": trained.sessions,
        "features": list(trained.trees.features),
        "metrics": {
            "information_coefficient": trained.information_coefficient,
            "ic_t": trained.ic_t,
            "unseen_sessions": trained.unseen,
            "folds": list(trained.folds),
            "slope": trained.slope,
            "raw_slope": trained.raw_slope,
            "residual_scale": trained.residual_scale,
        },
        "importance": [list(row) for row in trained.importance],
        "libraries": _versions(),
        "code": _code(),
    }


def importance_frame(report: Mapping[str, Any]) -> pl.DataFrame:
    """Rows of table ``feature_importance`` from a model's report, by fold and rank."""
    rows = report["importance"]
    columns = {
        "session": pl.Series([date.fromisoformat(report["trained_on"])] * len(rows), dtype=pl.Date),
        "model": pl.Series([report["model"]] * len(rows), dtype=pl.String),
        "fold": pl.Series([row[0] for row in rows], dtype=pl.Int32),
        "feature": pl.Series([row[1] for row in rows], dtype=pl.String),
        "importance": pl.Series([row[2] for row in rows], dtype=pl.Float64),
        "rank": pl.Series([row[3] for row in rows], dtype=pl.Int32),
        "selected": pl.Series([row[4] for row in rows], dtype=pl.Boolean),
    }
    return pl.DataFrame(columns)


@cache
def _code() -> str:
    """Hash of the sources a model depends on: this package and the features'."""
    digest = hashlib.sha256()
    for package in (features, learned):
        for source in sorted(Path(str(package.__file__)).parent.glob("*.py")):
            digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    os.replace(temporary, path)
