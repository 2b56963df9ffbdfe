"""Small pictures for asset metadata: quality heatmap, forecast fan, equity with drawdown.

Belongs here: PNG by matplotlib, a few tens of kilobytes, the same bytes for the same frame. Does not: the HTML
report's own figures (``figures``). A frame without rows gives a picture that says so.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DPI = 100
_WIDTH = 9.0  # inches
_MOST_SYMBOLS = 40
_MOST_DATES = 8
# Okabe and Ito's colours: told apart with any colour vision.
_BLUE, _VERMILION, _GREY = "#0072B2", "#D55E00", "#8a8f98"


def as_markdown(png: bytes, title: str) -> str:
    """A PNG as a Markdown image that carries its own data, for Dagster's Markdown metadata."""
    label = "".join(f"\\{letter}" if letter in "\\[]" else letter for letter in " ".join(title.split()))
    return f"![{label}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})"


def quality_heatmap_png(quality: pl.DataFrame) -> bytes:
    """Quality scores, symbols down and sessions across; of many symbols, those with the lowest mean score.

    Parameters
    ----------
    quality
        Rows of lake table ``quality``. A symbol and session without a row is drawn grey.
    """
    if quality.is_empty():
        return _nothing("no quality scores")
    means = quality.group_by("symbol").agg(pl.col("score").mean()).sort("score", "symbol")
    shown = sorted(means["symbol"].head(_MOST_SYMBOLS).to_list())
    sessions = quality["session"].unique().sort().to_list()
    rows, columns = {s: i for i, s in enumerate(shown)}, {s: i for i, s in enumerate(sessions)}
    scores = np.full((len(shown), len(sessions)), np.nan)
    for symbol, session, score in quality.select("symbol", "session", "score").iter_rows():
        if symbol in rows:
            scores[rows[symbol], columns[session]] = score
    figure, axes = _figure(1.3 + 0.17 * len(shown))
    axes.set_facecolor("#c9ccd1")
    image = axes.imshow(
        np.ma.masked_invalid(scores), aspect="auto", cmap="OrRd_r", vmin=0.0, vmax=1.0, interpolation="nearest"
    )
    axes.set_yticks(range(len(shown)), shown, fontsize=7)
    _date_ticks(axes, sessions)
    axes.tick_params(length=0)
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.03).ax.tick_params(labelsize=7, length=0)
    of = f"the {len(shown)} lowest of {means.height} symbols" if means.height > len(shown) else f"{len(shown)} symbols"
    lowest = float(np.nanmin(scores))
    axes.set_title(f"quality score, {of}; lowest {lowest:.2f}; grey: no bar", fontsize=9, loc="left")
    return _png(figure)


def forecast_fan_png(forecasts: pl.DataFrame) -> bytes:
    """Forecast intervals per symbol, one panel per horizon: 5 to 95 % thin, 25 to 75 % thick, median a dot.

    Parameters
    ----------
    forecasts
        Rows of lake table ``forecasts`` for one session; the combined model is drawn where it is there.
        Of many symbols, those with the largest mean over its standard deviation are shown.
    """
    forecasts = forecasts.filter(pl.col("mean").is_not_null())
    if forecasts.is_empty():
        return _nothing("no forecasts")
    models = forecasts["model"].unique().sort().to_list()
    model = "combined" if "combined" in models else models[0]
    frame = forecasts.filter(pl.col("model") == model)
    horizons = frame["horizon"].unique().sort().to_list()
    convincing = (pl.col("mean") / pl.col("std")).abs()
    order = (
        frame.filter(pl.col("horizon") == horizons[-1])
        .with_columns(convincing.alias("convincing"))
        .sort("convincing", "symbol", descending=[True, False], nulls_last=True)
        .head(_MOST_SYMBOLS)
        .sort("mean", "symbol")
    )
    symbols = order["symbol"].to_list()
    figure, first = _figure(1.3 + 0.17 * len(symbols), panels=len(horizons))
    for axes, horizon in zip(figure.axes, horizons, strict=True):
        _draw_intervals(axes, frame.filter(pl.col("horizon") == horizon), symbols)
        axes.set_title(f"{horizon} session{'s' if horizon > 1 else ''} ahead", fontsize=9, loc="left")
    first.set_yticks(range(len(symbols)), symbols, fontsize=7)
    total = frame["symbol"].n_unique()
    session = max(frame["session"].to_list())
    of = f"{len(symbols)} of {total} symbols" if total > len(symbols) else f"{total} symbols"
    figure.suptitle(f"{model} log-return forecast, {session}, {of}: 5-25-50-75-95 %", fontsize=9, x=0.01, ha="left")
    return _png(figure)


