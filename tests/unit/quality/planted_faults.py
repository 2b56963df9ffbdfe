"""Twelve kinds of errors planted into real vendor rows, and what screening and score make of them.

The rows of a vendor are changed as its feed would have them, then go the way of the product: screening, panel, score.
Used by the tests and by ``benchmarks/fault_injection.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_dagster.market_data.calendars import exchange_calendar
from quant_dagster.market_data.panel import FIELDS, Panel
from quant_dagster.market_data.screening import screen
from quant_dagster.market_data.vendors.protocol import REJECT_SCHEMA, ROW_SCHEMA, VendorAnswer
from quant_dagster.quality.score import Scores, score

MINIMUM = 0.6
PRICES = ("open", "high", "low", "close")
SPLITS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 20.0, 1.0 / 4.0, 1.0 / 10.0)
WEEK = 5
NOW = datetime(2024, 6, 3, tzinfo=UTC)
BENIGN = ("large_move", "vendor_dispute")
"""Issues that say that a bar is right although something about it is unusual."""


def read_rows(path: Path) -> pl.DataFrame:
    """A daily file as rows with symbol, session and the five fields, sorted by symbol and session."""
    fields = [pl.col(name).cast(pl.Float64) for name in FIELDS]
    rows = pl.read_parquet(path).select(pl.col("symbol").cast(pl.String), pl.col("date").alias("session"), *fields)
    return rows.sort("symbol", "session")


def aligned(rows: pl.DataFrame, like: Panel) -> Panel:
    """The panel of ``rows`` on the sessions and symbols of ``like``; NaN where there is no row."""
    panel = Panel.from_bars(rows.filter(pl.col("session").is_in(like.sessions.tolist())), like.symbols)
    at = np.searchsorted(like.sessions, panel.sessions)
    arrays = {}
    for name in FIELDS:
        arrays[name] = np.full(like.close.shape, np.nan, order="F")
        arrays[name][at] = getattr(panel, name)
    return Panel(like.sessions, like.symbols, **arrays)


@dataclass
class Feed:
    """Columns of a vendor's rows while they are changed; rows are sorted by symbol and session.

    Attributes
    ----------
    planted
        Rows that are wrong after planting.
    removed, repeated
        Rows the vendor does not send; rows it sends a second time, with the prices of the session before.
    """

    columns: dict[str, NDArray[np.float64]]
    symbols: NDArray[np.str_]
    sessions: NDArray[np.datetime64]
    planted: NDArray[np.bool_]
    removed: NDArray[np.bool_]
    repeated: NDArray[np.bool_]
    eligible: NDArray[np.bool_]
    donors: dict[str, Panel]

    def choose(self, draw: np.random.Generator, count: int, apart: int = 15) -> NDArray[np.int64]:
        """``count`` eligible rows, at least ``apart`` rows from each other."""
        free, chosen = self.eligible.copy(), []
        for row in draw.permutation(np.flatnonzero(self.eligible)):
            if free[row]:
                chosen.append(int(row))
                free[max(0, row - apart) : row + apart + 1] = False
                if len(chosen) == count:
                    return np.array(sorted(chosen))
        raise ValueError(f"only {len(chosen)} of {count} rows can be chosen {apart} apart")

    def first_of(self, row: int) -> int:
        """First row of the symbol of ``row``."""
        return int(np.searchsorted(self.symbols, self.symbols[row]))


Planter = Callable[[Feed, np.random.Generator, int], None]


def _scaled(factors: tuple[float, ...], one_field: bool) -> Planter:
    def plant(feed: Feed, draw: np.random.Generator, count: int) -> None:
        rows = feed.choose(draw, count)
        for position, row in enumerate(rows):
            names = (PRICES[draw.integers(4)],) if one_field and position % 2 else PRICES
            factor = factors[draw.integers(len(factors))]
            for name in names:
                feed.columns[name][row] *= factor
        feed.planted[rows] = True

    return plant


def _swapped(feed: Feed, draw: np.random.Generator, count: int) -> None:
    rows = feed.choose(draw, count)
    high, low = feed.columns["high"], feed.columns["low"]
    high[rows], low[rows] = low[rows].copy(), high[rows].copy()
    feed.planted[rows] = True


def _stale(feed: Feed, draw: np.random.Generator, count: int) -> None:
    rows = feed.choose(draw, count)
    for name in PRICES:
        feed.columns[name][rows] = feed.columns[name][rows - 1]
    feed.columns["volume"][rows[::2]] = feed.columns["volume"][rows[::2] - 1]
    feed.planted[rows] = True


def _wrong_bar(feed: Feed, draw: np.random.Generator, count: int) -> None:
    """Half of the donors are among the vendor's symbols that are scored, half are not."""
    rows = feed.choose(draw, count)
    for position, row in enumerate(rows):
        donor = feed.donors[("inside", "outside")[position % 2]]
        at = int(np.searchsorted(donor.sessions, feed.sessions[row]))
        others = np.flatnonzero(~np.isnan(donor.close[at]) & (np.array(donor.symbols) != feed.symbols[row]))
        column = int(draw.choice(others))
        for name in FIELDS:
            feed.columns[name][row] = getattr(donor, name)[at, column]
    feed.planted[rows] = True


