"""The panel: a market as wide arrays, sessions by symbols, one array per field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

FIELDS = ("open", "high", "low", "close", "volume")
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """Daily bars of many symbols, aligned on sessions.

    Attributes
    ----------
    sessions
        ``datetime64[D]``, shape (n,), strictly increasing.
    symbols
        m names, one per column.
    open, high, low, close, volume
        float64, shape (n, m), Fortran order (a symbol's history is contiguous). NaN is "absent":
        before a symbol's first bar, on a session it misses, or a field its vendor does not have.
    """

    sessions: NDArray[np.datetime64]
    symbols: tuple[str, ...]
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    def __post_init__(self) -> None:
        shape = (len(self.sessions), len(self.symbols))
        for field in FIELDS:
            array = getattr(self, field)
            if array.shape != shape:
                raise ValueError(f"panel field '{field}' has shape {array.shape}, expected {shape}")
        if len(self.sessions) > 1 and not bool(np.all(np.diff(self.sessions) > np.timedelta64(0, "D"))):
            raise ValueError("panel sessions must be strictly increasing")

    @classmethod
    def from_bars(
        cls,
        bars: pl.DataFrame,
        symbols: Sequence[str] | None = None,
        sessions: NDArray[np.datetime64] | None = None,
    ) -> Panel:
        """Pivot long bars (columns symbol, session and the five fields; nulls allowed) to a panel.

        Without ``sessions`` and ``symbols`` it has those of the bars; with them, just those.
        """
        names = tuple(symbols) if symbols is not None else tuple(bars["symbol"].unique().sort().to_list())
        if sessions is None:
            days = bars["session"].unique().sort().to_numpy().astype("datetime64[D]")
        else:
            days = sessions
            bars = bars.filter(pl.col("session").is_in(pl.Series(days).cast(pl.Date).implode()))
        rows = np.searchsorted(days, bars["session"].to_numpy().astype("datetime64[D]"))
        column_of = {name: i for i, name in enumerate(names)}
        columns = bars["symbol"].cast(pl.String).replace_strict(column_of, default=-1, return_dtype=pl.Int64).to_numpy()
        known = columns >= 0
        arrays = {}
        for field in FIELDS:
            wide = np.full((len(days), len(names)), np.nan, order="F")
            wide[rows[known], columns[known]] = bars[field].cast(pl.Float64).fill_null(np.nan).to_numpy()[known]
            arrays[field] = wide
        return cls(sessions=days, symbols=names, **arrays)

    def until(self, session: date) -> Panel:
        """The panel as it stood at the close of ``session``: later rows are cut off."""
        stop = int(np.searchsorted(self.sessions, np.datetime64(session, "D"), side="right"))
        return self.rows(0, stop)

    def rows(self, start: int, stop: int) -> Panel:
        """Sessions ``start`` to ``stop`` (exclusive) of every symbol."""
        cut = {field: np.asfortranarray(getattr(self, field)[start:stop]) for field in FIELDS}
        return Panel(sessions=self.sessions[start:stop], symbols=self.symbols, **cut)

    def columns(self, chosen: Sequence[int]) -> Panel:
        """Every session of the symbols in these columns, in this order."""
        cut = {field: np.asfortranarray(getattr(self, field)[:, list(chosen)]) for field in FIELDS}
        return Panel(sessions=self.sessions, symbols=tuple(self.symbols[j] for j in chosen), **cut)

    def last(self, count: int) -> Panel:
        """The newest ``count`` sessions."""
        return self.rows(max(0, len(self.sessions) - count), len(self.sessions))

    @property
    def last_session(self) -> date:
        """The newest session in the panel."""
        return self.sessions[-1].astype("datetime64[D]").astype(object)  # type: ignore[no-any-return]
