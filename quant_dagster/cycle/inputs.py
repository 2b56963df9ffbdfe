"""What signals and decisions of a session are made from, read from the lake and the ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from quant_dagster.accounting import books
from quant_dagster.accounting.snapshots import stored_snapshot
from quant_dagster.cycle.construction import AccountFacts, construct_targets
from quant_dagster.cycle.context import TradingContext, code_version
from quant_dagster.cycle.wishes import ApprovalInputs, SymbolState
from quant_dagster.features.compute import FeatureFrame
from quant_dagster.market_data import quarantine
from quant_dagster.market_data.ingest import load_panel
from quant_dagster.market_data.panel import Panel
from quant_dagster.risk.gate import MarketFacts
from quant_dagster.strategies.alphas import MarketState, ModelView
from quant_dagster.strategies.flags import flag_problem, hot_flags
from quant_dagster.strategies.router import route

_VOLUME_WINDOW = 20
_TABLES = ("raw_prices", "bars", "quality", "forecasts", "pairs", "alpha_performance", "signals")
_ALPHA_MODELS = ("ornstein_uhlenbeck", "boosting")
"""Models that an alpha looks at for themselves, beside the combined forecast."""


def market_state(
    context: TradingContext,
    session: date,
    features: FeatureFrame,
    pairs: pl.DataFrame | None = None,
    allocation: Mapping[str, float] | None = None,
) -> MarketState:
    """What alphas may look at: the features' last session, the session's forecasts, regimes and pairs.

    Parameters
    ----------
    pairs
        The session's rows of ``pairs``; default: those that are stored.
    allocation
        Factor on every source's priority; default: 1 for all.
    """
    symbols = features.symbols
    forecasts = _rows(context, "forecasts", session)
    combined = combined_forecasts(context, forecasts)
    horizon = min(context.settings.forecasting.horizons)
    regimes = _by_symbol(forecasts.filter((pl.col("answered_by") == "hmm") & (pl.col("horizon") == horizon)))
    nan = float("nan")
    return MarketState(
        symbols=symbols,
        features={name: features[name][-1] for name in features.names},
        mean=np.array([combined[s]["mean"] if s in combined else nan for s in symbols]),
        volatility=np.array([combined[s]["std"] if s in combined else nan for s in symbols]),
        high_volatility=np.array(
            [json.loads(regimes[s]["diagnostics"])["next_probabilities"][-1] if s in regimes else nan for s in symbols]
        ),
        models={name: view for name in _ALPHA_MODELS if (view := model_view(forecasts, name, symbols)) is not None},
        pairs=context.lake.read("pairs", start=session, end=session) if pairs is None else pairs,
        allocation=dict(allocation or {}),
    )


def model_view(forecasts: pl.DataFrame, model: str, symbols: tuple[str, ...]) -> ModelView | None:
    """What ``model`` itself says over its longest horizon; None where it answered for no symbol.

    Rows that another model answered do not count: they would be somebody else's opinion under its name.
    """
    own = forecasts.filter((pl.col("model") == model) & (pl.col("answered_by") == model) & pl.col("mean").is_not_null())
    if own.is_empty():
        return None
    horizon = int(own["horizon"].max())  # type: ignore[arg-type]
    rows = _by_symbol(own.filter(pl.col("horizon") == horizon))
    nan = float("nan")
    return ModelView(
        horizon=horizon,
        mean=np.array([rows[s]["mean"] if s in rows else nan for s in symbols]),
        std=np.array([rows[s]["std"] if s in rows else nan for s in symbols]),
        parameters=tuple(json.loads(rows[s]["parameters"]) if s in rows else {} for s in symbols),
        diagnostics=tuple(json.loads(rows[s]["diagnostics"]) if s in rows else {} for s in symbols),
    )


def approval_inputs(context: TradingContext, session: date, panel: Panel) -> ApprovalInputs:
    """Everything the session's decisions are a function of, beside the ledger and the settings.

    Symbols that are held but not decided on bring their prices and their history: their risk counts.
    """
    settings = context.settings
    scenarios = settings.risk.cvar_scenarios
    with context.ledger.read() as connection:
        holdings = {s: h.quantity for s, h in books.balances(connection).holdings.items() if h.quantity}
        account = stored_snapshot(connection, session)
    held = list(holdings)
    others = [symbol for symbol in held if symbol not in panel.symbols]
    reach = max(scenarios + 1, _VOLUME_WINDOW, settings.portfolio.construction_window + 1)
    known = load_panel(context.lake, [*panel.symbols, *others], session, lookback=reach) if others else panel
    facts = market_facts(context, session, known)
    closes = known.close[-(scenarios + 1) :]
    with np.errstate(invalid="ignore"):
        returns = closes[1:] / closes[:-1] - 1.0
    states = _states(context, session, panel, facts)
    construction = None
    if account is not None and settings.portfolio.construction != "signals":
        window = known.close[-(settings.portfolio.construction_window + 1) :]
        with np.errstate(invalid="ignore"):
            history = window[1:] / window[:-1] - 1.0
        facts_of_account = AccountFacts(float(account.equity), holdings, float(account.drawdown))
        construction = construct_targets(settings, states, facts_of_account, history, known.symbols)
    recent = known.sessions[-max(_VOLUME_WINDOW, settings.risk.max_price_age_sessions + 1) :]
    return ApprovalInputs(
        session=session,
        states=states,
        held_facts={symbol: facts[symbol] for symbol in others if symbol in facts},
        scenario_returns=returns,
        scenario_symbols=known.symbols,
        sessions_since={day: len(recent) - 1 - i for i, day in enumerate(recent.astype(object))},
        volume_required=context.universe.volume_required,
        lake_versions={name: context.lake.version(name) for name in _TABLES},
        code_version=code_version(),
        flag_problem=flag_problem(settings),
        construction=construction,
    )


def combined_forecasts(context: TradingContext, forecasts: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """The combined forecast over the longest horizon, per session: the mean a position is held for."""
    horizon = max(context.settings.forecasting.horizons)
    answered = pl.col("mean").is_not_null()
    rows = forecasts.filter((pl.col("model") == "combined") & (pl.col("horizon") == horizon) & answered)
    return _by_symbol(rows.with_columns(pl.col("mean") / horizon, pl.col("std") / horizon**0.5))


def market_facts(context: TradingContext, session: date, panel: Panel) -> dict[str, MarketFacts]:
    """What the gate needs to know of every symbol that had a close within the last sessions."""
    facts = {}
    volumes = panel.volume[-_VOLUME_WINDOW:]
    traded = np.isfinite(volumes)
    averages = np.where(traded, volumes, 0.0).sum(axis=0) / np.maximum(traded.sum(axis=0), 1)
    recent, days = panel.close[-_VOLUME_WINDOW:], panel.sessions[-_VOLUME_WINDOW:]
    for column, symbol in enumerate(panel.symbols):
        known = np.flatnonzero(np.isfinite(recent[:, column]))
        if not len(known):
            continue
        facts[symbol] = MarketFacts(
            price=float(recent[known[-1], column]),
            price_session=days[known[-1]].astype(object),
            previous_price=float(recent[known[-2], column]) if len(known) > 1 else None,
            average_volume=float(averages[column]) if traded[:, column].any() else None,
            sector=context.sectors.get(symbol, "unknown"),
            counterparty=context.settings.execution.broker,
            **_terms(context, symbol, session),
        )
    return facts


def _terms(context: TradingContext, symbol: str, session: date) -> dict[str, Any]:
    """What the instrument master says of a symbol on the day, and whether the books can carry it."""
    terms = context.instruments.find(symbol, session)
    if terms is None:
        return {"instrument_problem": f"no terms of {symbol} on {session}"}
    problem = None
    if terms.currency != context.settings.portfolio.currency:
        problem = f"{symbol} is in {terms.currency}, the account in {context.settings.portfolio.currency}"
    elif terms.multiplier != 1:
        problem = f"{symbol} has a multiplier of {terms.multiplier}; the books count shares"
    elif terms.lot_size != terms.lot_size.to_integral_value():
        problem = f"{symbol} trades in fractions ({terms.lot_size}); the books count whole shares"
    return {
        "lot_size": max(1, int(terms.lot_size)),
        "tick_size": terms.tick_size,
        "instrument_problem": problem,
    }


def _states(context: TradingContext, session: date, panel: Panel, facts: dict[str, MarketFacts]) -> list[SymbolState]:
    closes = panel.close[-context.settings.forecasting.window :]
    observations = np.isfinite(closes).sum(axis=0)
    scores = _by_symbol(_rows(context, "quality", session))
    combined = combined_forecasts(context, _rows(context, "forecasts", session))
    flags, margin = hot_flags(context.settings), context.settings.signals.conflict_margin
    bundles = route(_rows(context, "signals", session), flags, margin)
    members = set(context.symbols_on(session))
    with context.ledger.read() as connection:
        quarantined = quarantine.active(connection, session)
    states = []
    for column, symbol in enumerate(panel.symbols):
        score, forecast = scores.get(symbol), combined.get(symbol)
        states.append(
            SymbolState(
                symbol=symbol,
                facts=facts.get(symbol),
                quality_score=score["score"] if score else None,
                quality_issues=score["issues"] if score else "not_scored",
                not_evaluated=score["not_evaluated"] if score else "",
                forecast_mean=forecast["mean"] if forecast else None,
                forecast_volatility=forecast["std"] if forecast else None,
                forecast_fallback=forecast["fallback"] if forecast else None,
                bundle=bundles.get(symbol),
                member=symbol in members,
                quarantined=quarantined.get(symbol),
                observations=int(observations[column]),
            )
        )
    return states


def _rows(context: TradingContext, table: str, session: date) -> pl.DataFrame:
    return context.lake.read(table, symbols=context.symbols, start=session, end=session)


def _by_symbol(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["symbol"]: row for row in frame.iter_rows(named=True)}