def _missing(feed: Feed, draw: np.random.Generator, count: int) -> None:
    rows = feed.choose(draw, count)
    feed.removed[rows] = feed.planted[rows] = True


def _duplicated(feed: Feed, draw: np.random.Generator, count: int) -> None:
    rows = feed.choose(draw, count)
    feed.repeated[rows] = feed.planted[rows] = True


def _zero_volume(feed: Feed, draw: np.random.Generator, count: int) -> None:
    rows = feed.choose(draw, count)
    feed.columns["volume"][rows] = 0.0
    feed.planted[rows] = True


def _negative(feed: Feed, draw: np.random.Generator, count: int) -> None:
    rows = feed.choose(draw, count)
    for row in rows:
        feed.columns[PRICES[draw.integers(4)]][row] *= -1.0
    feed.planted[rows] = True


def _split(power: float) -> Planter:
    """Everything before the session stands at the price before the split (power 1), or adjusted twice (-1)."""

    def plant(feed: Feed, draw: np.random.Generator, count: int) -> None:
        rows = feed.choose(draw, count, apart=250)
        for row in rows:
            ratio, first = SPLITS[draw.integers(len(SPLITS))] ** power, feed.first_of(row)
            for name in PRICES:
                feed.columns[name][first:row] *= ratio
            feed.columns["volume"][first:row] /= ratio
        feed.planted[rows] = True

    return plant


