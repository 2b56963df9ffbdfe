"""Validation of the desk's models over what the lake holds: read, judged, stored, written down in the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_dagster.accounting import performance
from quant_dagster.cycle import history
from quant_dagster.cycle.context import TradingContext, code_version
from quant_dagster.cycle.modelling import forecast_parameters
from quant_dagster.errors import ConfigurationError
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.storage.ledger import insert_new
from quant_dagster.storage.ledger_tables import model_events
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.forecasting.families.registry import FamilySpec
    from quant_dagster.forecasting.parameters import ForecastParameters
    from quant_dagster.forecasting.validation.evaluation import Evaluation
    from quant_dagster.market_data.panel import Panel

SCHEMES = ("walk_forward", "blocked")
_LEAST_FOR_ANNUAL_RETURN = 120
"""Returns below which none is annualised: half a year. An account's needs a whole one; this is a yardstick."""


@dataclass(frozen=True)
class ValidationReport:
    """What a validation found.

    Attributes
    ----------
    session
        Newest session it looked at.
    scores
        Rows of ``validation_scores`` for the models that were asked and the naive forecasts.
    losses
        Rows of ``validation_losses``, of the walk-forward.
    events
        Events that were new to the ledger; none when the same validation is repeated.
    """

    session: date
    symbols: tuple[str, ...]
    scores: pl.DataFrame
    losses: pl.DataFrame
    events: int


def validate(
    context: TradingContext,
    *,
    models: Sequence[str] | None = None,
    sessions: int,
    symbols: Sequence[str] | None = None,
    end: date | None = None,
    schemes: Sequence[str] = ("walk_forward",),
) -> ValidationReport:
    """Judge models out of sample and store what came of it; the newest walk-forward decides the weights of the desk.

    When only some models are judged, the others keep what an earlier validation of the same session found, and the
    weights of all are shared out anew. Deflated Sharpe ratio and confidence set are among those judged at one time.

    Parameters
    ----------
    models
        Names; None: those the desk asks. The naive forecasts are always among them.
    sessions
        Origins of the walk-forward, and about as many of the blocked scheme.
    symbols
        None: the context's.
    end
        Newest session looked at; None: the newest there are bars for.
    schemes
        ``walk_forward``, ``blocked``.

    Raises
    ------
    ConfigurationError
        A model or scheme that is not known, naming those there are.
    DataUnavailableError
        There are no bars.
    ForecastError
        The history is too short.
    """
    from quant_dagster.forecasting.families.registry import chosen
    from quant_dagster.forecasting.validation.judgement import Provenance, Rules, judge

    if unknown := [scheme for scheme in schemes if scheme not in SCHEMES] or (not schemes and ["none"]):
        raise ConfigurationError(f"validation: no scheme '{unknown[0]}'; there are: {', '.join(SCHEMES)}")
    settings = forecast_parameters(context)
    if models is not None:
        settings = replace(settings, families=tuple(models))
    specs = chosen(settings)
    context.ledger.upgrade()
    panel = load_panel(
        context.lake, tuple(symbols or context.symbols), end or context.calendar.latest_completed(context.now())
    )
    provenance = Provenance(panel.last_session, context.lake.version("bars") or 0, code_version())
    judging = context.settings.forecasting.validation
    rules = Rules(judging.significance, judging.shrinkage, judging.cost_bps)
    evaluations = [_evaluate(context, panel, scheme, sessions, settings, specs) for scheme in schemes]
    judgements = [judge(evaluation, trading_figures, provenance, rules) for evaluation in evaluations]
    scores = pl.concat([judgement.scores for judgement in judgements])
    whole = _completed(context, scores, rules.shrinkage)
    history.store(context, "validation_scores", whole)
    losses = [
        judgement.losses
        for judgement, scheme in zip(judgements, schemes, strict=True)
        if scheme == "walk_forward" and judgement.losses.height
    ]
    for frame in losses:
        history.store(context, "validation_losses", frame)
    judged = whole.join(scores.select("scheme", "model", "horizon"), on=["scheme", "model", "horizon"], how="semi")
    return ValidationReport(
        session=panel.last_session,
        symbols=panel.symbols,
        scores=judged,
        losses=pl.concat(losses) if losses else TABLES["validation_losses"].empty(),
        events=_record(context, judged),
    )


