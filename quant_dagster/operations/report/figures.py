"""The report's figures: inline SVG that takes its colours from the page, and so follows its light or dark look.

Sessions are drawn one step apart, so closed days leave no gap. Every figure carries its values for the pointer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from html import escape

_WIDTH, _LEFT, _RIGHT, _TOP, _BOTTOM = 640.0, 76.0, 14.0, 10.0, 26.0
_HEIGHT = 230.0
_MOST_DATES = 6
_ROW, _NAMES, _VALUES = 19.0, 190.0, 90.0
"""Of named bars: a row's height, and the room for names and values."""

Formatter = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """One line or one layer of bars. ``style`` is a class of the page's style sheet: its colour."""

    name: str
    values: Sequence[float]
    style: str
    dashed: bool = False


def line_figure(
    title: str,
    sessions: Sequence[date],
    series: Sequence[Series],
    form: Formatter,
    *,
    area: bool = False,
    zero: bool = False,
) -> str:
    """Lines over sessions.

    Parameters
    ----------
    form
        Turns a value into the text of the axis and the pointer.
    area
        Fill between each line and zero (or the figure's floor).
    zero
        Have zero on the axis.
    """
    values = [value for one in series for value in one.values if math.isfinite(value)]
    if not values:
        return empty_figure(title)
    low, high, ticks = _axis(min(values), max(values), zero=zero)
    y = _scale(low, high)
    xs = _positions(len(sessions))
    base = y(min(max(0.0, low), high))
    parts = [_grid(ticks, y, form), _dates(sessions, xs)]
    for one in series:
        points = [(x, y(v)) for x, v in zip(xs, one.values, strict=True) if math.isfinite(v)]
        path = "M" + "L".join(f"{px:.1f},{py:.1f}" for px, py in points)
        if area:
            closed = f"{path}L{points[-1][0]:.1f},{base:.1f}L{points[0][0]:.1f},{base:.1f}Z"
            parts.append(f'<path class="area {one.style}" d="{closed}"/>')
        dash = ' stroke-dasharray="5 4"' if one.dashed else ""
        parts.append(f'<path class="line {one.style}" d="{path}"{dash}/>')
        if len(points) == 1:
            parts.append(f'<circle class="dot {one.style}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3.5"/>')
    return _figure(title, sessions, xs, series, form, parts)


def bar_figure(title: str, sessions: Sequence[date], series: Sequence[Series], form: Formatter) -> str:
    """Stacked bars, one a session; values are not negative."""
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)]
    if not totals or max(totals) <= 0:
        return empty_figure(title)
    low, high, ticks = _axis(0.0, max(totals), zero=True, whole=True)
    y = _scale(low, high)
    step = (_WIDTH - _LEFT - _RIGHT) / len(sessions)
    xs = [_LEFT + (i + 0.5) * step for i in range(len(sessions))]
    width = max(1.0, min(26.0, step * 0.72))
    parts = [_grid(ticks, y, form), _dates(sessions, xs)]
    floor = [0.0] * len(sessions)
    for one in series:
        for i, value in enumerate(one.values):
            if value > 0:
                top, bottom = y(floor[i] + value), y(floor[i])
                parts.append(
                    f'<rect class="bar {one.style}" x="{xs[i] - width / 2:.1f}" y="{top:.1f}" width="{width:.1f}" '
                    f'height="{bottom - top:.1f}"/>'
                )
                floor[i] += value
    return _figure(title, sessions, xs, series, form, parts)


def named_bars_figure(title: str, names: Sequence[str], values: Sequence[float], form: Formatter) -> str:
    """Horizontal bars with their names to the left and their values beside them; gains and losses from one zero."""
    if not names:
        return empty_figure(title)
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    scale = (_WIDTH - _NAMES - _VALUES) / span
    zero = _NAMES - low * scale
    height = _ROW * len(names) + 8.0
    parts = []
    for i, (name, value) in enumerate(zip(names, values, strict=True)):
        top, end = 4.0 + i * _ROW, zero + value * scale
        style = "accent" if value >= 0 else "fall"
        parts.append(f'<text class="tick end" x="{_NAMES - 8}" y="{top + 13:.1f}">{escape(name)}</text>')
        parts.append(
            f'<rect class="bar {style}" x="{min(zero, end):.1f}" y="{top + 3:.1f}" width="{abs(end - zero):.1f}" '
            f'height="{_ROW - 6:.1f}"/>'
        )
        parts.append(f'<text class="tick" x="{max(zero, end) + 6:.1f}" y="{top + 13:.1f}">{form(value)}</text>')
    axis = f'<line class="axis" x1="{zero:.1f}" x2="{zero:.1f}" y1="0" y2="{height:.0f}"/>'
    return _drawn(title, "".join([*parts, axis]), height)


