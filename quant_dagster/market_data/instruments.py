"""The instrument master: what is true of an instrument on a date, and the rounding every order passes through.

Terms come from the universe's file, from a CSV of dated terms (``market_data.instruments``), and from crypto venues'
own market lists; they are kept in ledger table ``instruments``. New terms end the old ones, nothing is overwritten.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from quant_dagster.errors import ConfigurationError, MalformedDataError, OrderError
from quant_dagster.market_data.universe import Universe
from quant_dagster.observability import audit
from quant_dagster.storage.ledger_tables import instruments as table

FROM_THE_START = date(1900, 1, 1)
_REQUIRED = ("symbol", "valid_from", "tick_size", "lot_size")
_OPTIONAL = ("valid_to", "name", "asset_class", "exchange", "currency", "multiplier", "minimum_notional",
             "trading_hours", "identifiers")  # fmt: skip
_VALUES = ("name", "asset_class", "exchange", "currency", "tick_size", "lot_size", "multiplier", "minimum_notional",
           "trading_hours", "identifiers")  # fmt: skip


def on_tick(price: Decimal, tick_size: Decimal, rounding: str = ROUND_HALF_EVEN) -> Decimal:
    """The nearest price an exchange could quote (or the next one in a direction), never below one tick."""
    return max((price / tick_size).to_integral_value(rounding), Decimal(1)) * tick_size


@dataclass(frozen=True)
class Terms:
    """An instrument from ``valid_from`` to ``valid_to`` (its last day; None: until further notice).

    Attributes
    ----------
    tick_size, lot_size
        Smallest price step in ``currency``, smallest tradable quantity.
    multiplier
        Value of one contract or share per unit of price.
    minimum_notional
        Smallest order value in ``currency``; None: none.
    trading_hours
        ``{"open": "09:30", "close": "16:00", "zone": "America/New_York"}``; empty: the exchange calendar's.
    identifiers
        Ids at vendors and brokers by name.
    """

    symbol: str
    valid_from: date
    tick_size: Decimal
    lot_size: Decimal
    valid_to: date | None = None
    name: str = ""
    asset_class: str = "equity"
    exchange: str = "XNYS"
    currency: str = "USD"
    multiplier: Decimal = Decimal(1)
    minimum_notional: Decimal | None = None
    trading_hours: Mapping[str, str] = field(default_factory=dict)
    identifiers: Mapping[str, str] = field(default_factory=dict)
    source: str = "universe"

    def __post_init__(self) -> None:
        sizes = {"tick_size": self.tick_size, "lot_size": self.lot_size, "multiplier": self.multiplier}
        if wrong := {name: str(size) for name, size in sizes.items() if not size > 0}:
            raise MalformedDataError(f"instrument {self.symbol} from {self.valid_from}: {wrong} must be above zero")
        if self.valid_to is not None and self.valid_to < self.valid_from:
            raise MalformedDataError(f"instrument {self.symbol}: valid_to {self.valid_to} is before {self.valid_from}")

    def problems(
        self, *, shares: Decimal, price: Decimal | None = None, limit_price: Decimal | None = None
    ) -> list[str]:
        """What is wrong with an order; empty: nothing."""
        found = []
        if shares <= 0 or shares % self.lot_size != 0:
            found.append(f"quantity {shares} is not a multiple of the lot size {self.lot_size}")
        if limit_price is not None and (limit_price <= 0 or limit_price % self.tick_size != 0):
            found.append(f"limit price {limit_price} is not on the tick grid of {self.tick_size}")
        if self.minimum_notional is not None and price is not None:
            notional = shares * price * self.multiplier
            if notional < self.minimum_notional:
                found.append(f"notional {notional} {self.currency} is below the venue's {self.minimum_notional}")
        return found

    def require(self, *, shares: Decimal, price: Decimal | None = None, limit_price: Decimal | None = None) -> None:
        """Raise `OrderError` where an order does not fit the instrument."""
        if found := self.problems(shares=shares, price=price, limit_price=limit_price):
            raise OrderError(f"order for {self.symbol}: {'; '.join(found)}")


class InstrumentMaster:
    """Terms by symbol and date, in memory.

    Parameters
    ----------
    terms
        Spans of one symbol must not overlap.
    """

    def __init__(self, terms: Iterable[Terms]) -> None:
        self._spans: dict[str, list[Terms]] = {}
        for one in sorted(terms, key=lambda terms: (terms.symbol, terms.valid_from)):
            spans = self._spans.setdefault(one.symbol, [])
            if spans and (spans[-1].valid_to is None or spans[-1].valid_to >= one.valid_from):
                raise MalformedDataError(
                    f"instrument {one.symbol}: terms from {spans[-1].valid_from} and from {one.valid_from} overlap"
                )
            spans.append(one)

    def find(self, symbol: str, day: date) -> Terms | None:
        """Terms in force on a day; None where there are none."""
        spans = self._spans.get(symbol, [])
        position = bisect_right([one.valid_from for one in spans], day) - 1
        if position < 0:
            return None
        found = spans[position]
        return found if found.valid_to is None or found.valid_to >= day else None

    def at(self, symbol: str, day: date) -> Terms:
        """Terms in force on a day; an OrderError where there are none: what is not known cannot be traded."""
        found = self.find(symbol, day)
        if found is None:
            raise OrderError(
                f"the instrument master has no terms of {symbol} on {day}: add it to market_data.instruments"
            )
        return found

    def history(self, symbol: str) -> Sequence[Terms]:
        """Every span of a symbol, oldest first."""
        return tuple(self._spans.get(symbol, ()))

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol there are terms of."""
        return tuple(self._spans)


