"""Pairs: formed from cointegration tests, followed session by session, closed where they break.

A pair's state at a session is a function of its state at the session before and of the prices since it was formed, so
that the rows of one session are made from those of the last and from the bars, whenever they are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.features.information import false_discovery_rates
from quant_dagster.market_data.panel import Panel
from quant_dagster.settings import PairsSettings
from quant_dagster.storage.tables import TABLES
from quant_dagster.strategies.cointegration import cointegration_tests, critical_values

FloatArray = NDArray[np.float64]


class PairState(StrEnum):
    """Where a pair stands: what is held of its spread, or that it is held no more."""

    FLAT = "flat"
    LONG = "long"
    SHORT = "short"
    BROKEN = "broken"


@dataclass(frozen=True)
class Pair:
    """A row of lake table ``pairs`` without its session: spread = log first - hedge_ratio log second - intercept."""

    first: str
    second: str
    formed_on: date
    hedge_ratio: float
    intercept: float
    engle_granger_p: float
    johansen_trace: float
    half_life: float
    spread_std: float
    z: float
    state: PairState
    detail: str

    @property
    def names(self) -> frozenset[str]:
        """The two symbols, in no order."""
        return frozenset((self.first, self.second))


def pairs_at(panel: Panel, earlier: pl.DataFrame, settings: PairsSettings) -> pl.DataFrame:
    """The pairs at the panel's last session, in the schema of lake table ``pairs``.

    Parameters
    ----------
    panel
        Prices up to the session; only these are looked at.
    earlier
        Rows of the newest earlier session that has any (empty: there is none). Sessions since then are gone through
        one by one.
    """
    known = [_from_row(row) for row in earlier.iter_rows(named=True)]
    last = len(panel.sessions) - 1
    start = last
    if known:
        start = int(np.searchsorted(panel.sessions, np.datetime64(earlier["session"][0], "D"), side="right"))
    for at in range(start, last + 1):
        known = _next_session(panel.rows(0, at + 1), known, settings)
    rows = [{"session": panel.last_session, **pair.__dict__, "state": pair.state.value} for pair in known]
    return pl.DataFrame(rows, schema=TABLES["pairs"].schema).sort("first", "second")


def find_pairs(panel: Panel, settings: PairsSettings) -> list[Pair]:
    """Cointegrated pairs over the newest ``formation_sessions``, the strongest first, flat.

    Every pair of symbols without a missing close is tested in both directions and the stronger one kept, at twice its
    p-value (Bonferroni). A pair must pass Engle and Granger's and both of Johansen's tests, revert within
    ``longest_half_life`` and have a positive hedge ratio: another one hedges nothing. Among m (m - 1) / 2 pairs a share
    of ``significance`` would pass the first test by luck: the rate of false discoveries stands in the detail.
    """
    newest = panel.close[-settings.formation_sessions :]
    with np.errstate(invalid="ignore"):
        usable = np.flatnonzero((newest > 0.0).all(axis=0) & np.isfinite(newest).all(axis=0))
    if len(newest) < settings.formation_sessions or len(usable) < 2:
        return []
    levels = np.log(newest[:, usable])
    usable, levels = usable[moving := levels.std(axis=0) > 1e-8], levels[:, moving]
    if len(usable) < 2:
        return []
    tests = cointegration_tests(levels)
    i, j = np.triu_indices(len(usable), 1)
    one, other = (np.where(np.isnan(tests.p_value[a, b]), 1.0, tests.p_value[a, b]) for a, b in ((i, j), (j, i)))
    turned = other < one
    i, j = np.where(turned, j, i), np.where(turned, i, j)
    p = np.minimum(1.0, 2.0 * np.minimum(one, other))
    rates = false_discovery_rates(p)
    trace_limit, maximum_limit = critical_values(settings.significance)
    half_life, hedge = tests.half_life[i, j], tests.hedge_ratio[i, j]
    with np.errstate(invalid="ignore"):
        passed = np.flatnonzero(
            (p < settings.significance) & (tests.trace[i, j] > trace_limit) & (tests.maximum[i, j] > maximum_limit)
            & (half_life <= settings.longest_half_life) & (half_life > 0.0) & (hedge > 0.0)
        )  # fmt: skip
    names = [panel.symbols[column] for column in usable]
    ranked = sorted(passed.tolist(), key=lambda k: (p[k], names[i[k]], names[j[k]]))[: settings.most_pairs]
    return [
        Pair(
            first=names[i[k]],
            second=names[j[k]],
            formed_on=panel.last_session,
            hedge_ratio=float(hedge[k]),
            intercept=float(tests.intercept[i[k], j[k]]),
            engle_granger_p=float(p[k]),
            johansen_trace=float(tests.trace[i[k], j[k]]),
            half_life=float(half_life[k]),
            spread_std=float(tests.spread_std[i[k], j[k]]),
            z=0.0,
            state=PairState.FLAT,
            detail=f"formed among {len(p)} pairs, false discovery rate {rates[k]:.2f}",
        )
        for k in ranked
    ]


def stepped(pair: Pair, z: float, settings: PairsSettings) -> Pair:
    """The pair one session later, its spread now at ``z``; NaN: it has no close, and waits.

    A broken pair stays broken. Beyond ``stop_z`` it breaks, within ``exit_z`` of (or past) the mean it is left, and
    it is entered between ``entry_z`` and ``stop_z``.
    """
    if not np.isfinite(z):
        return replace(pair, detail="no close in this session")
    now = replace(pair, z=float(z))
    if pair.state is PairState.BROKEN:
        return now
    if abs(z) >= settings.stop_z:
        return replace(now, state=PairState.BROKEN, detail=f"z {z:+.2f} is beyond stop_z {settings.stop_z:g}")
    side = {PairState.LONG: 1, PairState.SHORT: -1, PairState.FLAT: 0}[pair.state]
    if side and -side * z <= settings.exit_z:
        return replace(now, state=PairState.FLAT, detail=f"left: z {z:+.2f} is within exit_z {settings.exit_z:g}")
    if side:
        return replace(now, detail=f"held at z {z:+.2f}")
    if abs(z) >= settings.entry_z:
        state = PairState.LONG if z < 0 else PairState.SHORT
        return replace(now, state=state, detail=f"entered: z {z:+.2f} is beyond entry_z {settings.entry_z:g}")
    return replace(now, detail=pair.detail if pair.detail.startswith("formed") else f"waits at z {z:+.2f}")


def mean_has_moved(spread: FloatArray, half_life: float, deviation: float, formed: int, significance: float) -> bool:
    """Has the mean of a spread changed since the pair was formed? A CUSUM that may be looked at every session.

    The innovations of the first-order autoregression that the half-life stands for are summed as recursive residuals
    (each less the mean of all before it, Brown, Durbin & Evans 1975), a Wiener process W(t) in t = sessions since
    formation over ``formed`` sessions of formation. Its boundary ``sqrt((1 + t)(ln(1 + t) - 2 ln significance))`` is
    crossed at any time with a chance of at most ``significance`` (Robbins & Siegmund 1970; Chu, Stinchcombe & White
    1996 for monitoring), so watching daily does not raise false alarms.

    Parameters
    ----------
    spread
        From the session of formation on; NaN (no close) is passed over.
    """
    values = spread[np.isfinite(spread)]
    persistence = 0.5 ** (1.0 / half_life)
    innovations = np.diff(values) + (1.0 - persistence) * values[:-1]
    scale = deviation * np.sqrt(1.0 - persistence**2)
    if not len(innovations) or not scale > 0.0:
        return False
    standard = innovations / scale
    before = formed + np.arange(len(standard))
    sums = np.concatenate([[0.0], np.cumsum(standard)[:-1]])
    residuals = (standard - sums / before) / np.sqrt(1.0 + 1.0 / before)
    t = np.arange(1, len(standard) + 1) / formed
    walk = np.cumsum(residuals) / np.sqrt(formed)
    return bool((walk**2 >= (1.0 + t) * (np.log1p(t) - 2.0 * np.log(significance))).any())


def _next_session(panel: Panel, known: Sequence[Pair], settings: PairsSettings) -> list[Pair]:
    formed = max((pair.formed_on for pair in known), default=None)
    due = formed is None
    if formed is not None:
        since = len(panel.sessions) - int(np.searchsorted(panel.sessions, np.datetime64(formed, "D"), side="right"))
        due = since >= settings.reform_sessions
    if due:
        known = _re_formed(find_pairs(panel, settings), known)
    column = {symbol: k for k, symbol in enumerate(panel.symbols)}
    result = []
    for pair in known:
        if pair.first not in column or pair.second not in column:
            gone = replace(pair, state=PairState.BROKEN, detail="a symbol of it is not traded any more")
            result.append(pair if pair.state is PairState.BROKEN else gone)
            continue
        start = int(np.searchsorted(panel.sessions, np.datetime64(pair.formed_on, "D")))
        with np.errstate(divide="ignore", invalid="ignore"):
            first, second = np.log(panel.close[start:, [column[pair.first], column[pair.second]]]).T
        spread = first - pair.hedge_ratio * second - pair.intercept
        after = stepped(pair, float(spread[-1] / pair.spread_std), settings)
        if after.state is not PairState.BROKEN and mean_has_moved(
            spread, pair.half_life, pair.spread_std, settings.formation_sessions, settings.significance
        ):
            after = replace(after, state=PairState.BROKEN, detail="the spread's mean has moved since it was formed")
        result.append(after)
    return result


def _re_formed(found: Sequence[Pair], known: Sequence[Pair]) -> list[Pair]:
    """New pairs, those that are open kept open; what was open and is cointegrated no more is shown broken once."""
    held = {pair.names: pair for pair in known if pair.state in (PairState.LONG, PairState.SHORT)}
    opposite = {PairState.LONG: PairState.SHORT, PairState.SHORT: PairState.LONG}
    result = []
    for pair in found:
        before = held.pop(pair.names, None)
        if before is not None:
            state = before.state if before.first == pair.first else opposite[before.state]
            pair = replace(pair, state=state)
        result.append(pair)
    lost = [
        replace(pair, state=PairState.BROKEN, detail="not cointegrated any more when pairs were formed anew")
        for pair in held.values()
    ]
    return result + lost


def _from_row(row: dict[str, object]) -> Pair:
    values = {name: row[name] for name in Pair.__dataclass_fields__}
    return Pair(**{**values, "state": PairState(str(row["state"]))})  # type: ignore[arg-type]
