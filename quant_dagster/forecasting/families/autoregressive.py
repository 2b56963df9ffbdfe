"""Autoregressions by least squares, as a family."""

from __future__ import annotations

from quant_dagster.forecasting import autoregression
from quant_dagster.forecasting.families.protocol import Answer, Request


def ar_family(request: Request) -> list[Answer | str]:
    """Autoregressions by least squares."""
    fits = autoregression.fit_autoregressions(
        request.history.returns,
        request.history.counts,
        max_order=request.settings.ar_max_order,
        steps=request.steps,
        tried=request.tried,
    )
    answers: list[Answer | str] = []
    for j, status in enumerate(fits.status.tolist()):
        if status != autoregression.FITTED:
            answers.append(autoregression.REASONS[status])
            continue
        order = int(fits.order[j])
        parameters = {
            "distribution": "normal",
            "order": order,
            "constant": float(fits.constant[j]),
            "coefficients": fits.coefficients[j, :order].tolist(),
            "residual_variance": float(fits.residual_variance[j]),
        }
        diagnostics = {
            "observations": int(request.history.counts[j]),
            "ljung_box": float(fits.ljung_box[j]),
            "ljung_box_p": float(fits.ljung_box_p[j]),
            "jarque_bera": float(fits.jarque_bera[j]),
            "jarque_bera_p": float(fits.jarque_bera_p[j]),
        }
        answers.append(Answer(fits.total_mean[j, request.at], fits.total_std[j, request.at], parameters, diagnostics))
    return answers