def load(connection: Connection) -> InstrumentMaster:
    """The master as the ledger has it."""
    names = list(Terms.__dataclass_fields__)
    rows = connection.execute(select(table).order_by(table.c.symbol, table.c.valid_from)).mappings()
    return InstrumentMaster(Terms(**{name: row[name] for name in names}) for row in rows)


def refresh(connection: Connection, terms: Iterable[Terms], *, today: date, at: datetime) -> int:
    """Bring terms into the ledger; returns how many spans are new or ended. Repeating it changes nothing.

    Terms that start later than the newest span end it and begin a new one, where they differ. New values of the newest
    span itself, or undated ones (``FROM_THE_START``) of the same source, count from ``today`` on: what was true of the
    past stays, and one source does not undo another's word.
    """
    stored, spans = load(connection), dict[str, list[Terms]]()
    ended, added = 0, list[Terms]()
    for one in sorted(terms, key=lambda terms: (terms.symbol, terms.valid_from)):
        mine = spans.setdefault(one.symbol, list(stored.history(one.symbol)))
        newest = mine[-1] if mine else None
        if newest is not None:
            if not _differs(newest, one) and one.valid_to == newest.valid_to:
                continue
            if one.valid_from <= newest.valid_from:
                restated = one.valid_from in (newest.valid_from, FROM_THE_START)
                if not restated or one.source != newest.source or newest.valid_to is not None:
                    continue  # an older span: the past is not rewritten
                if newest.valid_from >= today:
                    continue  # changed once today already; tomorrow it counts
                one = replace(one, valid_from=today)
            if newest.valid_to is None or newest.valid_to >= one.valid_from:
                mine[-1] = _end(connection, newest, one.valid_from)
                ended += 1
        _add(connection, one, at)
        mine.append(one)
        added.append(one)
    if added:
        digest = hashlib.sha256("|".join(map(_words, added)).encode()).hexdigest()[:16]
        payload = {"changes": len(added) + ended}
        key = f"instruments:{digest}"
        audit.append(connection, key, "instruments_refreshed", actor="instruments", at=at, payload=payload)
    return len(added) + ended


def from_universe(universe: Universe, symbols: Sequence[str]) -> list[Terms]:
    """Terms that the universe's file states, from the start of time."""
    result = []
    for symbol in symbols:
        one = universe.instrument(symbol)
        result.append(
            Terms(
                symbol=symbol,
                valid_from=FROM_THE_START,
                tick_size=one.tick_size or universe.tick_size,
                lot_size=Decimal(one.lot_size or universe.lot_size),
                name=one.name,
                asset_class=universe.asset_class,
                exchange=universe.exchange,
                currency=universe.currency,
            )
        )
    return result


def read_csv(path: Path) -> list[Terms]:
    """Terms of a CSV file with a row per symbol and span; a row that cannot be read stops everything.

    Columns: symbol, valid_from, tick_size, lot_size; and, if wanted, valid_to, name, asset_class, exchange, currency,
    multiplier, minimum_notional, trading_hours and identifiers (``key=value`` pairs joined by ``;``).
    """
    import polars as pl

    place = Path(path).expanduser()
    try:
        rows = pl.read_csv(place, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigurationError(f"market_data.instruments '{place}' cannot be read: {error}") from error
    missing = [name for name in _REQUIRED if name not in rows.columns]
    unknown = [name for name in rows.columns if name not in (*_REQUIRED, *_OPTIONAL)]
    if missing or unknown:
        raise ConfigurationError(
            f"{place}: missing columns {missing}, unknown columns {unknown}; known: "
            f"{', '.join((*_REQUIRED, *_OPTIONAL))}"
        )
    result = []
    for number, row in enumerate(rows.iter_rows(named=True), start=2):
        try:
            result.append(_parsed({key: value.strip() for key, value in row.items() if value and value.strip()}))
        except (ValueError, InvalidOperation, KeyError, MalformedDataError) as error:
            raise MalformedDataError(f"{place} row {number} cannot be read: {error!r}") from error
    return result


def _parsed(row: Mapping[str, str]) -> Terms:
    content: dict[str, Any] = dict(row) | {"source": "file"}
    for name in ("tick_size", "lot_size", "multiplier", "minimum_notional"):
        if name in row:
            content[name] = Decimal(row[name])
    for name in ("valid_from", "valid_to"):
        if name in row:
            content[name] = date.fromisoformat(row[name])
    for name in ("trading_hours", "identifiers"):
        if name in row:
            content[name] = dict(pair.split("=", 1) for pair in row[name].split(";"))
    content["valid_from"], content["symbol"] = content["valid_from"], row["symbol"]
    return Terms(**content)


def _differs(stored: Terms, new: Terms) -> bool:
    return any(_plain(getattr(stored, name)) != _plain(getattr(new, name)) for name in _VALUES)


def _words(one: Terms) -> str:
    return f"{one.symbol} {one.valid_from} " + " ".join(str(_plain(getattr(one, name))) for name in _VALUES)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _add(connection: Connection, one: Terms, at: datetime) -> None:
    row = {name: _plain(getattr(one, name)) for name in Terms.__dataclass_fields__}
    connection.execute(table.insert().values(**row, recorded_at=at))


def _end(connection: Connection, one: Terms, before: date) -> Terms:
    last = date.fromordinal(before.toordinal() - 1)
    connection.execute(
        table.update().where(table.c.symbol == one.symbol, table.c.valid_from == one.valid_from).values(valid_to=last)
    )
    return replace(one, valid_to=last)
