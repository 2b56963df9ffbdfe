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
_MOST_DATES = 6

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
    height: float = 230.0,
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
        return _empty(title)
    low, high, ticks = _axis(min(values), max(values), zero=zero)
    y = _scale(low, high, height)
    xs = _positions(len(sessions))
    base = y(min(max(0.0, low), high))
    parts = [_grid(ticks, y, form), _dates(sessions, xs, height)]
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
    return _figure(title, sessions, xs, series, form, parts, height)


def bar_figure(
    title: str, sessions: Sequence[date], series: Sequence[Series], form: Formatter, *, height: float = 230.0
) -> str:
    """Stacked bars, one a session; values are not negative."""
    totals = [sum(values) for values in zip(*(one.values for one in series), strict=True)]
    if not totals or max(totals) <= 0:
        return _empty(title)
    low, high, ticks = _axis(0.0, max(totals), zero=True, whole=True)
    y = _scale(low, high, height)
    step = (_WIDTH - _LEFT - _RIGHT) / len(sessions)
    xs = [_LEFT + (i + 0.5) * step for i in range(len(sessions))]
    width = max(1.0, min(26.0, step * 0.72))
    parts = [_grid(ticks, y, form), _dates(sessions, xs, height)]
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
    return _figure(title, sessions, xs, series, form, parts, height)


def _figure(
    title: str,
    sessions: Sequence[date],
    xs: Sequence[float],
    series: Sequence[Series],
    form: Formatter,
    parts: Sequence[str],
    height: float,
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
        f'<div class="plot"><svg viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f'{"".join(parts)}<line class="cursor" y1="{_TOP}" y2="{height - _BOTTOM}" x1="-9" x2="-9"/></svg></div>'
        "</figure>"
    )


def _empty(title: str) -> str:
    return f'<figure class="figure"><figcaption><b>{escape(title)}</b></figcaption><p class="none">none</p></figure>'


def _grid(ticks: Sequence[float], y: Callable[[float], float], form: Formatter) -> str:
    lines = []
    for tick in ticks:
        at = y(tick)
        style = "axis" if tick == 0 else "grid"
        lines.append(f'<line class="{style}" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        lines.append(f'<text class="tick end" x="{_LEFT - 8}" y="{at + 4:.1f}">{escape(form(tick))}</text>')
    return "".join(lines)


def _dates(sessions: Sequence[date], xs: Sequence[float], height: float) -> str:
    count = min(_MOST_DATES, len(sessions))
    shown = sorted({round(i * (len(sessions) - 1) / max(1, count - 1)) for i in range(count)})
    texts = []
    for i in shown:
        edge = " end" if i == len(sessions) - 1 and i else " start" if i == 0 else ""
        text = sessions[i].isoformat()
        texts.append(f'<text class="tick mid{edge}" x="{xs[i]:.1f}" y="{height - 7:.0f}">{text}</text>')
    return "".join(texts)


def _positions(count: int) -> list[float]:
    span = _WIDTH - _LEFT - _RIGHT
    if count == 1:
        return [_LEFT + span / 2]
    return [_LEFT + span * i / (count - 1) for i in range(count)]


def _scale(low: float, high: float, height: float) -> Callable[[float], float]:
    span = height - _TOP - _BOTTOM
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
