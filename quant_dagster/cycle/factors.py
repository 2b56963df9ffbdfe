"""The factor model of the desk's universe, stored per session; what the portfolio is exposed to and earned by it."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_dagster.cycle import history
from quant_dagster.features.compute import compute
from quant_dagster.features.factors import LONGEST_WINDOW, FactorModel, fit_factor_model, portfolio_attribution
from quant_dagster.market_data.panel import Panel
from quant_dagster.storage.tables import TABLES

if TYPE_CHECKING:
    from quant_dagster.cycle.context import TradingContext

_REACH = 120
"""Sessions of factor returns behind the covariance and the specific volatility."""


def factor_model(context: TradingContext, panel: Panel) -> FactorModel:
    """The factor model over the panel's newest sessions; the last one's numbers are those of any longer panel."""
    recent = panel.last(_REACH + LONGEST_WINDOW)
    features = compute(recent, context.universe.exchange)
    kept = slice(max(0, len(recent.sessions) - _REACH), None)
    cut = type(features)(
        sessions=features.sessions[kept],
        symbols=features.symbols,
        values=np.ascontiguousarray(features.values[:, :, kept]),
        present=features.present[kept],
    )
    return fit_factor_model(cut, recent.close[kept], context.sectors)


def store_factors(context: TradingContext, panel: Panel) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Store what the factors earned in the panel's last session, and the exposures at its close; returns both."""
    model = factor_model(context, panel)
    returns, exposures = factor_frames(model, panel.last_session)
    history.store(context, "factor_returns", returns)
    history.store(context, "factor_exposures", exposures)
    return returns, exposures


def factor_frames(model: FactorModel, session: date) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The model's last session as rows of ``factor_returns`` and ``factor_exposures``."""
    k, m = len(model.factors), len(model.symbols)
    known = np.isfinite(model.returns[-1])
    returns = pl.DataFrame(
        {
            "session": [session] * k,
            "factor": list(model.factors),
            "value": model.returns[-1],
            "standard_error": model.errors[-1],
            "explained": [float(model.explained[-1])] * k,
        },
        schema=TABLES["factor_returns"].schema,
    ).filter(pl.Series(known))
    exposures = pl.DataFrame(
        {
            "session": [session] * (m * k),
            "symbol": np.repeat(np.array(model.symbols, dtype=object), k).tolist(),
            "factor": list(model.factors) * m,
            "exposure": model.exposures[-1].ravel(),
            "specific_volatility": np.repeat(model.specific_volatility(), k),
        },
        schema=TABLES["factor_exposures"].schema,
    ).filter(pl.col("exposure").is_finite())
    return returns, exposures.with_columns(pl.col("specific_volatility").fill_nan(None))


def portfolio_factors(context: TradingContext, session: date) -> pl.DataFrame:
    """The portfolio by factor at a session: exposure at its close, and what each factor contributed over it.

    Returns
    -------
    polars.DataFrame
        factor, exposure (sum of weight times exposure), factor_return, contribution (to the account's return over the
        session, from the weights of the session before); the row ``specific`` completes the return.
    """
    returns = context.lake.read("factor_returns", end=session)
    exposures = context.lake.read("factor_exposures", end=session)
    days = sorted(exposures["session"].unique())
    if not days or days[-1] != session:
        return pl.DataFrame(
            schema={
                "factor": pl.String,
                "exposure": pl.Float64,
                "factor_return": pl.Float64,
                "contribution": pl.Float64,
            }
        )
    now = _weights(context, session)
    own = exposures.filter(pl.col("session") == session).join(now, on="symbol")
    exposed = own.group_by("factor").agg((pl.col("weight") * pl.col("exposure")).sum().alias("exposure"))
    table = exposed.join(
        returns.filter(pl.col("session") == session).select("factor", pl.col("value").alias("factor_return")),
        on="factor",
        how="left",
    )
    if len(days) > 1:
        contributions, specific = _contributions(context, days[-2], session, exposures, returns)
        rest = {"factor": ["specific"], "exposure": [None], "factor_return": [None], "contribution": [specific]}
        table = table.join(contributions, on="factor", how="left").vstack(
            pl.DataFrame(rest, schema={**table.schema, "contribution": pl.Float64})
        )
    else:
        table = table.with_columns(pl.lit(None, pl.Float64).alias("contribution"))
    return table.sort(pl.col("exposure").abs(), descending=True, nulls_last=True)


def _contributions(
    context: TradingContext, before: date, session: date, exposures: pl.DataFrame, returns: pl.DataFrame
) -> tuple[pl.DataFrame, float]:
    weights = _weights(context, before)
    factors = returns.filter(pl.col("session") == session)
    wide = (
        exposures.filter((pl.col("session") == before) & pl.col("factor").is_in(factors["factor"].to_list()))
        .pivot("factor", index="symbol", values="exposure")
        .join(weights, on="symbol", how="right")
    )
    closes = context.lake.read("bars", columns=["symbol", "session", "close"], symbols=wide["symbol"].to_list(),
                               start=before, end=session)  # fmt: skip
    earned = closes.group_by("symbol", maintain_order=True).agg(
        (pl.col("close").last() / pl.col("close").first()) - 1.0
    )
    wide = wide.join(earned, on="symbol", how="left")
    names = [name for name in factors["factor"] if name in wide.columns]
    values = factors.filter(pl.col("factor").is_in(names))["value"].to_numpy()
    parts, specific = portfolio_attribution(
        wide["weight"].to_numpy(),
        wide.select(names).fill_null(float("nan")).to_numpy(),
        values,
        wide["close"].fill_null(0.0).to_numpy(),
    )
    return pl.DataFrame({"factor": names, "contribution": parts}), specific


def _weights(context: TradingContext, session: date) -> pl.DataFrame:
    """Position over equity of everything held at a session's close."""
    positions = context.ledger.frame("positions").filter(pl.col("session") == session)
    accounts = context.ledger.frame("account_snapshots").filter(pl.col("session") == session)
    equity = float(accounts["equity"][0]) if accounts.height else float("nan")
    weights = positions.select("symbol", (pl.col("market_value").cast(pl.Float64) / equity).alias("weight"))
    return weights.filter(pl.col("weight").is_finite() & (pl.col("weight") != 0.0))
