"""How much of what is held at a session's close can be lost, by what, and how fast it could be sold.

Belongs here: which positions and which history are measured, and what is stored. Does not: the measures themselves
(``risk.measures``, ``risk.stress``) and scenarios (``stress_report``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.cycle.factors import factor_model
from quant_dagster.cycle.held_portfolio import HeldPortfolio, attempt, held_portfolio
from quant_dagster.errors import RiskError
from quant_dagster.features.definitions import TRADING_DAYS
from quant_dagster.quality import contracts
from quant_dagster.risk.measures.correlations import shrunk_correlation
from quant_dagster.risk.measures.heat import Heat, heat
from quant_dagster.risk.measures.holdings import Holdings, holdings
from quant_dagster.risk.measures.measure import Measure, Method, measure
from quant_dagster.risk.stress.attribution import UNKNOWN, FactorRisk, by_factor, by_sector
from quant_dagster.risk.stress.counterparties import CounterpartyExposure, counterparty_exposures
from quant_dagster.risk.stress.liquidity import Liquidity, liquidation_var, liquidity
from quant_dagster.risk.stress.margin import Margin, regulation_t
from quant_dagster.settings import RiskSettings
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

FloatArray = NDArray[np.float64]

_VOLUME_WINDOW = 20


@dataclass(frozen=True)
class RiskReport:
    """Risk of what is held at a session's close. What could not be had is None or empty, and ``problems`` says why.

    Attributes
    ----------
    portfolio
        What was measured.
    statement
        In one sentence what was measured, or that nothing is held.
    problems
        Why a part of the report is absent; none where nothing is held.
    not_measured
        Held, but with a return in fewer than half of the sessions: in none of the measures.
    measures, contributions
        Rows of ``risk_measures`` and ``risk_contributions``.
    positions
        A row for each: ``symbol``, ``sector``, ``quantity``, ``price``, ``value``, ``weight`` (over equity),
        ``average_traded`` (account currency a session), ``sessions_to_sell`` (null without a
        volume, or where none is known).
    heat
        Concentration of what was measured.
    sectors
        Parts of one-session ES at the CVaR gate's confidence, filtered historical, by sector; largest first.
    factors
        Volatility of one session by factor.
    liquidity
        Of every position at ``risk.max_participation``, in the order of ``positions``; None where nothing has a volume.
    liquidation_var
        VaR at the CVaR gate's confidence until what was measured is sold.
    margin
        What Regulation T would ask, without excess of earlier days.
    counterparties
        All is held at the broker.
    """

    portfolio: HeldPortfolio
    statement: str
    problems: tuple[str, ...]
    not_measured: tuple[str, ...]
    measures: pl.DataFrame
    contributions: pl.DataFrame
    positions: pl.DataFrame
    heat: Heat | None
    sectors: dict[str, float]
    factors: FactorRisk | None
    liquidity: Liquidity | None
    liquidation_var: float | None
    margin: Margin | None
    counterparties: tuple[CounterpartyExposure, ...]


def risk_report(context: TradingContext, session: date) -> RiskReport:
    """Measure what is held at ``session``'s close and store it in place of what was stored of the session before.

    Raises
    ------
    DataUnavailableError
        The session has no bars.
    """
    report = measured(context, session)
    for table, frame in (("risk_measures", report.measures), ("risk_contributions", report.contributions)):
        context.lake.replace(table, contracts.validate(table, frame), [session])
    return report


def measured(context: TradingContext, session: date) -> RiskReport:
    """What :func:`risk_report` stores and more, and nothing is stored.

    VaR and ES are measured at the confidences of ``risk.measures`` and of the CVaR gate, over one session and over
    ``risk.measures.horizon``.
    """
    risk = context.settings.risk
    portfolio = held_portfolio(context, session, risk.measures.window + 1)
    returns, values, not_measured = portfolio.measurable(risk.measures.window)
    names, account = portfolio.panel.symbols, portfolio.account
    problems: list[str] = []
    found: list[Measure] | None = None
    concentration, factors, liquid, exit_var = None, None, None, None
    traded = average_traded(portfolio)
    held = portfolio.quantities != 0.0
    if held.any():
        found = attempt(lambda: _measures(returns, values, names, risk), problems)
        known = attempt(lambda: holdings(returns, values, names), [])  # its problem is that of the measures
        if known is not None:
            concentration = attempt(lambda: _heat(known, float(account.equity)), problems)
            factors = attempt(lambda: _factors(context, portfolio, values), problems)
        liquid = attempt(lambda: _liquidity(portfolio, traded, risk), problems)
        if known is not None and liquid is not None:
            exit_var = attempt(lambda: _liquidation_var(known, traded[values != 0.0], risk), problems)
    margin = attempt(
        lambda: regulation_t(portfolio.quantities[held], portfolio.prices[held], float(account.cash), risk, 0.0),
        problems,
    )
    counterparties = attempt(lambda: _counterparties(context, portfolio), problems)
    return RiskReport(
        portfolio=portfolio,
        statement=_statement(portfolio, found, not_measured, len(returns)),
        problems=tuple(problems),
        not_measured=not_measured,
        measures=_measure_rows(found or [], portfolio, values, len(not_measured)),
        contributions=_contribution_rows(found or [], session, values[values != 0.0]),
        positions=_position_rows(context, portfolio, traded, liquid),
        heat=concentration,
        sectors=_sectors(context, found or []),
        factors=factors,
        liquidity=liquid,
        liquidation_var=exit_var,
        margin=margin,
        counterparties=tuple(counterparties or ()),
    )


def average_traded(portfolio: HeldPortfolio) -> FloatArray:
    """Mean traded value of the newest 20 sessions by column, account currency, shape (m,); NaN is unknown."""
    volumes, closes = portfolio.panel.volume[-_VOLUME_WINDOW:], portfolio.panel.close[-_VOLUME_WINDOW:]
    traded = volumes * closes
    known = np.isfinite(traded)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, traded, 0.0).sum(axis=0) / known.sum(axis=0))


def worst_shortfall(measures: pl.DataFrame, risk: RiskSettings) -> dict[str, Any] | None:
    """The row of a session's ``risk_measures`` with the largest one-session ES at the CVaR gate's confidence.

    With ``limit``: ``risk.cvar_limit`` times equity, account currency. None where nothing was measured.
    """
    rows = measures.filter((pl.col("horizon") == 1) & (pl.col("confidence") == risk.cvar_confidence))
    if rows.is_empty():
        return None
    worst = rows.sort("expected_shortfall", descending=True).row(0, named=True)
    return worst | {"limit": risk.cvar_limit * worst["equity"]}


def _measures(returns: FloatArray, values: FloatArray, names: tuple[str, ...], risk: RiskSettings) -> list[Measure]:
    confidences = sorted({*risk.measures.confidences, risk.cvar_confidence})
    return [
        one
        for horizon in sorted({1, risk.measures.horizon})
        for one in measure(returns, values, names, confidences, horizon, risk.measures)
    ]


def _heat(known: Holdings, equity: float) -> Heat:
    return heat(shrunk_correlation(known.returns, known.symbols), known.values, equity)


def _liquidity(portfolio: HeldPortfolio, traded: FloatArray, risk: RiskSettings) -> Liquidity:
    held = portfolio.quantities != 0.0
    if not np.isfinite(traded[held]).any():
        raise RiskError("liquidity: no position has a volume; how long the book takes to sell is unknown")
    return liquidity(portfolio.values[held], traded[held], risk.max_participation)


def _liquidation_var(known: Holdings, traded: FloatArray, risk: RiskSettings) -> float:
    covariance = shrunk_correlation(known.returns, known.symbols).covariance
    return liquidation_var(known.values, traded, risk.max_participation, covariance, risk.cvar_confidence)


def _factors(context: TradingContext, portfolio: HeldPortfolio, values: FloatArray) -> FactorRisk:
    model = factor_model(context, portfolio.panel)
    covariance, specific = model.factor_covariance() / TRADING_DAYS, model.specific_volatility() / TRADING_DAYS**0.5
    return by_factor(values, model.exposures[-1], model.factors, covariance, specific)


def _sectors(context: TradingContext, found: list[Measure]) -> dict[str, float]:
    asked = Method.FILTERED_HISTORICAL, context.settings.risk.cvar_confidence, 1
    for one in found:
        if (one.method, one.confidence, one.horizon) == asked:
            return by_sector(one.symbols, one.contributions.component_es, context.sectors)
    return {}


def _counterparties(context: TradingContext, portfolio: HeldPortfolio) -> list[CounterpartyExposure]:
    broker: str = context.settings.execution.broker
    account = portfolio.account
    held = portfolio.values[portfolio.quantities != 0.0]
    limit = context.settings.risk.max_counterparty_exposure
    cash = {broker: float(account.cash)}
    return counterparty_exposures(held, [broker] * len(held), cash, float(account.equity), limit)


def _statement(
    portfolio: HeldPortfolio, found: list[Measure] | None, not_measured: tuple[str, ...], sessions: int
) -> str:
    held, session = portfolio.held, portfolio.account.session
    if not held:
        return f"nothing is held at the close of {session}: there is no risk to measure"
    if found is None:
        return f"the risk of {len(held)} positions at the close of {session} is unknown"
    left_out = f"; too short a history: {', '.join(not_measured)}" if not_measured else ""
    return f"{len(found[0].symbols)} of {len(held)} positions measured over {sessions} sessions{left_out}"


def _measure_rows(
    found: list[Measure], portfolio: HeldPortfolio, values: FloatArray, not_measured: int
) -> pl.DataFrame:
    rows = [
        {
            "session": portfolio.account.session,
            "method": str(one.method),
            "confidence": one.confidence,
            "horizon": one.horizon,
            "value_at_risk": one.var,
            "expected_shortfall": one.es,
            "volatility": one.volatility,
            "equity": float(portfolio.account.equity),
            "gross": float(np.abs(values).sum()),
            "symbols": len(one.symbols),
            "not_measured": not_measured,
            "diagnostics": json.dumps(one.diagnostics, allow_nan=False, sort_keys=True),
        }
        for one in found
    ]
    return pl.DataFrame(rows, schema=TABLES["risk_measures"].schema)


def _contribution_rows(found: list[Measure], session: date, values: FloatArray) -> pl.DataFrame:
    schema = TABLES["risk_contributions"].schema
    frames = [
        pl.DataFrame(
            {
                "session": [session] * len(one.symbols),
                "symbol": one.symbols,
                "method": [str(one.method)] * len(one.symbols),
                "confidence": [one.confidence] * len(one.symbols),
                "horizon": [one.horizon] * len(one.symbols),
                "value": values,
                **vars(one.contributions),
            },
            schema=schema,
        )
        for one in found
    ]
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _position_rows(
    context: TradingContext, portfolio: HeldPortfolio, traded: FloatArray, liquid: Liquidity | None
) -> pl.DataFrame:
    held = portfolio.quantities != 0.0
    unknown, equity = np.full(int(held.sum()), np.nan), float(portfolio.account.equity)
    return pl.DataFrame(
        {
            "symbol": portfolio.held,
            "sector": [context.sectors.get(symbol, UNKNOWN) for symbol in portfolio.held],
            "quantity": portfolio.quantities[held],
            "price": portfolio.prices[held],
            "value": portfolio.values[held],
            "weight": portfolio.values[held] / equity if equity > 0.0 else unknown,
            "average_traded": traded[held],
            "sessions_to_sell": unknown if liquid is None else liquid.sessions,
        },
        schema={
            "symbol": pl.String,
            "sector": pl.String,
            "quantity": pl.Float64,
            "price": pl.Float64,
            "value": pl.Float64,
            "weight": pl.Float64,
            "average_traded": pl.Float64,
            "sessions_to_sell": pl.Float64,
        },
    ).with_columns(
        pl.when(pl.col(name).is_finite()).then(pl.col(name))
        for name in ("weight", "average_traded", "sessions_to_sell")
    )
