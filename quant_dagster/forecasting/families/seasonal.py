"""Seasonal ARMA with regressors by exact likelihood, as a family; the name is that of the model class, SARIMAX.

The order is chosen by BIC among all p, q up to a largest one, without or with one seasonal term. Symbols whose fit is
not due keep their earlier parameters: the filter is run with them over the history, nothing is estimated.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant_dagster.features.calendar import calendar_features
from quant_dagster.forecasting.arma import sarimax
from quant_dagster.forecasting.arma.candidates import FITTED
from quant_dagster.forecasting.columns import BoolArray, FloatArray
from quant_dagster.forecasting.families.protocol import NOT_ASKED, Answer, Request
from quant_dagster.forecasting.residuals import LJUNG_BOX_LAGS, chi_squared_p_value, jarque_bera, ljung_box
from quant_dagster.market_data.calendars import exchange_calendar

REGRESSORS = ("turn_of_month", "before_holiday")
SUSPECT = 0.01  # p-value below which innovations are reported as not independent, or not normal
_TURN = 3  # the month's last sessions: at most so many are left
_LOG = logging.getLogger(__name__)


def sarimax_family(
    request: Request, *, criterion: sarimax.Criterion = sarimax.Criterion.BIC, exchange: str = "XNYS"
) -> list[Answer | str]:
    """Seasonal ARMA means; ``exchange`` names the calendar of the turn-of-month and holiday regressors."""
    settings, history = request.settings, request.history
    period = settings.sarimax_seasonal_period
    orders = sarimax.candidate_orders(settings.sarimax_max_order, period > 0)
    regressors, ahead = _calendar(request, exchange) if settings.sarimax_calendar else (None, None)
    due = _due(request, period, 0 if regressors is None else len(REGRESSORS))
    fits = sarimax.fit_arma(
        history.returns,
        history.counts,
        orders=orders,
        period=period,
        regressors=regressors,
        criterion=criterion,
        tried=request.tried & due,
        workers=request.workers,
        progress=request.progress,
    )
    parameters = _with_earlier(request, fits.parameters, due)
    forecasts = sarimax.forecast_arma(
        history.returns,
        history.counts,
        parameters,
        steps=request.steps,
        regressors=regressors,
        ahead=ahead,
        tried=request.tried,
        workers=request.workers,
    )
    tests = _tests(forecasts, history.counts, parameters, request)
    answers: list[Answer | str] = [NOT_ASKED] * len(request.tried)
    for j in np.flatnonzero(request.tried).tolist():
        status = int(fits.status[j]) if due[j] else int(forecasts.status[j])
        if status != FITTED:
            answers[j] = sarimax.REASONS[status]
            continue
        diagnostics: dict[str, object] = {
            "observations": int(history.counts[j]),
            "log_likelihood": float(forecasts.log_likelihood[j]),
            **{name: float(values[j]) for name, values in tests.items()},
        }
        if due[j]:
            names = ["".join(map(str, order)) for order in orders]
            diagnostics |= {
                "converged": True,
                "iterations": int(fits.iterations[j]),
                "at_bound": bool(fits.at_bound[j]),
                criterion.value: dict(zip(names, fits.criteria[j].tolist(), strict=True)),
            }
        answers[j] = Answer(
            forecasts.total_mean[j, request.at],
            forecasts.total_std[j, request.at],
            _as_json(parameters, j),
            diagnostics,
            fitted_on=None if due[j] else request.earlier[j].fitted_on,
        )
    return answers


def _calendar(request: Request, exchange: str) -> tuple[FloatArray, FloatArray]:
    """Regressors of every symbol's returns, shape (m, K, window), and of the sessions to come, shape (steps, K).

    A return belongs to the session it ends in. The sessions to come are those scheduled.
    """
    history, panel = request.history, request.panel
    window = len(history.returns)
    close = panel.close[-(window + 1) :]
    days = panel.sessions[-(window + 1) :].astype("datetime64[D]")
    values = _regressor_values(days, exchange)
    packed = np.zeros((len(request.tried), len(REGRESSORS), window))
    for j, count in enumerate(history.counts.tolist()):
        if request.tried[j] and count:
            held = np.flatnonzero((close[:, j] > 0.0) & np.isfinite(close[:, j]))[-count:]
            packed[j, :, :count] = values[:, held]
    calendar, upcoming = exchange_calendar(exchange), [request.session]
    for _ in range(request.steps):
        upcoming.append(calendar.next_session(upcoming[-1]))
    return packed, _regressor_values(np.array(upcoming[1:], "datetime64[D]"), exchange).T.copy()


def _regressor_values(days: NDArray[np.datetime64], exchange: str) -> FloatArray:
    features = calendar_features(days, exchange)
    turn = features["sessions_to_month_end"] <= _TURN
    return np.stack([turn.astype(np.float64), features["is_before_holiday"]])


def _due(request: Request, period: int, regressors: int) -> BoolArray:
    """Columns to estimate: those due, those without an earlier fit, and those whose earlier fit is of another model."""
    due = np.ones(len(request.tried), np.bool_) if request.refit is None else request.refit.copy()
    for j in np.flatnonzero(~due).tolist():
        earlier = request.earlier.get(j)
        due[j] = earlier is None or not _is_same_model(earlier.parameters, period, regressors)
    return due


def _is_same_model(parameters: Mapping[str, Any], period: int, regressors: int) -> bool:
    given = {"ar", "ma", "seasonal_ar", "seasonal_ma", "period", "mean", "regression", "sigma2"} <= parameters.keys()
    return given and parameters["period"] == period and len(parameters["regression"]) == regressors


def _with_earlier(request: Request, fitted: sarimax.ArmaParameters, due: BoolArray) -> sarimax.ArmaParameters:
    """The fitted parameters, and the earlier ones of the columns that are not due."""
    columns: list[int] = np.flatnonzero(request.tried & ~due).tolist()
    if not columns:
        return fitted
    earlier: dict[int, Mapping[str, Any]] = {j: request.earlier[j].parameters for j in columns}
    parts = {j: [list(p[name]) for name in ("ar", "ma", "seasonal_ar", "seasonal_ma")] for j, p in earlier.items()}
    size = max(fitted.coefficients.shape[1], *(sum(map(len, part)) for part in parts.values()))
    coefficients = np.full((len(due), size), np.nan)
    coefficients[:, : fitted.coefficients.shape[1]] = fitted.coefficients
    orders, beta, sigma2 = fitted.orders.copy(), fitted.beta.copy(), fitted.sigma2.copy()
    for j, p in earlier.items():
        orders[j] = [len(part) for part in parts[j]]
        flat = [value for part in parts[j] for value in part]
        coefficients[j, : len(flat)] = flat
        beta[j] = [p["mean"], *p["regression"].values()]
        sigma2[j] = p["sigma2"]
    return sarimax.ArmaParameters(orders, fitted.period, coefficients, beta, sigma2)


def _as_json(parameters: sarimax.ArmaParameters, j: int) -> dict[str, object]:
    p, q, seasonal_p, seasonal_q = parameters.orders[j].tolist()
    own = parameters.coefficients[j].tolist()
    beta = parameters.beta[j].tolist()
    return {
        "distribution": "normal",
        "order": [p, 0, q],
        "seasonal_order": [seasonal_p, 0, seasonal_q, parameters.period],
        "period": parameters.period,
        "ar": own[:p],
        "ma": own[p : p + q],
        "seasonal_ar": own[p + q : p + q + seasonal_p],
        "seasonal_ma": own[p + q + seasonal_p : p + q + seasonal_p + seasonal_q],
        "mean": beta[0],
        "regression": dict(zip(REGRESSORS, beta[1:], strict=False)),
        "sigma2": float(parameters.sigma2[j]),
    }


def _tests(
    forecasts: sarimax.ArmaForecasts, counts: NDArray[np.int64], parameters: sarimax.ArmaParameters, request: Request
) -> dict[str, FloatArray]:
    """Ljung-Box and Jarque-Bera of the innovations; how many symbols fail them is logged."""
    known = np.where(forecasts.status == FITTED, counts, 0)
    box, bera = (
        ljung_box(forecasts.innovations, known, workers=request.workers),
        jarque_bera(forecasts.innovations, known),
    )
    degrees = np.maximum(LJUNG_BOX_LAGS - parameters.orders.sum(axis=1), 1).astype(np.float64)
    box_p, bera_p = chi_squared_p_value(box, degrees), chi_squared_p_value(bera, 2.0)
    answered, dependent, unusual = int(np.sum(known > 0)), int(np.sum(box_p < SUSPECT)), int(np.sum(bera_p < SUSPECT))
    if dependent or unusual:
        _LOG.info(
            "sarimax on %s: of %d symbols %d have autocorrelated innovations (Ljung-Box p < %g) "
            "and %d innovations that are not normal (Jarque-Bera p < %g)",
            request.session,
            answered,
            dependent,
            SUSPECT,
            unusual,
            SUSPECT,
        )
    return {"ljung_box": box, "ljung_box_p": box_p, "jarque_bera": bera, "jarque_bera_p": bera_p}
