"""Universes: which symbols are traded, where, and which vendors are asked for them, from ``config/universes``."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from quant_dagster.errors import ConfigurationError

UNIVERSES = Path(__file__).parents[2] / "config" / "universes"


class Instrument(BaseModel):
    """One symbol of a universe. Sizes left out are the universe's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: Annotated[str, Field(min_length=1)]
    name: str = ""
    sector: str = "unknown"
    tick_size: Annotated[Decimal, Field(gt=0)] | None = None
    lot_size: Annotated[int, Field(gt=0)] | None = None


class Universe(BaseModel):
    """What the desk trades.

    Attributes
    ----------
    asset_class
        What it is, which decides the vendors' priority list (``market_data.priority``) and who fails over together.
    exchange, currency
        Market identifier code of the calendar (``24/7`` for crypto), and the currency of every price.
    symbols
        The instruments, or ``"all"``: every symbol the vendors offer.
    vendors
        Vendors in order of preference.
    volume_required
        False where the vendors have closes only: a check that needs volume is then recorded as not evaluated
        and does not make a bar unfit.
    survivors_only
        True where the list was drawn up with hindsight: a backtest on it is too good, and reports say so.
    tick_size, lot_size
        Smallest price step (in ``currency``) and smallest tradable quantity, unless an instrument says otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    asset_class: Annotated[str, Field(pattern="^[a-z_]+$", max_length=24)] = "equity"
    exchange: str = "XNYS"
    currency: Annotated[str, Field(pattern="^[A-Z]{3,5}$")] = "USD"
    symbols: tuple[Instrument, ...] | Literal["all"]
    vendors: Annotated[tuple[str, ...], Field(min_length=1)]
    volume_required: bool = True
    survivors_only: bool = False
    tick_size: Annotated[Decimal, Field(gt=0)] = Decimal("0.01")
    lot_size: Annotated[int, Field(gt=0)] = 1

    @model_validator(mode="after")
    def _each_symbol_once(self) -> Universe:
        names = [] if self.symbols == "all" else [instrument.symbol for instrument in self.symbols]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"symbols listed twice: {', '.join(repeated)}")
        return self

    def symbol_names(self, offered: Sequence[str] = ()) -> tuple[str, ...]:
        """The symbols, in the universe's order; of a universe of ``all``, what the vendors ``offered``, sorted."""
        if self.symbols == "all":
            return tuple(sorted(set(offered)))
        return tuple(instrument.symbol for instrument in self.symbols)

    def instrument(self, symbol: str) -> Instrument:
        """The instrument with its sizes filled in; a symbol the universe does not list is a ConfigurationError."""
        if self.symbols == "all":
            listed: Instrument | None = Instrument(symbol=symbol)
        else:
            listed = next((one for one in self.symbols if one.symbol == symbol), None)
        if listed is None:
            raise ConfigurationError(f"universe '{self.name}' does not list {symbol}: add it to its file")
        sizes = {"tick_size": listed.tick_size or self.tick_size, "lot_size": listed.lot_size or self.lot_size}
        return listed.model_copy(update=sizes)


def known_universes(folder: Path = UNIVERSES) -> tuple[str, ...]:
    """Names of the universes that have a file."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def load_universe(name: str, folder: Path = UNIVERSES) -> Universe:
    """Read ``<folder>/<name>.yaml``; a ConfigurationError names the known universes, or what is wrong in the file."""
    path = folder / f"{name}.yaml"
    if name not in known_universes(folder):
        raise ConfigurationError(
            f"unknown universe '{name}': {path} does not exist; known: {', '.join(known_universes(folder)) or 'none'}"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ConfigurationError(f"universe file {path} is not a mapping of settings")
        return Universe.model_validate({"name": name, **content})
    except yaml.YAMLError as error:
        raise ConfigurationError(f"universe file {path} cannot be read: it is not valid YAML: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(f"universe file {path}: {wrong}; keys: {', '.join(Universe.model_fields)}") from error