def exceedance_figure(
    title: str, days: Sequence[str], returns: Sequence[float], forecasts: Sequence[float], form: Formatter
) -> str:
    """Returns as thin bars, the forecast loss as a line below zero, and a dot where it was exceeded."""
    left = 60.0
    known = [value for value in [*returns, *forecasts] if math.isfinite(value)]
    low, high = min(0.0, *known), max(0.0, *known)
    step = (_WIDTH - left - _RIGHT) / max(1, len(days) - 1)

    def x(i: int) -> float:
        return left + i * step

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / ((high - low) or 1.0)

    grid = "".join(
        f'<line class="{"axis" if tick == 0 else "grid"}" x1="{left}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" '
        f'y2="{y(tick):.1f}"/><text class="tick end" x="{left - 8}" y="{y(tick) + 4:.1f}">{form(tick)}</text>'
        for tick in dict.fromkeys((low, 0.0, high))
    )
    lost = "".join(f"M{x(i):.1f},{y(0):.1f}V{y(value):.1f}" for i, value in enumerate(returns) if math.isfinite(value))
    line, pen = "", "M"
    for i, value in enumerate(forecasts):
        if math.isfinite(value):
            line, pen = f"{line}{pen}{x(i):.1f},{y(value):.1f}", "L"
        else:
            pen = "M"
    dots = "".join(
        f'<circle class="dot fall" cx="{x(i):.1f}" cy="{y(value):.1f}" r="3"/>'
        for i, (value, forecast) in enumerate(zip(returns, forecasts, strict=True))
        if value < forecast
    )
    ends = (
        f'<text class="tick start" x="{left}" y="{_HEIGHT - 7}">{escape(days[0])}</text>'
        f'<text class="tick end" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 7}">{escape(days[-1])}</text>'
    )
    paths = f'<path class="line third" style="stroke-width:1" d="{lost}"/><path class="line accent" d="{line}"/>'
    keys = (("return", "third"), ("forecast", "accent"), ("exceedance", "fall"))
    return _drawn(title, grid + paths + dots + ends, _HEIGHT, keys)


def empty_figure(title: str) -> str:
    """A figure of nothing, which says so."""
    return f'<figure class="figure"><figcaption><b>{escape(title)}</b></figcaption><p class="none">none</p></figure>'


def _figure(
    title: str,
    sessions: Sequence[date],
    xs: Sequence[float],
    series: Sequence[Series],
    form: Formatter,
    parts: Sequence[str],
) -> str:
    pointer = {
        "x": [round(x, 1) for x in xs],
        "at": [day.isoformat() for day in sessions],
        "series": [
            {"name": one.name, "style": one.style, "text": [form(value) for value in one.values]} for one in series
        ],
    }
    legend = "".join(
        f'<span class="key"><i class="{one.style}{" dashed" if one.dashed else ""}"></i>{escape(one.name)}</span>'
        for one in series
    )
    label = f"{title}, {sessions[0]} to {sessions[-1]}"
    return (
        f'<figure class="figure" data-pointer="{escape(json.dumps(pointer))}">'
        f"<figcaption><b>{escape(title)}</b>{legend if len(series) > 1 else ''}</figcaption>"
        f'<div class="plot"><svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{escape(label)}">'
        f'{"".join(parts)}<line class="cursor" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" x1="-9" x2="-9"/></svg></div>'
        "</figure>"
    )


def _drawn(title: str, content: str, height: float, keys: Sequence[tuple[str, str]] = ()) -> str:
    legend = "".join(f'<span class="key"><i class="{style}"></i>{name}</span>' for name, style in keys)
    return (
        f'<figure class="figure"><figcaption><b>{escape(title)}</b>{legend}</figcaption><div class="plot">'
        f'<svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">{content}</svg></div>'
        "</figure>"
    )


def _grid(ticks: Sequence[float], y: Callable[[float], float], form: Formatter) -> str:
    lines = []
    for tick in ticks:
        at = y(tick)
        style = "axis" if tick == 0 else "grid"
        lines.append(f'<line class="{style}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(f'<text class="tick end" x="{_LEFT - 8}" y="{at + 4:.1f}">{escape(form(tick))}</text>')
    return "".join(lines)


def _dates(sessions: Sequence[date], xs: Sequence[float]) -> str:
    count = min(_MOST_DATES, len(sessions))
    shown = sorted({round(i * (len(sessions) - 1) / max(1, count - 1)) for i in range(count)})
    texts = []
    for i in shown:
        edge = " end" if i == len(sessions) - 1 and i else " start" if i == 0 else ""
        text = sessions[i].isoformat()
        texts.append(f'<text class="tick mid{edge}" x="{xs[i]:.1f}" y="{_HEIGHT - 7:.0f}">{text}</text>')
    return "".join(texts)


def _positions(count: int) -> list[float]:
    span = _WIDTH - _LEFT - _RIGHT
    if count == 1:
        return [_LEFT + span / 2]
    return [_LEFT + span * i / (count - 1) for i in range(count)]


def _scale(low: float, high: float) -> Callable[[float], float]:
    span = _HEIGHT - _TOP - _BOTTOM
    return lambda value: _TOP + span * (high - value) / (high - low)


def _axis(low: float, high: float, *, zero: bool, whole: bool = False) -> tuple[float, float, list[float]]:
    """Ends of the axis and three to seven round values on it."""
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-12 * max(1.0, abs(high)):
        margin = max(abs(high) * 0.001, 0.001)
        low, high = low - margin, high + margin
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1.0, 2.0, 2.5, 5.0, 10.0) if factor * power >= raw * 0.999)
    if whole:
        step = max(1.0, float(math.ceil(step)))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = [round(i * step, 12) for i in range(first, last + 1)]
    return ticks[0], ticks[-1], ticks
