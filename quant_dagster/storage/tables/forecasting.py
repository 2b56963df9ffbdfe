"""What models said, and how they did."""

from __future__ import annotations

import polars as pl

from quant_dagster.storage.tables.shape import HORIZON, MODEL, SESSION, SYMBOL, Column, LakeTable, number, text

_LOSSES = (
    number("squared_error", "mean squared error of the mean"),
    number("qlike", "mean QLIKE of the variance"),
    number("pinball", "mean quantile loss"),
)
_OUTCOMES = Column("forecasts", pl.Int64(), "symbols with a known outcome")

FORECASTING = (
    LakeTable(
        name="forecasts",
        description="Forecasts by session, symbol, model and horizon; how they came to be, or why there is none.",
        columns=(
            SESSION,
            SYMBOL,
            text("model", "model that made the forecast"),
            HORIZON,
            text("status", "'fitted', 'carried' (fitted in an earlier session), 'fallback' or 'refused'"),
            text("answered_by", "whose numbers these are; null where nobody could answer", nullable=True),
            Column("fitted_on", pl.Date(), "session the parameters were estimated on", nullable=True),
            number("mean", "expected log return over the horizon; null where refused", nullable=True),
            number("std", "standard deviation of the log return over the horizon; null where refused", nullable=True),
            *(
                number(f"q{level:02d}", f"{level} % quantile of the log return", nullable=True)
                for level in (5, 25, 50, 75, 95)
            ),
            text("diagnostics", "what the fit reported, JSON"),
            Column("data_version", pl.Int64(), "version of the bars the model saw"),
            text("fallback", "why and from which model this one took over", nullable=True),
            text("parameters", "fitted parameters, JSON"),
        ),
        key=("session", "symbol", "model", "horizon"),
    ),
    LakeTable(
        name="validation_scores",
        description="How every model did out of sample, and the weight that follows; per scheme, model and horizon.",
        columns=(
            Column("session", pl.Date(), "newest session the validation looked at"),
            text("scheme", "'walk_forward', or 'blocked' cross-validation with an embargo"),
            text("model", "the model that was judged"),
            text("target", "'mean', 'variance' or 'regime': what it is judged by"),
            HORIZON,
            Column("origins", pl.Int64(), "sessions forecast from"),
            Column("forecasts", pl.Int64(), "forecasts with a known outcome"),
            Column("fallbacks", pl.Int64(), "of them, answered by a stand-in"),
            number("bias", "mean of outcome less forecast", nullable=True),
            number("rmse", "root mean square error of the mean", nullable=True),
            number("mase", "mean absolute error over that of the random walk", nullable=True),
            number("qlike", "mean of log variance plus squared error over variance", nullable=True),
            number("pinball", "mean quantile loss over the five levels", nullable=True),
            number("coverage_50", "share of outcomes between the 25 and 75 % quantiles", nullable=True),
            number("coverage_90", "share of outcomes between the 5 and 95 % quantiles", nullable=True),
            number("hit_rate", "share of outcomes with the forecast's sign", nullable=True),
            number("profit_factor", "gains over losses of trading the forecast, after costs", nullable=True),
            number("max_drawdown", "of trading it, a fraction", nullable=True),
            number("annual_return", "of trading it", nullable=True),
            number("annual_volatility", "of trading it", nullable=True),
            number("volatility_adjusted_return", "annual return over annual volatility", nullable=True),
            number("sharpe", "annualised Sharpe ratio of trading it", nullable=True),
            number("sharpe_standard_error", "of the Sharpe ratio", nullable=True),
            number("deflated_sharpe", "chance that it is more than the best of as many trials by luck", nullable=True),
            text("naive", "the naive forecast it is compared with"),
            number("loss", "mean loss by which it is judged (squared error, QLIKE or pinball)", nullable=True),
            number("naive_loss", "the naive forecast's, on the same outcomes", nullable=True),
            number("diebold_mariano", "with Harvey's correction; negative: better than naive", nullable=True),
            number("diebold_mariano_p", "two-sided p-value", nullable=True),
            number("paired_t_p", "two-sided p-value of the paired t test", nullable=True),
            Column("in_confidence_set", pl.Boolean(), "in the model confidence set of its target", nullable=True),
            text("verdict", "'winner', 'no_better', 'loser', 'naive' or 'not_judged'"),
            number("weight", "what it counts for in the combined forecast; null for regimes", nullable=True),
            Column("data_version", pl.Int64(), "version of the bars that were used"),
            text("code_version", "hash of the code that judged"),
        ),
        key=("session", "scheme", "model", "horizon"),
    ),
    LakeTable(
        name="validation_losses",
        description="Mean loss of every model at every origin of a walk-forward validation, over the symbols.",
        columns=(
            Column("session", pl.Date(), "newest session the validation looked at"),
            Column("origin", pl.Date(), "session forecast from"),
            MODEL,
            HORIZON,
            _OUTCOMES,
            *_LOSSES,
            number("traded_return", "simple return of trading the forecast over the next session, after costs"),
        ),
        key=("session", "origin", "model", "horizon"),
    ),
    LakeTable(
        name="forecast_scores",
        description="How the desk's own stored forecasts did, once their outcome was known: live, not a simulation.",
        columns=(
            Column("session", pl.Date(), "session forecast from"),
            MODEL,
            HORIZON,
            _OUTCOMES,
            Column("fallbacks", pl.Int64(), "of them, answered by a stand-in"),
            *_LOSSES,
            number("coverage_90", "share of outcomes between the 5 and 95 % quantiles"),
            number("standardised_square", "mean of squared error over variance; 1 for an honest variance"),
            number("hit_rate", "share of outcomes with the forecast's sign"),
        ),
        key=("session", "model", "horizon"),
    ),
    LakeTable(
        name="model_drift",
        description="Drift tests of every model: have its errors changed, or its inputs?",
        columns=(
            SESSION,
            MODEL,
            text("detector", "which test speaks"),
            number("statistic", "of the test"),
            number("p_value", "of the test", nullable=True),
            Column("drifted", pl.Boolean(), "whether it counts as drifted"),
            text("detail", "in words"),
        ),
        key=("session", "model", "detector"),
    ),
    LakeTable(
        name="feature_importance",
        description="What each feature was worth to the learned model in each fold, and whether it was kept.",
        columns=(
            Column("session", pl.Date(), "session the model was trained at"),
            text("model", "the learned model"),
            Column("fold", pl.Int32(), "walk-forward fold, -1 for the final model"),
            text("feature", "name, generated ones included"),
            number("importance", "loss of rank correlation on unseen sessions when the feature is permuted"),
            Column("rank", pl.Int32(), "1 is the most important of the fold"),
            Column("selected", pl.Boolean(), "kept by the fold"),
        ),
        key=("session", "model", "fold", "feature"),
    ),
)
