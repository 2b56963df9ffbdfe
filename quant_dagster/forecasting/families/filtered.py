"""Means from denoised returns, as families."""

from __future__ import annotations

from quant_dagster.forecasting import filtered
from quant_dagster.forecasting.families.protocol import SMALLEST_VARIANCE_SHARE, VANISHED, Answer, Request


def wavelet_family(request: Request) -> list[Answer | str]:
    """Autoregression on the causal wavelet scales that BIC tells from noise."""
    history = request.history
    fits = filtered.fit_wavelet_scales(history.returns, history.counts, steps=request.steps, tried=request.tried)
    return _answers(request, fits, "scales", {"wavelet": "haar", "levels": filtered.LEVELS})


def fourier_family(request: Request) -> list[Answer | str]:
    """Continuation of the slow harmonics that are stronger than noise."""
    history = request.history
    fits = filtered.fit_harmonics(history.returns, history.counts, steps=request.steps, tried=request.tried)
    return _answers(
        request,
        fits,
        "harmonics",
        {"shortest_cycle": filtered.SHORTEST_CYCLE, "significance": filtered.SIGNIFICANCE},
    )


def _answers(
    request: Request, fits: filtered.FilteredForecasts, kept: str, settings: dict[str, object]
) -> list[Answer | str]:
    answers: list[Answer | str] = []
    for j, status in enumerate(fits.status.tolist()):
        if status != filtered.FITTED:
            answers.append(filtered.REASONS[status])
            continue
        if not fits.residual_variance[j] > SMALLEST_VARIANCE_SHARE * request.history.variance[j]:
            answers.append(VANISHED)
            continue
        used = int(fits.kept[j])
        coefficients = fits.coefficients[j]
        parameters = {
            "distribution": "normal",
            kept: used,
            "constant": float(fits.constant[j]),
            "coefficients": (coefficients if kept == "scales" else coefficients[: 3 * used]).tolist(),
            "residual_variance": float(fits.residual_variance[j]),
            **settings,
        }
        diagnostics = {"observations": int(fits.observations[j])}
        answers.append(Answer(fits.total_mean[j, request.at], fits.total_std[j, request.at], parameters, diagnostics))
    return answers
