"""What is held at a session's close, under stress: in the crashes there is history of, in shocks and in simulation.

Belongs here: which history and which settings the scenarios get, and what is stored. Does not: the scenarios
(``risk.stress``).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.cycle.factors import factor_model
from quant_dagster.cycle.held_portfolio import HeldPortfolio, attempt, held_portfolio
from quant_dagster.errors import RiskError
from quant_dagster.features.definitions import TRADING_DAYS
from quant_dagster.quality import contracts
from quant_dagster.risk.measures.correlations import Correlations, shrunk_correlation
from quant_dagster.risk.measures.holdings import Holdings, holdings
from quant_dagster.risk.stress.betas import market_betas
from quant_dagster.risk.stress.episodes import EPISODES, Episode, Treatment, replay_episode
from quant_dagster.risk.stress.monte_carlo import (
    fit_t_copula,
    principal_factors,
    simulate_copula,
    simulate_factors,
    simulated_risk,
)
from quant_dagster.risk.stress.shocks import apply_shock
from quant_dagster.settings import ShockSettings
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

FloatArray = NDArray[np.float64]
Row = dict[str, Any]

CONFIDENCE = 0.99
"""Of VaR and ES in a scenario."""
PRINCIPAL_FACTORS = 5
_MARKET = "equal weights of the universe"


@dataclass(frozen=True)
class StressReport:
    """What is held at a session's close, under stress.

    Attributes
    ----------
    portfolio
        What was stressed.
    results
        Rows of ``stress_results``; none where nothing is held. A scenario that could not be valued has a row without
        numbers, and ``problem`` in its ``detail``.
    not_covered
        Names of the episodes that lie, in part or whole, outside the lake's history up to the session.
    statement
        In one sentence what was done.
    """

    portfolio: HeldPortfolio
    results: pl.DataFrame
    not_covered: tuple[str, ...]
    statement: str


def stress_report(context: TradingContext, session: date) -> StressReport:
    """Stress what is held at ``session``'s close and store it in place of what was stored of the session before.

    Raises
    ------
    DataUnavailableError
        The session has no bars.
    """
    report = stressed(context, session)
    context.lake.replace("stress_results", contracts.validate("stress_results", report.results), [session])
    return report


def stressed(context: TradingContext, session: date) -> StressReport:
    """What :func:`stress_report` stores, and nothing is stored."""
    portfolio = held_portfolio(context, session, None)
    days = portfolio.panel.sessions
    covered = [one for one in EPISODES if days[0] < np.datetime64(one.first) and one.last <= session]
    not_covered = tuple(one.name for one in EPISODES if one not in covered)
    schema = TABLES["stress_results"].schema
    if not portfolio.held:
        statement = f"nothing is held at the close of {session}: there is nothing to stress"
        return StressReport(portfolio, pl.DataFrame(schema=schema), not_covered, statement)
    market = market_index(portfolio.panel.close)
    recent = _Recent(context, portfolio, market)
    works: list[tuple[str, str, Callable[[], Row]]] = [
        *(("episode", one.name, partial(_episode, portfolio, one, market)) for one in covered),
        *(("shock", name, partial(recent.shock, name, shock)) for name, shock in recent.risk.stress.shocks.items()),
        ("simulation", "factor_model", recent.factor_simulation),
        ("simulation", "t_copula", recent.copula_simulation),
    ]
    rows = [_valued(kind, name, work, len(portfolio.held)) for kind, name, work in works]
    common = {"session": session, "equity": float(portfolio.account.equity)}
    results = pl.DataFrame([common | row for row in rows], schema=schema)
    statement = f"{len(portfolio.held)} positions in {len(rows)} scenarios"
    if not_covered:
        statement += f"; no history of: {', '.join(not_covered)}"
    return StressReport(portfolio, results, not_covered, statement)


def market_index(closes: FloatArray) -> FloatArray:
    """The market as the universe in equal weights every session, shape (sessions,), 1 at the first.

    Parameters
    ----------
    closes
        Shape (sessions, symbols); NaN is absent, and a session without any return leaves the index where it is.
    """
    returns = closes[1:] / closes[:-1] - 1.0
    known = np.isfinite(returns)
    means = np.where(known, returns, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    return np.concatenate([[1.0], np.cumprod(1.0 + means)])


def worst_loss(results: pl.DataFrame) -> Row | None:
    """The row of ``stress_results`` with the largest ``loss``, which it is given; None where none could be valued."""
    valued = with_loss(results).filter(pl.col("loss").is_not_null())
    return None if valued.is_empty() else valued.sort("loss", descending=True).row(0, named=True)


def with_loss(results: pl.DataFrame) -> pl.DataFrame:
    """The rows with ``loss``: on the way or at the end, or the shortfall of one session, whichever is largest."""
    return results.with_columns(
        pl.max_horizontal(-pl.col("worst"), -pl.col("profit"), pl.col("expected_shortfall")).alias("loss")
    )


def _valued(kind: str, scenario: str, work: Callable[[], Row], held: int) -> Row:
    """A scenario's row; without numbers, and with the reason, where it could not be valued."""
    problems: list[str] = []
    row = attempt(work, problems) or {"symbols": 0, "detail": {"problem": problems[0]}}
    detail = json.dumps(row["detail"], allow_nan=False)
    return row | {"kind": kind, "scenario": scenario, "not_evaluated": held - row["symbols"], "detail": detail}


