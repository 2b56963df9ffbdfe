"""What alphas said, and what they are made from: pairs, factors, who leads whom."""

from __future__ import annotations

import polars as pl

from quant_dagster.storage.tables.shape import SESSION, SYMBOL, Column, LakeTable, number, text

STRATEGIES = (
    LakeTable(
        name="signals",
        description="What each alpha says about each symbol at the close of a session.",
        columns=(
            SESSION,
            SYMBOL,
            text("alpha", "strategy that speaks"),
            Column("direction", pl.Int8(), "-1 short, 0 flat, 1 long"),
            number("strength", "0 to 1", nullable=True),
            number("confidence", "0 to 1", nullable=True),
            number("risk", "0 to 1, higher is riskier", nullable=True),
            number("priority", "order in which orders are made, higher first", nullable=True),
            Column("enabled", pl.Boolean(), "whether the router lets this alpha trade"),
            text("reasons", "why, JSON or codes"),
        ),
        key=("session", "symbol", "alpha"),
    ),
    LakeTable(
        name="lead_lag",
        description="Who tells whom: transfer entropy between symbols that stands out from chance.",
        columns=(
            SESSION,
            text("leader", "symbol whose past says something"),
            text("follower", "symbol it says something about, beyond the follower's own past"),
            Column("lag", pl.Int32(), "sessions between them"),
            number("transfer_entropy", "bits a session"),
            number("p_value", "chance of as much by shuffled leaders"),
            number("correlation", "of the leader's return with the follower's later one"),
        ),
        key=("session", "leader", "follower"),
    ),
    LakeTable(
        name="factor_returns",
        description="What each factor of the factor model earned in a session.",
        columns=(
            SESSION,
            text("factor", "factor"),
            number("value", "return of one unit of exposure over the session"),
            number("standard_error", "of that return", nullable=True),
            number("explained", "share of the cross-section's variance all factors explain"),
        ),
        key=("session", "factor"),
    ),
    LakeTable(
        name="factor_exposures",
        description="Exposure of every symbol to every factor at a session's close.",
        columns=(
            SESSION,
            SYMBOL,
            text("factor", "factor"),
            number("exposure", "in standard deviations of the cross-section; 1 or 0 for market and sectors"),
            number("specific_volatility", "annualised volatility the factors leave unexplained", nullable=True),
        ),
        key=("session", "symbol", "factor"),
    ),
    LakeTable(
        name="pairs",
        description="Cointegrated pairs that are followed, and where their spread stands.",
        columns=(
            SESSION,
            text("first", "symbol that is bought when the spread is low"),
            text("second", "symbol that is sold then, hedge_ratio units of log price"),
            Column("formed_on", pl.Date(), "session the pair was found"),
            number("hedge_ratio", "of log prices"),
            number("intercept", "of log prices"),
            number("engle_granger_p", "p-value at formation"),
            number("johansen_trace", "trace statistic at formation"),
            number("half_life", "of the spread, sessions"),
            number("spread_std", "at formation"),
            number("z", "where the spread stands now, in those deviations"),
            text("state", "'flat', 'long', 'short' or 'broken'"),
            text("detail", "why it is in that state"),
        ),
        key=("session", "first", "second"),
    ),
    LakeTable(
        name="alpha_performance",
        description="What every signal source was worth lately: information, decay, contribution.",
        columns=(
            SESSION,
            text("alpha", "source"),
            Column("horizon", pl.Int32(), "sessions after the signal"),
            Column("signals", pl.Int64(), "signals with a known outcome"),
            number("information_coefficient", "rank correlation of signed strength with the outcome", nullable=True),
            number("hit_rate", "share of signals with the outcome's sign", nullable=True),
            number("mean_return", "mean outcome in the signal's direction", nullable=True),
            number("t_statistic", "of that mean", nullable=True),
            number("half_life", "sessions in which the information halves", nullable=True),
            text("state", "'sound', 'decaying', 'dead' or 'unknown'"),
            number("allocation", "factor the router gives its priority"),
        ),
        key=("session", "alpha", "horizon"),
    ),
)
