"""Small pictures of risk for asset metadata: VaR and ES by method, stress losses, a backtest's path."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import polars as pl

from quant_dagster.cycle.stress_report import with_loss
from quant_dagster.operations.report.charts import _BLUE, _GREY, _VERMILION, _date_ticks, _figure, _nothing, _png


def measures_png(measures: pl.DataFrame) -> bytes:
    """VaR (bar) and ES (mark) over equity by method, a panel for each confidence.

    Parameters
    ----------
    measures
        Rows of ``risk_measures`` of one session; the shortest horizon is drawn.
    """
    if measures.is_empty():
        return _nothing("nothing was measured")
    frame = measures.filter(pl.col("horizon") == pl.col("horizon").min())
    confidences = frame["confidence"].unique().sort().to_list()
    methods = frame["method"].unique(maintain_order=True).to_list()[::-1]
    figure, first = _figure(0.9 + 0.28 * len(methods), panels=len(confidences))
    for axes, confidence in zip(figure.axes, confidences, strict=True):
        rows = frame.filter(pl.col("confidence") == confidence)
        at = [methods.index(method) for method in rows["method"]]
        equity = rows["equity"].to_numpy()
        axes.barh(at, rows["value_at_risk"].to_numpy() / equity, color=_BLUE, height=0.6)
        axes.plot(rows["expected_shortfall"].to_numpy() / equity, at, "D", color=_VERMILION, markersize=4)
        axes.xaxis.set_major_formatter(lambda value, _position: f"{value:.2%}")
        axes.set_title(f"{confidence:.1%} over equity: VaR (bar), ES (mark)", fontsize=9, loc="left")
    first.set_yticks(range(len(methods)), [method.replace("_", " ") for method in methods], fontsize=7)
    return _png(figure)


def stress_png(results: pl.DataFrame, largest_loss: float) -> bytes:
    """What each scenario would make of the account, worst at the top; the bearable loss is a line.

    Parameters
    ----------
    results
        Rows of ``stress_results`` of one session.
    largest_loss
        Bearable loss over equity.
    """
    valued = with_loss(results).filter(pl.col("loss").is_not_null())
    if valued.is_empty():
        return _nothing("no scenario could be valued")
    rows = valued.sort("loss", "scenario")
    figure, axes = _figure(0.9 + 0.22 * rows.height)
    share = -rows["loss"].to_numpy() / rows["equity"].to_numpy()
    axes.barh(range(rows.height), share, height=0.65, color=np.where(share < -largest_loss, _VERMILION, _BLUE).tolist())
    axes.axvline(0.0, color=_GREY, linewidth=0.8)
    axes.axvline(-largest_loss, color=_VERMILION, linewidth=1.0, linestyle="--")
    axes.set_yticks(range(rows.height), [name.replace("_", " ") for name in rows["scenario"]], fontsize=7)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:+.1%}")
    axes.set_title(f"worst of each scenario over equity; dashed: {-largest_loss:.0%}", fontsize=9, loc="left")
    return _png(figure)


def backtest_png(row: dict[str, str | float]) -> bytes:
    """Returns, forecasts and exceedances of one backtest.

    Parameters
    ----------
    row
        Of ``var_backtests``.
    """
    path = json.loads(str(row["path"]))
    days = [date.fromisoformat(day) for day in path["sessions"]]
    returns = np.array(path["returns"])
    forecast = -np.array(path["value_at_risk"], dtype=np.float64)
    beyond = np.flatnonzero(returns < forecast)
    figure, axes = _figure(2.8)
    at = np.arange(len(days))
    axes.vlines(at, 0.0, returns, color=_GREY, linewidth=0.5)
    axes.plot(at, forecast, color=_BLUE, linewidth=1.0)
    axes.plot(beyond, returns[beyond], "o", color=_VERMILION, markersize=3)
    axes.yaxis.set_major_formatter(lambda value, _position: f"{value:.0%}")
    _date_ticks(axes, days)
    method = str(row["method"]).replace("_", " ")
    axes.set_title(
        f"{method}, {row['confidence']:.1%} VaR: {len(beyond)} losses beyond it in {len(days)} sessions",
        fontsize=9,
        loc="left",
    )
    return _png(figure)
