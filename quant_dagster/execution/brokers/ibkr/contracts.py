"""Our symbols as the broker's contracts, and prices on the broker's grid.

A symbol is qualified once: the broker names its contract, its currency and its smallest price step. ``BRK.B`` is
``BRK B`` there. An instrument's terms may name the contract itself: identifier ``ibkr`` is its contract id (digits) or
the broker's symbol.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from quant_dagster.execution.brokers.ibkr.client import IbkrClient
from quant_dagster.execution.brokers.ibkr.wire import ContractFields
from quant_dagster.market_data.instruments import Terms, on_tick

_STOCKS = frozenset({"equity", "stock", "etf", "adr", "reit", "fund"})
_PRIMARY_EXCHANGES = {"XNYS": "NYSE", "XNAS": "NASDAQ", "ARCX": "ARCA", "XASE": "AMEX", "BATS": "BATS", "XTSE": "TSE",
                      "XLON": "LSE", "XETR": "IBIS", "XPAR": "SBF", "XAMS": "AEB", "XSWX": "EBS"}  # fmt: skip


@dataclass(frozen=True)
class Qualified:
    """A symbol the broker knows. ``contract`` is the library's; ``min_tick`` in ``currency``."""

    symbol: str
    con_id: int
    currency: str
    min_tick: Decimal
    contract: Any

    def passive(self, price: Decimal, *, buy: bool) -> Decimal:
        """The price on the grid at which a buy pays no more, and a sale gets no less, than ``price``.

        A stop rounded this way triggers at its price or before, never after.
        """
        return on_tick(price, self.min_tick, ROUND_FLOOR if buy else ROUND_CEILING)


@dataclass(frozen=True)
class Unqualified:
    """A symbol that cannot be traded, and why."""

    symbol: str
    reason: str


class Contracts:
    """Qualified symbols, asked for once each.

    Parameters
    ----------
    terms
        What is true of an instrument now; None where nothing is known of it: a US stock is looked for.
    """

    def __init__(self, client: IbkrClient, terms: Callable[[str], Terms | None]) -> None:
        self._client, self._terms = client, terms
        self._qualified: dict[str, Qualified] = {}
        self._symbols: dict[int, str] = {}

    def qualify(self, symbol: str) -> Qualified | Unqualified:
        """The contract of a symbol; from the second time on without asking.

        Raises
        ------
        BrokerUnavailableError
            The broker did not answer. A symbol that the broker does not know is no error: it may know it later.
        """
        found = self._qualified.get(symbol)
        if found is not None:
            return found
        terms = self._terms(symbol)
        fields = _looked_for(symbol, terms)
        if isinstance(fields, str):
            return Unqualified(symbol, fields)
        details = self._client.ask(
            lambda: self._client.details(self._client.new_contract(**fields)), f"looking for the contract of {symbol}"
        )
        chosen = _choose([one for one in details if one is not None], terms)
        if isinstance(chosen, str):
            return Unqualified(symbol, f"the broker's answer for {symbol}: {chosen}")
        contract = chosen.contract
        contract.exchange = "SMART"
        tick = Decimal(str(chosen.minTick)) if chosen.minTick else terms.tick_size if terms else Decimal("0.01")
        found = Qualified(symbol, contract.conId, contract.currency, tick, contract)
        self._qualified[symbol], self._symbols[contract.conId] = found, symbol
        return found

    def symbol_of(self, contract: ContractFields) -> str:
        """Our symbol for a contract the broker speaks of; its own local symbol for what is no stock."""
        known = self._symbols.get(contract.con_id)
        if known is not None:
            return known
        if contract.security_type == "STK":
            return contract.symbol.replace(" ", ".")
        return contract.local_symbol or contract.symbol


def _looked_for(symbol: str, terms: Terms | None) -> dict[str, Any] | str:
    """Fields of the contract to ask for, or why none can be."""
    named = "" if terms is None else terms.identifiers.get("ibkr", "")
    if named.isdigit():
        return {"conId": int(named), "exchange": "SMART"}
    if terms is not None and terms.asset_class not in _STOCKS:
        return f"{symbol} is of class {terms.asset_class}: give its contract id as identifier 'ibkr' of its terms"
    return {
        "secType": "STK",
        "symbol": (named or symbol).replace(".", " "),
        "exchange": "SMART",
        "currency": "USD" if terms is None else terms.currency,
    }


def _choose(details: list[Any], terms: Terms | None) -> Any:
    """The one of several contracts that the terms' exchange names; the reason why none can be chosen, as text."""
    if len(details) == 1:
        return details[0]
    if not details:
        return "it knows no such contract"
    primary = _PRIMARY_EXCHANGES.get(terms.exchange, terms.exchange) if terms else ""
    fitting = [one for one in details if one.contract.primaryExchange == primary]
    if len(fitting) == 1:
        return fitting[0]
    several = ", ".join(f"{one.contract.conId} on {one.contract.primaryExchange}" for one in details)
    return f"several contracts ({several}); give the contract id as identifier 'ibkr' of its terms"
