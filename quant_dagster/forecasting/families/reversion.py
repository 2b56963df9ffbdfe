"""Mean reversion of log prices to a level, as a family."""

from __future__ import annotations

import math

import numpy as np

from quant_dagster.forecasting.families.protocol import (
    NOT_ASKED,
    SMALLEST_VARIANCE_SHARE,
    VANISHED,
    Answer,
    Refusal,
    Reply,
    Request,
)
from quant_dagster.forecasting.ornstein_uhlenbeck import FITTED, REASONS, fit_ornstein_uhlenbeck

WINDOW = 250  # newest returns: a level that held for longer is rare


def ou_family(request: Request) -> list[Reply]:
    """Ornstein-Uhlenbeck processes of the log prices of the last year.

    It answers where the process exists (coefficient in (0, 1)); ``reverts`` says whether the unit root is rejected at
    5 %, which for most prices it is not. Parameters are per session: ``half_life`` in sessions, its 95 % interval by
    profile likelihood, the upper end null where it has none. ``level`` is the log price.
    """
    history = request.history
    counts = np.minimum(history.counts, WINDOW)
    rows = history.counts - counts + np.arange(WINDOW)[:, None]
    newest = np.take_along_axis(history.returns, np.minimum(rows, len(history.returns) - 1), axis=0)
    # Log prices up to a constant, which the newest close fixes.
    path = np.vstack([np.zeros((1, newest.shape[1])), np.cumsum(np.nan_to_num(newest), axis=0)])
    fits = fit_ornstein_uhlenbeck(path, counts + 1, tried=request.tried)
    mean, std = fits.forecast(request.horizons)
    log_close = _newest_log_close(request)
    replies: list[Reply] = []
    for j, status in enumerate(fits.status.tolist()):
        if not request.tried[j]:
            replies.append(NOT_ASKED)
            continue
        if status != FITTED:
            evidence = {"coefficient": float(fits.coefficient[j]), "dickey_fuller": float(fits.dickey_fuller[j])}
            replies.append(Refusal(REASONS[status], evidence))
            continue
        if not std[j, 0] ** 2 > SMALLEST_VARIANCE_SHARE * history.variance[j]:
            replies.append(VANISHED)
            continue
        high = float(fits.half_life_high[j])
        parameters = {
            "distribution": "normal",
            "theta": float(fits.theta[j]),
            "level": float(fits.level[j] - fits.last[j] + log_close[j]),
            "sigma": float(fits.sigma[j]),
            "half_life": float(fits.half_life[j]),
            "half_life_low": float(fits.half_life_low[j]),
            "half_life_high": high if math.isfinite(high) else None,
        }
        diagnostics = {
            "observations": int(counts[j]),
            "z": float((fits.last[j] - fits.level[j]) / fits.stationary_std[j]),
            "dickey_fuller": float(fits.dickey_fuller[j]),
            "dickey_fuller_5_percent": float(fits.critical[j]),
            "reverts": bool(fits.reverts[j]),
        }
        replies.append(Answer(mean[j], std[j], parameters, diagnostics))
    return replies


def _newest_log_close(request: Request) -> np.ndarray:
    """Logarithm of each column's newest close; NaN without one."""
    close = request.panel.close
    valid = np.isfinite(close) & (close > 0.0)
    newest = len(close) - 1 - valid[::-1].argmax(axis=0)
    found = np.where(valid.any(axis=0), close[newest, np.arange(close.shape[1])], np.nan)
    return np.log(found)
