"""Risk of what is held, measured, stressed and held against what was lost."""

from __future__ import annotations

import polars as pl

from quant_dagster.storage.tables.shape import HORIZON, Column, LakeTable, number, text

_MEASURED = Column("session", pl.Date(), "session at whose close the portfolio is measured")
_CONFIDENCE = number("confidence", "such as 0.99")
_EQUITY = number("equity", "of the account")

RISK = (
    LakeTable(
        name="risk_measures",
        description="VaR, expected shortfall and volatility of what is held at a session's close, by every method.",
        columns=(
            _MEASURED,
            text("method", "historical, parametric, student_t, filtered_historical, extreme_value, ..."),
            _CONFIDENCE,
            HORIZON,
            number("value_at_risk", "loss that is not passed with the confidence, account currency"),
            number("expected_shortfall", "mean loss beyond it, account currency"),
            number("volatility", "standard deviation of profit and loss, account currency"),
            _EQUITY,
            number("gross", "gross value of what is measured"),
            Column("symbols", pl.Int32(), "symbols measured"),
            Column("not_measured", pl.Int32(), "symbols held that have too short a history"),
            text("diagnostics", "of the method, as JSON"),
        ),
        key=("session", "method", "confidence", "horizon"),
    ),
    LakeTable(
        name="risk_contributions",
        description="What each position contributes to VaR and expected shortfall; the components add up to the whole.",
        columns=(
            _MEASURED,
            text("symbol", "what is held"),
            text("method", "as in risk_measures"),
            _CONFIDENCE,
            HORIZON,
            number("value", "of the position, account currency"),
            number("component_var", "share of value at risk, account currency"),
            number("component_es", "share of expected shortfall, account currency"),
            number("marginal_var", "change of value at risk per unit of currency added"),
            number("marginal_es", "change of expected shortfall per unit of currency added"),
        ),
        key=("session", "symbol", "method", "confidence", "horizon"),
    ),
    LakeTable(
        name="stress_results",
        description="What today's holdings would have lost in real episodes, and would lose under shocks and in "
        "simulation.",
        columns=(
            Column("session", pl.Date(), "session at whose close the portfolio is stressed"),
            text("kind", "'episode', 'shock' or 'simulation'"),
            text("scenario", "name of the episode, shock or simulation"),
            number("profit", "at the end of the scenario, account currency; a loss is negative", nullable=True),
            number("worst", "lowest on the way, account currency", nullable=True),
            number("value_at_risk", "99 % one-session VaR in the scenario, account currency", nullable=True),
            number("expected_shortfall", "99 % one-session ES in the scenario, account currency", nullable=True),
            _EQUITY,
            Column("symbols", pl.Int32(), "symbols valued in the scenario"),
            Column("not_evaluated", pl.Int32(), "symbols that could not be"),
            text("detail", "per symbol and how it was valued, as JSON"),
        ),
        key=("session", "kind", "scenario"),
    ),
    LakeTable(
        name="var_backtests",
        description="Value at risk forecast session by session against what was lost: exceedances and tests.",
        columns=(
            Column("session", pl.Date(), "newest session the backtest looked at"),
            text("portfolio", "'equal_weight' of the universe, or 'account'"),
            text("method", "as in risk_measures"),
            _CONFIDENCE,
            Column("first", pl.Date(), "first session forecast"),
            Column("sessions", pl.Int64(), "sessions forecast"),
            Column("missing", pl.Int64(), "sessions the method had no forecast for"),
            Column("exceedances", pl.Int64(), "sessions that lost more than the forecast"),
            number("expected", "exceedances expected"),
            number("kupiec_p", "p-value of unconditional coverage", nullable=True),
            number("independence_p", "p-value of Christoffersen's independence", nullable=True),
            number("conditional_coverage_p", "p-value of both together", nullable=True),
            text("zone", "Basel traffic light of the newest 250 sessions"),
            number(
                "shortfall_statistic",
                "Acerbi and Szekely's Z2; below zero: shortfall is forecast too low",
                nullable=True,
            ),
            number("shortfall_p", "its p-value", nullable=True),
            number("mean_var", "mean forecast, fraction of the portfolio", nullable=True),
            number("mean_es", "mean forecast, fraction of the portfolio", nullable=True),
            text("path", "sessions, returns and forecasts of the newest 1,000 sessions, as JSON"),
        ),
        key=("session", "portfolio", "method", "confidence"),
    ),
)