def trading_figures(returns: np.ndarray) -> dict[str, float | None]:
    """What a series of returns per session says, in the accounting package's terms.

    None where it says nothing: no loss to divide gains by, returns that do not vary, too few to annualise.
    """
    count = len(returns)
    equity = np.concatenate([[1.0], np.cumprod(1.0 + returns)])
    drawdown = performance.max_drawdown([date.min] * len(equity), equity)
    sharpe = performance.sharpe_ratio(returns)
    annual = adjusted = volatility = None
    if count >= performance.LEAST_FOR_VOLATILITY:
        volatility = float(returns.std(ddof=1)) * performance.SESSIONS_PER_YEAR**0.5
    if count >= _LEAST_FOR_ANNUAL_RETURN:
        annual = performance.annualised_return(float(equity[-1]) - 1.0, count)
        adjusted = annual / volatility if volatility else None
    return {
        "profit_factor": performance.profit_factor(returns),
        "max_drawdown": drawdown.depth if drawdown is not None else 0.0,
        "annual_return": annual,
        "annual_volatility": volatility,
        "volatility_adjusted_return": adjusted,
        "sharpe": sharpe,
    }


def _evaluate(
    context: TradingContext,
    panel: Panel,
    scheme: str,
    sessions: int,
    settings: ForecastParameters,
    specs: Sequence[FamilySpec],
) -> Evaluation:
    from quant_dagster.forecasting.validation.blocked import blocked
    from quant_dagster.forecasting.validation.walk_forward import walk_forward

    horizons = tuple(context.settings.forecasting.horizons)

    def progress(done: int, total: int) -> None:
        context.progress(f"validating, {scheme.replace('_', ' ')}", done, total)

    if scheme == "walk_forward":
        return walk_forward(
            panel, horizons=horizons, sessions=sessions, settings=settings, families=specs, progress=progress
        )
    judging = context.settings.forecasting.validation
    return blocked(
        panel, horizons=horizons, sessions=sessions, blocks=judging.blocks, embargo=judging.embargo,
        settings=settings, families=specs, progress=progress,
    )  # fmt: skip


def _completed(context: TradingContext, scores: pl.DataFrame, shrinkage: float) -> pl.DataFrame:
    """The scores and those that stored validations of the same session hold of other models, weighed together."""
    from quant_dagster.forecasting.validation.weights import with_weights

    session = scores["session"][0]
    stored = context.lake.read("validation_scores", start=session, end=session)
    key = list(TABLES["validation_scores"].key)
    others = stored.filter(pl.col("scheme").is_in(scores["scheme"].unique().implode())).join(scores, on=key, how="anti")
    return with_weights(pl.concat([scores, others.select(scores.columns)]), shrinkage)


def _record(context: TradingContext, judged: pl.DataFrame) -> int:
    """One event per scheme and judged model with its verdicts; the same verdicts of the same session are one event."""
    new = 0
    with context.ledger.write() as connection:
        for (scheme, model), rows in judged.sort("horizon").group_by(["scheme", "model"], maintain_order=True):
            found = list(zip(rows["horizon"].to_list(), rows["verdict"].to_list(), strict=True))
            if all(verdict in ("naive", "not_judged") for _, verdict in found):
                continue
            session = rows["session"][0]
            told = ", ".join(f"{verdict.replace('_', ' ')} over {horizon}" for horizon, verdict in found)
            detail = f"{str(scheme).replace('_', ' ')}: {told}"
            key = hashlib.sha256(f"{model}|validated|{session}|{scheme}|{detail}".encode()).hexdigest()[:40]
            payload = {
                "scheme": scheme,
                "verdicts": {str(horizon): verdict for horizon, verdict in found},
                "weights": dict(zip(map(str, rows["horizon"]), rows["weight"], strict=True)),
                "code_version": rows["code_version"][0],
            }
            event = {
                "event_id": key, "model": model, "kind": "validated", "session": session, "detail": detail,
                "payload": payload, "recorded_at": context.ledger.now(),
            }  # fmt: skip
            new += insert_new(connection, model_events, event)
    return new
