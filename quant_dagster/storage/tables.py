"""The lake's tables: columns, types, keys and partitioning, in one place.

Every writer, contract and test takes a table's shape from here. Absent values are null, never filled.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from quant_dagster.errors import StorageError

TIMESTAMP = pl.Datetime("us", "UTC")
PARTITION = "month"


@dataclass(frozen=True)
class Column:
    """One column of a lake table."""

    name: str
    dtype: pl.DataType
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class LakeTable:
    """The shape of a lake table.

    Attributes
    ----------
    key
        Columns that name a row; a merge updates the row with the same key.
    partitioned
        Whether files are laid out by the month of ``session`` (column ``month``, kept out of what is read).
    keeps_superseded
        Whether a row that is replaced goes to the table's ``<name>_superseded``, so that what was known on any date
        can be told for ever. Such a table has ``known_at``.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partitioned: bool = True
    keeps_superseded: bool = False

    @property
    def schema(self) -> pl.Schema:
        """Column names and polars types, in order."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    @property
    def order(self) -> tuple[str, ...]:
        """Columns by which rows are sorted in files and in answers: session first, then the rest of the key."""
        first = ("session",) if "session" in self.key else ()
        return (*first, *(name for name in self.key if name != "session"))

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that are never null."""
        return tuple(column.name for column in self.columns if not column.nullable)

    def empty(self) -> pl.DataFrame:
        """A frame of this table without rows."""
        return pl.DataFrame(schema=self.schema)


def _text(name: str, description: str, nullable: bool = False) -> Column:
    return Column(name, pl.String(), description, nullable)


def _number(name: str, description: str, nullable: bool = False) -> Column:
    return Column(name, pl.Float64(), description, nullable)


def _prices(source: str) -> tuple[Column, ...]:
    return (
        _number("open", f"first trade of the session, {source}; null where the vendor has closes only", nullable=True),
        _number("high", f"highest trade, {source}; null where the vendor has closes only", nullable=True),
        _number("low", f"lowest trade, {source}; null where the vendor has closes only", nullable=True),
        _number("close", f"last trade of the session, {source}"),
        _number("volume", "shares traded; null where the vendor does not say", nullable=True),
    )


_SESSION = Column("session", pl.Date(), "exchange session the row belongs to")
_SYMBOL = _text("symbol", "ticker")
_VENDOR = _text("vendor", "who said so")
_KNOWN_AT = Column("known_at", TIMESTAMP, "when the value could first be known, UTC")
_ROW_HASH = _text("row_hash", "first 16 hex digits of the SHA-256 of the vendor's row")

