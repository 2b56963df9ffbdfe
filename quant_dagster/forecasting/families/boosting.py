"""Boosted trees on the features, as a family: one model for all symbols, trained anew every ``retrain_sessions``.

Which model answers at a session follows from its rows of earlier sessions (what they were trained on) and from the
panel, never from what is on the disk: a model that is not there is trained again to the same bits. Where the bars it
was trained on have been restated since, other symbols are followed, or the code has changed, it could not be, and a new
one is trained at this session.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np

from quant_dagster.errors import ForecastError
from quant_dagster.forecasting.families.protocol import NOT_ASKED, Answer, EarlierFit, Reply, Request
from quant_dagster.forecasting.learned.artifacts import artifact_key, load_model, store_model
from quant_dagster.forecasting.learned.boosting import Trained, predict, train, training_rows
from quant_dagster.forecasting.records import ForecastModel
from quant_dagster.market_data.panel import Panel

_KEPT = 2
"""Models kept in memory: walking forward needs one, a retraining in between another."""
_recent: OrderedDict[str, Trained] = OrderedDict()
_lock = Lock()


def boosting_family(request: Request) -> list[Reply]:
    """Rank of each symbol's return among all, by gradient-boosted trees, as an expected log return.

    The mean is the symbol's historical mean and, on top, the prediction times its calibrated slope; both in proportion
    to the horizon. The standard deviation is the symbol's volatility, scaled by the errors on unseen sessions and with
    the root of the horizon.
    """
    settings, learned = request.settings, request.settings.learned
    rows = training_rows(settings)
    try:
        key, trained = _model(request, rows)
    except ForecastError as error:
        return [str(error)] * len(request.tried)
    signal, volatility = predict(trained, request.panel.last(rows), settings.exchange, request.workers)
    horizons = np.array(request.horizons, np.float64)
    parameters: dict[str, object] = {
        "distribution": "normal",
        "artifact": key,
        "trained_on": trained.trained_on.isoformat(),
        "horizon": learned.horizon,
        "features": list(trained.trees.features),
    }
    common: dict[str, object] = {
        "information_coefficient": trained.information_coefficient,
        "ic_t": trained.ic_t,
        "folds": list(trained.folds),
        "slope": trained.slope,
        "raw_slope": trained.raw_slope,
        "unseen_sessions": trained.unseen,
    }
    replies: list[Reply] = [NOT_ASKED] * len(request.tried)
    for j in np.flatnonzero(request.tried).tolist():
        if not np.isfinite(signal[j]):
            replies[j] = f"no close on {request.session} to read its features from"
            continue
        daily = float(volatility[j])
        if not np.isfinite(daily):
            daily = float(np.sqrt(request.history.variance[j]))
        expected = trained.slope * float(signal[j]) / learned.horizon
        replies[j] = Answer(
            horizons * (float(request.history.mean[j]) + expected),
            np.sqrt(horizons) * trained.residual_scale * daily,
            parameters,
            {**common, "prediction": float(signal[j])},
            fitted_on=trained.trained_on,
        )
    return replies


def _model(request: Request, rows: int) -> tuple[str, Trained]:
    """The model in force at the session, and its key."""
    settings = request.settings
    earlier = min(request.earlier.values(), key=lambda fit: fit.age, default=None)
    if earlier is not None and earlier.age < settings.learned.retrain_sessions:
        known = request.panel.until(earlier.fitted_on).last(rows)
        key = artifact_key(known, settings)
        if _trained_on(earlier, key, known):
            return key, _remembered(request, key, known)
    known = request.panel.last(rows)
    key = artifact_key(known, settings)
    return key, _remembered(request, key, known)


def _trained_on(earlier: EarlierFit, key: str, known: Panel) -> bool:
    """Whether the earlier fit was trained on just these bars, with these settings and this code."""
    return (
        len(known.sessions) > 0
        and known.last_session == earlier.fitted_on
        and earlier.parameters.get("artifact") == key
    )


def _remembered(request: Request, key: str, panel: Panel) -> Trained:
    """The model of that key: from memory, from its file, or trained on ``panel`` and kept in both."""
    folder = None
    if request.settings.artifacts is not None:
        folder = request.settings.artifacts / ForecastModel.BOOSTING.value
    with _lock:
        trained = _recent.get(key)
        if trained is None and folder is not None:
            trained = load_model(folder, key)
        new = trained is None
        if trained is None:
            trained = train(panel, request.settings, request.workers, request.progress)
        if folder is not None and (new or not (folder / f"{key}.json").exists()):
            store_model(folder, key, trained)
        _recent[key] = trained
        _recent.move_to_end(key)
        while len(_recent) > _KEPT:
            _recent.popitem(last=False)
    return trained
