"""The family of errors the desk raises. Every message says what was being done, to what, and what to do next."""

from __future__ import annotations

from datetime import date


class QuantError(Exception):
    """Root of every error that quant_dagster raises on purpose. The ``quant`` command prints it without a traceback."""


class ConfigurationError(QuantError):
    """A setting is unknown, invalid or missing; names the key, its file and the allowed values."""


class DataUnavailableError(QuantError):
    """A vendor has no data for what was asked. Nothing is ever served in its place."""

    def __init__(self, symbol: str, vendor: str, start: date | None, end: date | None, detail: str = "") -> None:
        self.symbol, self.vendor, self.start, self.end = symbol, vendor, start, end
        message = f"vendor '{vendor}' has no data for {symbol} from {start} to {end}"
        super().__init__(f"{message}: {detail}" if detail else message)


class ExchangeClosedError(DataUnavailableError):
    """A day on which the exchange does not trade."""

    def __init__(self, exchange: str, day: date, before: date) -> None:
        super().__init__("every symbol", exchange, day, day)
        self.args = (
            f"{day} is not a session of {exchange}: the exchange is closed that day; the session before it is {before}",
        )


class MalformedDataError(QuantError):
    """A vendor's answer cannot be read as what it claims to be; nothing of it was stored."""


class VendorError(QuantError):
    """A vendor, or the way to it, failed: nothing is known about the data that was asked for.

    Never the same as "there is none": that is a `DataUnavailableError`, and it is only raised where the vendor said so.
    """

    def __init__(self, vendor: str, detail: str) -> None:
        self.vendor, self.detail = vendor, detail
        super().__init__(f"vendor '{vendor}': {detail}")


class RateLimitedError(VendorError):
    """The vendor refuses for now (HTTP 429 or its own wording).

    Attributes
    ----------
    retry_after
        Seconds to wait, where the vendor says so.
    """

    def __init__(self, vendor: str, detail: str, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        wait = "" if retry_after is None else f"; try again in {retry_after:g} s"
        super().__init__(vendor, f"rate limited: {detail}{wait}")


class UnauthorisedError(VendorError):
    """The vendor refuses the account or the key; trying again does not help."""


class UnreachableError(VendorError):
    """No answer, or a server error: connection refused, time-out, HTTP 5xx."""


class MalformedAnswerError(VendorError, MalformedDataError):
    """The vendor answered, but not in its documented format: truncated, wrong types, fields missing."""


class CircuitOpenError(VendorError):
    """The circuit breaker is open: the vendor was not asked. Names the time of the next try."""


class BudgetExhaustedError(VendorError):
    """The requests allowed in this window are used up: the vendor was not asked.

    Attributes
    ----------
    retry_after
        Seconds until the window ends.
    """

    def __init__(self, vendor: str, detail: str, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(vendor, f"{detail}; the next window starts in {retry_after:g} s")


class BulkheadFullError(VendorError):
    """Too many requests to the vendor are under way in this process, and none ended in time."""


class UnknownSymbolError(DataUnavailableError):
    """The vendor says that it does not know the symbol."""


class ContractError(QuantError):
    """Rows broke a table's contract; lists the failed checks with examples."""


class StorageError(QuantError):
    """The lake or the ledger could not do what was asked of it."""


class LedgerError(StorageError):
    """The ledger is missing, at the wrong revision, or contradicts itself."""


class AuditError(LedgerError):
    """The audit chain is broken; names the row."""


class ForecastError(QuantError):
    """A model could not be fitted. The runner records it and falls back to a simpler model."""


class BooksError(QuantError):
    """Double-entry books do not balance or disagree with the fills. Trading stops."""


class RiskError(QuantError):
    """The risk gate was asked something it cannot answer safely. No order is made."""


class OrderError(QuantError):
    """An order event is not legal in the order's present state, or an order contradicts an earlier one."""


class BrokerError(QuantError):
    """A broker, or the way to it, refuses what was asked. Names the broker and what to do."""

    def __init__(self, broker: str, detail: str) -> None:
        self.broker, self.detail = broker, detail
        super().__init__(f"broker '{broker}': {detail}")


class BrokerUnavailableError(BrokerError):
    """No way to the broker, or no answer: nothing is known about what was asked, so nothing may be concluded."""


class ControlError(QuantError):
    """The control mode forbids what was asked, or the transition is not allowed."""