_DEFINITIONS = (
    LakeTable(
        name="raw_prices",
        description="Daily prices as received, one row per vendor, symbol and session.",
        columns=(_VENDOR, _SYMBOL, _SESSION, *_prices("in the vendor's units"), _KNOWN_AT, _ROW_HASH),
        key=("vendor", "symbol", "session"),
        keeps_superseded=True,
    ),
    LakeTable(
        name="rejected_rows",
        description="Vendor rows that were refused, and why. Not partitioned: such a row may have no session.",
        columns=(
            _VENDOR,
            _text("source", "file or data set the row came from"),
            Column("row", pl.Int64(), "row number in the source, from 1"),
            _text("symbol", "ticker, if it could be read", nullable=True),
            Column("session", pl.Date(), "session, if it could be read", nullable=True),
            _text("reason", "code of the reason"),
            _text("detail", "what was found"),
            _KNOWN_AT,
        ),
        key=("vendor", "source", "row", "reason"),
        partitioned=False,
    ),
    LakeTable(
        name="bars",
        description="Daily bars the desk trades on: the best vendor's row for each symbol and session.",
        columns=(
            _SYMBOL,
            _SESSION,
            *_prices("in the units of the symbol's home vendor"),
            _VENDOR,
            _KNOWN_AT,
            _ROW_HASH,
            _number(
                "level_factor",
                "what another vendor's prices were multiplied by to stand at the home vendor's level; null: nothing",
                nullable=True,
            ),
            _text(
                "vendor_change",
                "how a bar of another vendor than the one before came in: 'agreed', 'adjusted' or 'unconfirmed'",
                nullable=True,
            ),
        ),
        key=("symbol", "session"),
        keeps_superseded=True,
    ),
    LakeTable(
        name="quality",
        description="How far a bar can be trusted, and why.",
        columns=(
            _SYMBOL,
            _SESSION,
            _number("score", "0 (worthless) to 1 (nothing found)"),
            _text("issues", "codes of what was found, comma-joined"),
            _text("not_evaluated", "codes of what could not be checked, comma-joined"),
        ),
        key=("symbol", "session"),
    ),
    LakeTable(
        name="forecasts",
        description="Forecasts by session, symbol, model and horizon; how they came to be, or why there is none.",
        columns=(
            _SESSION,
            _SYMBOL,
            _text("model", "model that made the forecast"),
            Column("horizon", pl.Int32(), "sessions ahead"),
            _text("status", "'fitted', 'carried' (fitted in an earlier session), 'fallback' or 'refused'"),
            _text("answered_by", "whose numbers these are; null where nobody could answer", nullable=True),
            Column("fitted_on", pl.Date(), "session the parameters were estimated on", nullable=True),
            _number("mean", "expected log return over the horizon; null where refused", nullable=True),
            _number("std", "standard deviation of the log return over the horizon; null where refused", nullable=True),
            *(
                _number(f"q{level:02d}", f"{level} % quantile of the log return", nullable=True)
                for level in (5, 25, 50, 75, 95)
            ),
            _text("diagnostics", "what the fit reported, JSON"),
            Column("data_version", pl.Int64(), "version of the bars the model saw"),
            _text("fallback", "why and from which model this one took over", nullable=True),
            _text("parameters", "fitted parameters, JSON"),
        ),
        key=("session", "symbol", "model", "horizon"),
    ),
    LakeTable(
        name="signals",
        description="What each alpha says about each symbol at the close of a session.",
        columns=(
            _SESSION,
            _SYMBOL,
            _text("alpha", "strategy that speaks"),
            Column("direction", pl.Int8(), "-1 short, 0 flat, 1 long"),
            _number("strength", "0 to 1", nullable=True),
            _number("confidence", "0 to 1", nullable=True),
            _number("risk", "0 to 1, higher is riskier", nullable=True),
            _number("priority", "order in which orders are made, higher first", nullable=True),
            Column("enabled", pl.Boolean(), "whether the router lets this alpha trade"),
            _text("reasons", "why, JSON or codes"),
        ),
        key=("session", "symbol", "alpha"),
    ),
    LakeTable(
        name="corporate_actions",
        description="Splits, dividends and spin-offs by ex-date: reported by a vendor, or inferred from prices.",
        columns=(
            _VENDOR,
            _SYMBOL,
            Column("session", pl.Date(), "ex-date: the first session that trades without the right"),
            _text("kind", "'split', 'dividend' or 'spin_off'"),
            _number("ratio", "new shares per old share of a split; null otherwise", nullable=True),
            _number("amount", "cash (or value of what was spun off) per share before the ex-date", nullable=True),
            _text("origin", "'reported' by the vendor, or 'inferred' from prices"),
            _text("confirmed_by", "who else shows the same action, comma-joined; empty: nobody"),
            _KNOWN_AT,
        ),
        key=("vendor", "symbol", "session", "kind"),
        keeps_superseded=True,
    ),
    LakeTable(
        name="reconciliation",
        description="Breaks between two vendors, one row per symbol, session and class. What agrees is not listed.",
        columns=(
            _SYMBOL,
            _SESSION,
            _text("vendor", "first vendor"),
            _text("other", "second vendor"),
            _text("break_class", "'bad_print', 'adjustment', 'missing', 'stale' or 'volume_only'"),
            _text("wrong", "the vendor that is wrong as far as can be told, or 'unknown'"),
            _text("field", "field that differs most", nullable=True),
            _number("value", "first vendor's value", nullable=True),
            _number("other_value", "second vendor's value, at the first one's level", nullable=True),
            _text("detail", "what was found"),
        ),
        key=("symbol", "session", "vendor", "other", "break_class"),
    ),
    LakeTable(
        name="anomalies",
        description="Bars and features unusual for their symbol or their market: findings, not verdicts.",
        columns=(
            _SYMBOL,
            _SESSION,
            _text("detector", "which detector speaks"),
            _text("subject", "field or feature it speaks of"),
            _number("value", "what was found"),
            _number("usual", "what is usual", nullable=True),
            _number("severity", "how unusual, in robust standard deviations or the detector's own unit"),
            _text("detail", "in words"),
        ),
        key=("symbol", "session", "detector", "subject"),
    ),
    LakeTable(
        name="intraday_bars",
        description="Bars shorter than a session, as received. A minute without a trade has no row.",
        columns=(
            _VENDOR,
            _SYMBOL,
            _SESSION,
            Column("bar_start", TIMESTAMP, "first instant of the bar, UTC"),
            Column("seconds", pl.Int32(), "length of the bar"),
            *_prices("in the vendor's units"),
            _KNOWN_AT,
        ),
        key=("vendor", "symbol", "session", "bar_start", "seconds"),
    ),
    LakeTable(
        name="intraday_quotes",
        description="Best bid and ask over bars shorter than a session, as received.",
        columns=(
            _VENDOR,
            _SYMBOL,
            _SESSION,
            Column("bar_start", TIMESTAMP, "first instant of the bar, UTC"),
            Column("seconds", pl.Int32(), "length of the bar"),
            *(
                _number(f"{side}_{field}", f"{field} of the best {side}", nullable=True)
                for side in ("bid", "ask")
                for field in ("open", "high", "low", "close", "size")
            ),
            _KNOWN_AT,
        ),
        key=("vendor", "symbol", "session", "bar_start", "seconds"),
    ),
    LakeTable(
        name="trades",
        description="Single trades, as received.",
        columns=(
            _VENDOR,
            _SYMBOL,
            _SESSION,
            _text("trade_id", "the venue's own id"),
            Column("traded_at", TIMESTAMP, "when the venue matched it, UTC"),
            _number("price", "price"),
            _number("size", "units traded"),
            _text("side", "'buy' or 'sell': the side that took; null where the venue does not say", nullable=True),
            _KNOWN_AT,
        ),
        key=("vendor", "symbol", "session", "trade_id"),
    ),
    LakeTable(
        name="risk_measures",
        description="VaR, expected shortfall and volatility of what is held at a session's close, by every method.",
        columns=(
            Column("session", pl.Date(), "session at whose close the portfolio is measured"),
            _text("method", "historical, parametric, student_t, filtered_historical, extreme_value, ..."),
            _number("confidence", "such as 0.99"),
            Column("horizon", pl.Int32(), "sessions ahead"),
            _number("value_at_risk", "loss that is not passed with the confidence, account currency"),
            _number("expected_shortfall", "mean loss beyond it, account currency"),
            _number("volatility", "standard deviation of profit and loss, account currency"),
            _number("equity", "of the account"),
            _number("gross", "gross value of what is measured"),
            Column("symbols", pl.Int32(), "symbols measured"),
            Column("not_measured", pl.Int32(), "symbols held that have too short a history"),
            _text("diagnostics", "of the method, as JSON"),
        ),
        key=("session", "method", "confidence", "horizon"),
    ),
    LakeTable(
        name="risk_contributions",
        description="What each position contributes to VaR and expected shortfall; the components add up to the whole.",
        columns=(
            Column("session", pl.Date(), "session at whose close the portfolio is measured"),
            _text("symbol", "what is held"),
            _text("method", "as in risk_measures"),
            _number("confidence", "such as 0.99"),
            Column("horizon", pl.Int32(), "sessions ahead"),
            _number("value", "of the position, account currency"),
            _number("component_var", "share of value at risk, account currency"),
            _number("component_es", "share of expected shortfall, account currency"),
            _number("marginal_var", "change of value at risk per unit of currency added"),
            _number("marginal_es", "change of expected shortfall per unit of currency added"),
        ),
        key=("session", "symbol", "method", "confidence", "horizon"),
    ),
    LakeTable(
        name="stress_results",
        description="What today's holdings would have lost in real episodes, and would lose under shocks and in "
        "simulation.",
        columns=(
            Column("session", pl.Date(), "session at whose close the portfolio is stressed"),
            _text("kind", "'episode', 'shock' or 'simulation'"),
            _text("scenario", "name of the episode, shock or simulation"),
            _number("profit", "at the end of the scenario, account currency; a loss is negative", nullable=True),
            _number("worst", "lowest on the way, account currency", nullable=True),
            _number("value_at_risk", "99 % one-session VaR in the scenario, account currency", nullable=True),
            _number("expected_shortfall", "99 % one-session ES in the scenario, account currency", nullable=True),
            _number("equity", "of the account"),
            Column("symbols", pl.Int32(), "symbols valued in the scenario"),
            Column("not_evaluated", pl.Int32(), "symbols that could not be"),
            _text("detail", "per symbol and how it was valued, as JSON"),
        ),
        key=("session", "kind", "scenario"),
    ),
    LakeTable(
        name="var_backtests",
        description="Value at risk forecast session by session against what was lost: exceedances and tests.",
        columns=(
            Column("session", pl.Date(), "newest session the backtest looked at"),
            _text("portfolio", "'equal_weight' of the universe, or 'account'"),
            _text("method", "as in risk_measures"),
            _number("confidence", "such as 0.99"),
            Column("first", pl.Date(), "first session forecast"),
            Column("sessions", pl.Int64(), "sessions forecast"),
            Column("missing", pl.Int64(), "sessions the method had no forecast for"),
            Column("exceedances", pl.Int64(), "sessions that lost more than the forecast"),
            _number("expected", "exceedances expected"),
            _number("kupiec_p", "p-value of unconditional coverage", nullable=True),
            _number("independence_p", "p-value of Christoffersen's independence", nullable=True),
            _number("conditional_coverage_p", "p-value of both together", nullable=True),
            _text("zone", "Basel traffic light of the newest 250 sessions"),
            _number(
                "shortfall_statistic",
                "Acerbi and Szekely's Z2; below zero: shortfall is forecast too low",
                nullable=True,
            ),
            _number("shortfall_p", "its p-value", nullable=True),
            _number("mean_var", "mean forecast, fraction of the portfolio", nullable=True),
            _number("mean_es", "mean forecast, fraction of the portfolio", nullable=True),
            _text("path", "sessions, returns and forecasts of the newest 1,000 sessions, as JSON"),
        ),
        key=("session", "portfolio", "method", "confidence"),
    ),
    LakeTable(
        name="validation_scores",
        description="How every model did out of sample, and the weight that follows; per scheme, model and horizon.",
        columns=(
            Column("session", pl.Date(), "newest session the validation looked at"),
            _text("scheme", "'walk_forward', or 'blocked' cross-validation with an embargo"),
            _text("model", "the model that was judged"),
            _text("target", "'mean', 'variance' or 'regime': what it is judged by"),
            Column("horizon", pl.Int32(), "sessions ahead"),
            Column("origins", pl.Int64(), "sessions forecast from"),
            Column("forecasts", pl.Int64(), "forecasts with a known outcome"),
            Column("fallbacks", pl.Int64(), "of them, answered by a stand-in"),
            _number("bias", "mean of outcome less forecast", nullable=True),
            _number("rmse", "root mean square error of the mean", nullable=True),
            _number("mase", "mean absolute error over that of the random walk", nullable=True),
            _number("qlike", "mean of log variance plus squared error over variance", nullable=True),
            _number("pinball", "mean quantile loss over the five levels", nullable=True),
            _number("coverage_50", "share of outcomes between the 25 and 75 % quantiles", nullable=True),
            _number("coverage_90", "share of outcomes between the 5 and 95 % quantiles", nullable=True),
            _number("hit_rate", "share of outcomes with the forecast's sign", nullable=True),
            _number("profit_factor", "gains over losses of trading the forecast, after costs", nullable=True),
            _number("max_drawdown", "of trading it, a fraction", nullable=True),
            _number("annual_return", "of trading it", nullable=True),
            _number("annual_volatility", "of trading it", nullable=True),
            _number("volatility_adjusted_return", "annual return over annual volatility", nullable=True),
            _number("sharpe", "annualised Sharpe ratio of trading it", nullable=True),
            _number("sharpe_standard_error", "of the Sharpe ratio", nullable=True),
            _number("deflated_sharpe", "chance that it is more than the best of as many trials by luck", nullable=True),
            _text("naive", "the naive forecast it is compared with"),
            _number("loss", "mean loss by which it is judged (squared error, QLIKE or pinball)", nullable=True),
            _number("naive_loss", "the naive forecast's, on the same outcomes", nullable=True),
            _number("diebold_mariano", "with Harvey's correction; negative: better than naive", nullable=True),
            _number("diebold_mariano_p", "two-sided p-value", nullable=True),
            _number("paired_t_p", "two-sided p-value of the paired t test", nullable=True),
            Column("in_confidence_set", pl.Boolean(), "in the model confidence set of its target", nullable=True),
            _text("verdict", "'winner', 'no_better', 'loser', 'naive' or 'not_judged'"),
            _number("weight", "what it counts for in the combined forecast; null for regimes", nullable=True),
            Column("data_version", pl.Int64(), "version of the bars that were used"),
            _text("code_version", "hash of the code that judged"),
        ),
        key=("session", "scheme", "model", "horizon"),
    ),
    LakeTable(
        name="validation_losses",
        description="Mean loss of every model at every origin of a walk-forward validation, over the symbols.",
        columns=(
            Column("session", pl.Date(), "newest session the validation looked at"),
            Column("origin", pl.Date(), "session forecast from"),
            _text("model", "the model"),
            Column("horizon", pl.Int32(), "sessions ahead"),
            Column("forecasts", pl.Int64(), "symbols with a known outcome"),
            _number("squared_error", "mean squared error of the mean"),
            _number("qlike", "mean QLIKE of the variance"),
            _number("pinball", "mean quantile loss"),
            _number("traded_return", "simple return of trading the forecast over the next session, after costs"),
        ),
        key=("session", "origin", "model", "horizon"),
    ),
    LakeTable(
        name="forecast_scores",
        description="How the desk's own stored forecasts did, once their outcome was known: live, not a simulation.",
        columns=(
            Column("session", pl.Date(), "session forecast from"),
            _text("model", "the model"),
            Column("horizon", pl.Int32(), "sessions ahead"),
            Column("forecasts", pl.Int64(), "symbols with a known outcome"),
            Column("fallbacks", pl.Int64(), "of them, answered by a stand-in"),
            _number("squared_error", "mean squared error of the mean"),
            _number("qlike", "mean QLIKE of the variance"),
            _number("pinball", "mean quantile loss"),
            _number("coverage_90", "share of outcomes between the 5 and 95 % quantiles"),
            _number("standardised_square", "mean of squared error over variance; 1 for an honest variance"),
            _number("hit_rate", "share of outcomes with the forecast's sign"),
        ),
        key=("session", "model", "horizon"),
    ),
    LakeTable(
        name="model_drift",
        description="Drift tests of every model: have its errors changed, or its inputs?",
        columns=(
            _SESSION,
            _text("model", "the model"),
            _text("detector", "which test speaks"),
            _number("statistic", "of the test"),
            _number("p_value", "of the test", nullable=True),
            Column("drifted", pl.Boolean(), "whether it counts as drifted"),
            _text("detail", "in words"),
        ),
        key=("session", "model", "detector"),
    ),
    LakeTable(
        name="lead_lag",
        description="Who tells whom: transfer entropy between symbols that stands out from chance.",
        columns=(
            _SESSION,
            _text("leader", "symbol whose past says something"),
            _text("follower", "symbol it says something about, beyond the follower's own past"),
            Column("lag", pl.Int32(), "sessions between them"),
            _number("transfer_entropy", "bits a session"),
            _number("p_value", "chance of as much by shuffled leaders"),
            _number("correlation", "of the leader's return with the follower's later one"),
        ),
        key=("session", "leader", "follower"),
    ),
    LakeTable(
        name="factor_returns",
        description="What each factor of the factor model earned in a session.",
        columns=(
            _SESSION,
            _text("factor", "factor"),
            _number("value", "return of one unit of exposure over the session"),
            _number("standard_error", "of that return", nullable=True),
            _number("explained", "share of the cross-section's variance all factors explain"),
        ),
        key=("session", "factor"),
    ),
    LakeTable(
        name="factor_exposures",
        description="Exposure of every symbol to every factor at a session's close.",
        columns=(
            _SESSION,
            _SYMBOL,
            _text("factor", "factor"),
            _number("exposure", "in standard deviations of the cross-section; 1 or 0 for market and sectors"),
            _number("specific_volatility", "annualised volatility the factors leave unexplained", nullable=True),
        ),
        key=("session", "symbol", "factor"),
    ),
    LakeTable(
        name="feature_importance",
        description="What each feature was worth to the learned model in each fold, and whether it was kept.",
        columns=(
            Column("session", pl.Date(), "session the model was trained at"),
            _text("model", "the learned model"),
            Column("fold", pl.Int32(), "walk-forward fold, -1 for the final model"),
            _text("feature", "name, generated ones included"),
            _number("importance", "loss of rank correlation on unseen sessions when the feature is permuted"),
            Column("rank", pl.Int32(), "1 is the most important of the fold"),
            Column("selected", pl.Boolean(), "kept by the fold"),
        ),
        key=("session", "model", "fold", "feature"),
    ),
    LakeTable(
        name="pairs",
        description="Cointegrated pairs that are followed, and where their spread stands.",
        columns=(
            _SESSION,
            _text("first", "symbol that is bought when the spread is low"),
            _text("second", "symbol that is sold then, hedge_ratio units of log price"),
            Column("formed_on", pl.Date(), "session the pair was found"),
            _number("hedge_ratio", "of log prices"),
            _number("intercept", "of log prices"),
            _number("engle_granger_p", "p-value at formation"),
            _number("johansen_trace", "trace statistic at formation"),
            _number("half_life", "of the spread, sessions"),
            _number("spread_std", "at formation"),
            _number("z", "where the spread stands now, in those deviations"),
            _text("state", "'flat', 'long', 'short' or 'broken'"),
            _text("detail", "why it is in that state"),
        ),
        key=("session", "first", "second"),
    ),
    LakeTable(
        name="alpha_performance",
        description="What every signal source was worth lately: information, decay, contribution.",
        columns=(
            _SESSION,
            _text("alpha", "source"),
            Column("horizon", pl.Int32(), "sessions after the signal"),
            Column("signals", pl.Int64(), "signals with a known outcome"),
            _number("information_coefficient", "rank correlation of signed strength with the outcome", nullable=True),
            _number("hit_rate", "share of signals with the outcome's sign", nullable=True),
            _number("mean_return", "mean outcome in the signal's direction", nullable=True),
            _number("t_statistic", "of that mean", nullable=True),
            _number("half_life", "sessions in which the information halves", nullable=True),
            _text("state", "'sound', 'decaying', 'dead' or 'unknown'"),
            _number("allocation", "factor the router gives its priority"),
        ),
        key=("session", "alpha", "horizon"),
    ),
)

SUPERSEDED = "_superseded"


def _superseded(table: LakeTable) -> LakeTable:
    """Where replaced rows of ``table`` go: one row for each value a key ever had before its present one."""
    columns = tuple(column for column in table.columns if column.name != "known_at")
    return LakeTable(
        name=table.name + SUPERSEDED,
        description=f"Rows of '{table.name}' that were replaced since, under the time each was known. Only added to.",
        columns=(*columns, _KNOWN_AT, Column("superseded_at", TIMESTAMP, "when the next value became known, UTC")),
        # Two values of a key may have become known at once (another vendor's row of the same session).
        key=(*table.key, "known_at", *(column.name for column in table.columns if column.name == "row_hash")),
    )


TABLES: dict[str, LakeTable] = {
    table.name: table
    for definition in _DEFINITIONS
    for table in ((definition, _superseded(definition)) if definition.keeps_superseded else (definition,))
}


def lake_table(name: str) -> LakeTable:
    """The table called ``name``; a StorageError names the tables there are."""
    try:
        return TABLES[name]
    except KeyError:
        raise StorageError(f"the lake has no table '{name}'; tables: {', '.join(sorted(TABLES))}") from None