def equity_png(snapshots: pl.DataFrame) -> bytes:
    """Equity above, drawdown from its peak below.

    Parameters
    ----------
    snapshots
        Rows of ledger table ``account_snapshots``: ``session``, ``equity`` and ``peak_equity`` (account currency).
    """
    if snapshots.is_empty():
        return _nothing("no account snapshots")
    frame = snapshots.sort("session")
    sessions, equity = frame["session"].to_list(), frame["equity"].to_numpy()
    peak = frame["peak_equity"].to_numpy()
    drawdown = np.where(peak > 0, equity / np.where(peak > 0, peak, 1.0) - 1.0, np.nan)
    figure, upper = _figure(3.2, rows=(2, 1))
    lower = figure.axes[1]
    at = np.arange(len(sessions))
    upper.plot(at, equity, color=_BLUE, linewidth=1.6, marker="o" if len(at) < 3 else None)
    upper.ticklabel_format(axis="y", useOffset=False, style="plain")
    upper.yaxis.set_major_formatter(lambda value, _position: f"{value:,.0f}")
    lower.fill_between(at, drawdown, 0.0, color=_VERMILION, alpha=0.35, linewidth=0)
    lower.plot(at, drawdown, color=_VERMILION, linewidth=1.2, marker="o" if len(at) < 3 else None)
    lower.yaxis.set_major_formatter(lambda value, _position: f"{value:.2%}")
    for axes in (upper, lower):
        axes.grid(axis="y", color="#e3e5e8", linewidth=0.6)
    _date_ticks(lower, sessions)
    worst = float(np.nanmin(drawdown)) if np.isfinite(drawdown).any() else float("nan")
    upper.set_title(f"equity {equity[-1]:,.2f} on {sessions[-1]}", fontsize=9, loc="left")
    lower.set_title(f"drawdown, worst {worst:.2%}", fontsize=9, loc="left")
    return _png(figure)


def _draw_intervals(axes: Axes, frame: pl.DataFrame, symbols: Sequence[str]) -> None:
    at = {symbol: i for i, symbol in enumerate(symbols)}
    rows = frame.filter(pl.col("symbol").is_in(list(symbols)))
    y = np.array([at[symbol] for symbol in rows["symbol"]])
    quantiles = {name: rows[name].cast(pl.Float64).to_numpy() for name in ("q05", "q25", "q50", "q75", "q95")}
    axes.hlines(y, quantiles["q05"], quantiles["q95"], color=_BLUE, linewidth=1.0, alpha=0.55)
    axes.hlines(y, quantiles["q25"], quantiles["q75"], color=_BLUE, linewidth=4.0, alpha=0.75)
    axes.plot(quantiles["q50"], y, "o", color="white", markeredgecolor=_BLUE, markersize=3.5, linestyle="none")
    replaced = rows["fallback"].is_not_null().to_numpy()
    if replaced.any():
        axes.plot(quantiles["q50"][replaced], y[replaced], "o", color=_VERMILION, markersize=3.5, label="fallback")
        axes.legend(fontsize=7, frameon=False, loc="lower right")
    axes.axvline(0.0, color=_GREY, linewidth=0.8)
    axes.set_ylim(-0.8, len(symbols) - 0.2)
    axes.xaxis.set_major_formatter(lambda value, _position: f"{value:+.1%}")
    axes.tick_params(axis="y", length=0)


def _figure(height: float, *, panels: int = 1, rows: Sequence[float] = (1,)) -> tuple[Figure, Axes]:
    """A figure without pyplot: no global state, no display; panels side by side or rows one above the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    ratios: dict[str, Any] = {"height_ratios": list(rows)}
    grid = figure.subplots(
        len(rows), panels, squeeze=False, sharey=panels > 1, sharex=len(rows) > 1, gridspec_kw=ratios
    )
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=7)
    first: Axes = grid[0, 0]
    return figure, first


def _date_ticks(axes: Axes, sessions: Sequence[date]) -> None:
    """Sessions are drawn one step apart, so closed days leave no gap; at most a few of them are named."""
    shown = sorted({round(i) for i in np.linspace(0, len(sessions) - 1, min(_MOST_DATES, len(sessions)))})
    axes.set_xticks(shown, [sessions[i].isoformat() for i in shown], fontsize=7)


def _nothing(message: str) -> bytes:
    figure, axes = _figure(1.0)
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, ha="center", va="center", color=_GREY, fontsize=10)
    return _png(figure)


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