def _shifted_dates(feed: Feed, draw: np.random.Generator, count: int) -> None:
    """Weeks whose rows stand under the next session's date, or under the one before."""
    starts = feed.choose(draw, count // WEEK, apart=40)
    source = {name: values.copy() for name, values in feed.columns.items()}
    for position, start in enumerate(starts):
        rows = np.arange(start, start + WEEK)
        for name in FIELDS:
            feed.columns[name][rows] = source[name][rows + (1 if position % 2 else -1)]
        feed.planted[rows] = True


KINDS: dict[str, Planter] = {
    "decimal shift": _scaled((10.0, 0.1), one_field=True),
    "times 100": _scaled((100.0, 0.01), one_field=False),
    "high and low swapped": _swapped,
    "stale repeat": _stale,
    "whole wrong bar": _wrong_bar,
    "missing session": _missing,
    "duplicated session": _duplicated,
    "zero volume": _zero_volume,
    "negative price": _negative,
    "unadjusted split": _split(1.0),
    "double-adjusted split": _split(-1.0),
    "shifted dates": _shifted_dates,
}


@dataclass(frozen=True)
class Outcome:
    """What became of one kind of error.

    Attributes
    ----------
    planted, flagged, rejected
        Errors planted; those with any issue (or refused by screening); those with a score below the minimum.
    false_rejects, genuine
        Genuine bars (the vendors agree on all four prices, and both saw volume) that were not planted: how many there
        are, and how many of them score below the minimum.
    rejects, unplanted
        The same for every bar that was not planted, the file's real blemishes included.
    missed
        Symbol and session of errors that were not flagged.
    """

    kind: str
    planted: int
    flagged: int
    rejected: int
    false_rejects: int
    genuine: int
    rejects: int
    unplanted: int
    missed: tuple[tuple[str, str], ...]


class Harness:
    """Two vendors' rows of the same symbols, errors going into the first one's.

    Parameters
    ----------
    home, other
        Rows of both vendors; those of ``chosen`` symbols are scored, the rest lend whole wrong bars.
    """

    def __init__(self, home: pl.DataFrame, other: pl.DataFrame, chosen: list[str]) -> None:
        inside = pl.col("symbol").is_in(chosen)
        self._rows = home.filter(inside)
        self.panel = Panel.from_bars(self._rows, chosen)
        self.other = aligned(other.filter(inside), self.panel)
        self._donors = {"inside": self.panel, "outside": Panel.from_bars(home.filter(~inside))}
        self._at = (
            np.searchsorted(self.panel.sessions, self._rows["session"].to_numpy().astype("datetime64[D]")),
            np.searchsorted(np.array(chosen), self._rows["symbol"].to_numpy().astype(str)),
        )
        self.genuine = self._genuine()
        clean = score(self.panel).score >= MINIMUM
        self._eligible = self._eligible_rows(clean)

    def run(self, kind: str, count: int, seed: int, with_other: bool) -> Outcome:
        """Plant ``count`` errors of ``kind``, screen, score, compare."""
        feed = self._feed()
        KINDS[kind](feed, np.random.default_rng(seed), count)
        rows, rejected = screen(self._answer(feed), exchange_calendar(), NOW)
        panel = aligned(rows, self.panel)
        scores = score(panel, None, (self.other,) if with_other else ())
        planted = np.zeros(panel.close.shape, dtype=np.bool_)
        planted[self._at[0][feed.planted], self._at[1][feed.planted]] = True
        refused = aligned_mask(rejected, self.panel)
        rejects = scores.score < MINIMUM
        flagged = flagged_by(scores) | refused | rejects
        genuine, unplanted = self.genuine & ~planted, ~np.isnan(scores.score) & ~planted
        missed = np.argwhere(planted & ~flagged)
        return Outcome(
            kind,
            int(planted.sum()),
            int((planted & flagged).sum()),
            int((planted & rejects).sum()),
            int((genuine & rejects).sum()),
            int(genuine.sum()),
            int((unplanted & rejects).sum()),
            int(unplanted.sum()),
            tuple((panel.symbols[column], str(panel.sessions[row])) for row, column in missed),
        )

    def clean(self, with_other: bool) -> Scores:
        """Scores of the rows as they are."""
        return score(self.panel, None, (self.other,) if with_other else ())

    def _genuine(self) -> NDArray[np.bool_]:
        """All four prices agree within 0.5 % at the vendors' level (median ratio of five closes), and both traded."""
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.log(self.panel.close / self.other.close)
            around = np.stack([np.roll(ratio, lag, axis=0) for lag in range(-2, 3)])
            level = np.median(around, axis=0)
            same = (self.panel.volume > 0) & (self.other.volume > 0)
            for name in PRICES:
                same &= np.abs(np.log(getattr(self.panel, name) / getattr(self.other, name)) - level) <= 0.005
        return np.asarray(same)

    def _eligible_rows(self, clean: NDArray[np.bool_]) -> NDArray[np.bool_]:
        sessions, columns = self._at
        first = np.searchsorted(columns, columns)
        position = np.arange(len(columns)) - first
        length = np.searchsorted(columns, columns, side="right") - first
        good = (self.genuine & clean & (self.panel.high > self.panel.low))[sessions, columns]
        both_before = np.roll(~np.isnan(self.other.close)[sessions, columns], 1)
        return np.asarray(good & both_before & (position >= 80) & (position < length - 10))

    def _feed(self) -> Feed:
        empty = np.zeros(self._rows.height, dtype=np.bool_)
        return Feed(
            {name: self._rows[name].to_numpy().copy() for name in FIELDS},
            self._rows["symbol"].to_numpy().astype(str),
            self._rows["session"].to_numpy().astype("datetime64[D]"),
            empty,
            empty.copy(),
            empty.copy(),
            self._eligible,
            self._donors,
        )

    def _answer(self, feed: Feed) -> VendorAnswer:
        changed = self._rows.with_columns(pl.Series(name, values) for name, values in feed.columns.items())
        again = changed[np.flatnonzero(feed.repeated)].with_columns(
            changed[np.flatnonzero(feed.repeated) - 1].select(*PRICES).get_columns()
        )
        sent = pl.concat([changed.filter(~pl.Series(feed.removed)), again])
        rows = sent.with_columns(known_at=None, source=pl.lit("feed"), row=pl.int_range(1, pl.len() + 1))
        shaped = rows.select(pl.col(name).cast(dtype) for name, dtype in ROW_SCHEMA.items())
        return VendorAnswer("feed", "feed", shaped, pl.DataFrame(schema=REJECT_SCHEMA), ())


def flagged_by(scores: Scores) -> NDArray[np.bool_]:
    """Where anything was found that speaks against the bar."""
    from quant_dagster.quality.score import PENALTIES

    found = np.zeros(scores.score.shape, dtype=np.bool_)
    for issue in PENALTIES:
        if issue not in BENIGN:
            found |= scores.has(issue)
    return found


def aligned_mask(rejected: pl.DataFrame, like: Panel) -> NDArray[np.bool_]:
    """Where screening refused a row, on the cells of ``like``."""
    mask = np.zeros(like.close.shape, dtype=np.bool_)
    known = rejected.filter(pl.col("symbol").is_in(list(like.symbols)))
    rows = np.searchsorted(like.sessions, known["session"].to_numpy().astype("datetime64[D]"))
    columns = np.searchsorted(np.array(like.symbols), known["symbol"].to_numpy().astype(str))
    mask[rows, columns] = True
    return mask
