"""What today's positions would have made in crashes that happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from quant_dagster.errors import RiskError
from quant_dagster.risk.stress.betas import market_betas

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Episode:
    """A named stretch of history; the P&L runs from the close before ``first`` to the close of ``last``."""

    name: str
    title: str
    first: date
    last: date


EPISODES = (
    Episode("dot_com_bust", "Dot-com bust, last leg of the bear market", date(2000, 9, 5), date(2002, 10, 9)),
    Episode("september_11", "First week after 11 September", date(2001, 9, 17), date(2001, 9, 21)),
    Episode("lehman", "Lehman's bankruptcy to the low of 2008", date(2008, 9, 15), date(2008, 11, 20)),
    Episode("flash_crash", "Flash crash", date(2010, 5, 6), date(2010, 5, 6)),
    Episode("us_downgrade", "Euro crisis and US downgrade", date(2011, 7, 25), date(2011, 8, 8)),
    Episode("china_2015", "China's devaluation", date(2015, 8, 18), date(2015, 8, 25)),
    Episode("volmageddon", "Short-volatility unwinding", date(2018, 1, 29), date(2018, 2, 8)),
    Episode("q4_2018", "Last quarter of 2018", date(2018, 9, 21), date(2018, 12, 24)),
    Episode("covid", "Outbreak of COVID-19", date(2020, 2, 20), date(2020, 3, 23)),
    Episode("bear_2022", "Inflation bear market", date(2022, 1, 4), date(2022, 10, 12)),
)
"""Peak to trough of the S&P 500's closes, or the sessions of the event itself."""


class Treatment(StrEnum):
    """Where a position's P&L in an episode comes from."""

    OWN = "own"
    """The symbol's own closes."""
    PROXY = "proxy"
    """Its beta to the market, from its own history elsewhere, times the market's move; no lower than -100 %."""
    NOT_EVALUATED = "not_evaluated"
    """Neither is known: the position is not in the sums."""


@dataclass(frozen=True)
class EpisodeResult:
    """P&L of m positions over the k sessions of an episode, in account currency; a loss is negative.

    Attributes
    ----------
    pnl
        Shape (m,): of each position, at the end; NaN where it was not evaluated.
    total, worst_total, worst_total_session
        Of the portfolio: at the end, and where it was lowest. NaN, with ``NaT``, when nothing was evaluated.
    worst_day, worst_session
        The largest loss of one session, and when.
    treatments
        One for each position.
    evaluated
        Share of the gross value that is in the sums.
    """

    episode: Episode
    symbols: tuple[str, ...]
    pnl: FloatArray
    total: float
    worst_total: float
    worst_total_session: np.datetime64
    worst_day: float
    worst_session: np.datetime64
    treatments: tuple[Treatment, ...]
    evaluated: float


def replay_episode(
    episode: Episode,
    closes: FloatArray,
    sessions: NDArray[np.datetime64],
    symbols: Sequence[str],
    values: FloatArray,
    market: FloatArray,
) -> EpisodeResult:
    """Hold today's positions, in their size of today and untouched, through the episode.

    A symbol takes part with its own closes where it has one before the episode and one at its end (a missing one in
    between is the one before); else with its beta times the market's cumulative move; else it is not evaluated.

    Parameters
    ----------
    closes
        Adjusted closes, shape (n, m), of all history there is; NaN is absent.
    sessions
        ``datetime64[D]``, shape (n,), ascending.
    values
        Signed market values, shape (m,); 0 is not held.
    market
        Closes of the market proxy, shape (n,).

    Raises
    ------
    RiskError
        A value that is not a finite number, or nothing is held.
    """
    if not np.isfinite(values).all() or not values.any():
        raise RiskError(f"episode {episode.name}: positions need finite values, and one that is not 0; mark them first")
    held: list[int] = np.flatnonzero(values).tolist()
    names, amounts = tuple(symbols[j] for j in held), values[held]
    start = int(np.searchsorted(sessions, np.datetime64(episode.first))) - 1
    stop = int(np.searchsorted(sessions, np.datetime64(episode.last), side="right"))
    covered = start >= 0 and stop - start > 1 and bool(sessions[-1] >= np.datetime64(episode.last))
    rows = slice(start, stop) if covered else slice(0)
    within = _filled(closes[rows][:, held])
    index = _filled(market[rows, None])
    moves = within[1:] / within[:1] - 1.0
    own = _spans(closes[rows][:, held])
    betas = market_betas(closes[:, held], market)
    proxied = ~own & np.isfinite(betas) & _spans(market[rows, None])
    proxy = np.maximum(betas * (index[1:] / index[:1] - 1.0), -1.0)
    moves = np.where(own, moves, proxy)
    known = own | proxied
    treatments = tuple(
        Treatment.OWN if o else Treatment.PROXY if p else Treatment.NOT_EVALUATED
        for o, p in zip(own, proxied, strict=True)
    )
    gross = np.abs(amounts)
    evaluated = float(gross[known].sum() / gross.sum())
    if not known.any():
        nothing, never = float("nan"), np.datetime64("NaT", "D")
        return EpisodeResult(
            episode, names, np.full(len(held), np.nan), nothing, nothing, never, nothing, never, treatments, evaluated
        )
    path = moves[:, known] @ amounts[known]
    days = np.diff(path, prepend=0.0)
    lowest, worst = int(np.argmin(path)), int(np.argmin(days))
    during = sessions[rows][1:]
    return EpisodeResult(
        episode=episode,
        symbols=names,
        pnl=np.where(known, moves[-1] * amounts, np.nan),
        total=float(path[-1]),
        worst_total=float(path[lowest]),
        worst_total_session=during[lowest],
        worst_day=float(days[worst]),
        worst_session=during[worst],
        treatments=treatments,
        evaluated=evaluated,
    )


def _spans(closes: FloatArray) -> NDArray[np.bool_]:
    """Which columns have a first and a last close; none without rows."""
    if len(closes) == 0:
        return np.zeros(closes.shape[1], dtype=np.bool_)
    return np.asarray(np.isfinite(closes[0]) & np.isfinite(closes[-1]))


def _filled(closes: FloatArray) -> FloatArray:
    """Each column with the last known close in place of a missing one."""
    rows = np.where(np.isfinite(closes), np.arange(len(closes))[:, None], 0)
    return np.asarray(np.take_along_axis(closes, np.maximum.accumulate(rows, axis=0), axis=0))