def _episode(portfolio: HeldPortfolio, episode: Episode, market: FloatArray) -> Row:
    panel = portfolio.panel
    result = replay_episode(episode, panel.close, panel.sessions, panel.symbols, portfolio.values, market)
    evaluated = [one is not Treatment.NOT_EVALUATED for one in result.treatments]
    if not any(evaluated):
        raise RiskError(f"episode {episode.name}: no position has a close on both sides of it, or a beta")
    return {
        "profit": result.total,
        "worst": result.worst_total,
        "symbols": sum(evaluated),
        "detail": {
            "title": episode.title,
            "first": str(episode.first),
            "last": str(episode.last),
            "worst_on": str(result.worst_total_session),
            "worst_day": result.worst_day,
            "worst_day_on": str(result.worst_session),
            "evaluated": result.evaluated,
            "market": _MARKET,
            "treatments": {s: str(one) for s, one in zip(result.symbols, result.treatments, strict=True)},
            "profit": {s: p for s, p, e in zip(result.symbols, result.pnl.tolist(), evaluated, strict=True) if e},
        },
    }


class _Recent:
    """Scenarios built from the newest ``risk.measures.window`` sessions; each raises a RiskError where it cannot be."""

    def __init__(self, context: TradingContext, portfolio: HeldPortfolio, market: FloatArray) -> None:
        self.risk = context.settings.risk
        self._context = context
        self._portfolio = portfolio
        self._market = market

    @cached_property
    def _known(self) -> Holdings:
        returns, values, _ = self._portfolio.measurable(self.risk.measures.window)
        return holdings(returns, values, self._portfolio.panel.symbols)

    @cached_property
    def _correlations(self) -> Correlations:
        return shrunk_correlation(self._known.returns, self._known.symbols)

    @cached_property
    def _columns(self) -> list[int]:
        return [self._portfolio.panel.symbols.index(symbol) for symbol in self._known.symbols]

    def shock(self, name: str, shock: ShockSettings) -> Row:
        known, rows = self._known, self.risk.measures.window + 1
        betas = market_betas(self._portfolio.panel.close[-rows:][:, self._columns], self._market[-rows:])
        result = apply_shock(
            name, shock, known.symbols, known.values, betas, self._context.sectors, self._correlations, CONFIDENCE
        )
        return {
            "profit": result.total,
            "worst": result.total,
            "value_at_risk": result.stressed_var,
            "expected_shortfall": result.stressed_es,
            "symbols": len(known.symbols),
            "detail": {
                "shock": shock.model_dump(),
                "market": _MARKET,
                "value_at_risk_before": result.var,
                "expected_shortfall_before": result.es,
                "assumed_betas": list(result.assumed_betas),
                "profit": dict(zip(known.symbols, result.pnl.tolist(), strict=True)),
            },
        }

    def factor_simulation(self) -> Row:
        """By the desk's factor model; by principal components where it does not know every position."""
        known, measures = self._known, self.risk.measures
        model = factor_model(self._context, self._portfolio.panel)
        exposures, covariance = model.exposures[-1][self._columns], model.factor_covariance() / TRADING_DAYS
        specific = model.specific_volatility()[self._columns] / TRADING_DAYS**0.5
        unknown = [
            symbol
            for symbol, row, own in zip(known.symbols, exposures, specific, strict=True)
            if not np.isfinite([*row, own]).all()
        ]
        name = "factor_model"
        if unknown:
            name = "principal_components"
            exposures, covariance, specific = principal_factors(known.returns, PRINCIPAL_FACTORS)
        returns = simulate_factors(exposures, covariance, specific, measures.paths, measures.seed)
        about = {"model": name, "factors": len(covariance), "unknown_to_the_factor_model": unknown}
        return self._simulated(returns, about)

    def copula_simulation(self) -> Row:
        known, measures = self._known, self.risk.measures
        copula = fit_t_copula(known.returns, measures.degrees_of_freedom)
        returns = simulate_copula(copula, known.returns, measures.paths, measures.seed)
        about = {"degrees_of_freedom": copula.degrees_of_freedom, "estimated": copula.estimated}
        return self._simulated(returns, about)

    def _simulated(self, returns: FloatArray, about: Row) -> Row:
        result = simulated_risk(returns, self._known.values, CONFIDENCE)
        errors = {"value_at_risk_error": result.var_error, "expected_shortfall_error": result.es_error}
        return {
            "value_at_risk": result.var,
            "expected_shortfall": result.es,
            "symbols": len(self._known.symbols),
            "detail": about | errors | {"paths": result.paths, "seed": self.risk.measures.seed},
        }
