"""What a try's error says about the service: whether it was asked at all, whether it answered, and how it failed."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from quant_dagster.errors import (
    BudgetExhaustedError,
    BulkheadFullError,
    CircuitOpenError,
    DataUnavailableError,
    MalformedDataError,
    RateLimitedError,
    UnauthorisedError,
    UnknownSymbolError,
    UnreachableError,
    VendorError,
)


class Outcome(StrEnum):
    """How one request went, as stored in ``service_observations.outcome``."""

    OK = "ok"
    EMPTY = "empty"
    UNKNOWN_SYMBOL = "unknown_symbol"
    RATE_LIMITED = "rate_limited"
    UNAUTHORISED = "unauthorised"
    UNREACHABLE = "unreachable"
    MALFORMED = "malformed"
    FAILED = "failed"
    ERROR = "error"


NOT_ASKED = (CircuitOpenError, BudgetExhaustedError, BulkheadFullError)
"""The desk itself refused: nothing is learnt about the service."""

FAILURES = (VendorError, MalformedDataError)
"""The service failed, unless it is one of `NOT_ASKED`."""

ANSWERED_WITHOUT_DATA = frozenset({Outcome.EMPTY, Outcome.UNKNOWN_SYMBOL})
"""The service works, and said that it has nothing."""

_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (UnknownSymbolError, Outcome.UNKNOWN_SYMBOL),
    (DataUnavailableError, Outcome.EMPTY),
    (RateLimitedError, Outcome.RATE_LIMITED),
    (UnauthorisedError, Outcome.UNAUTHORISED),
    (UnreachableError, Outcome.UNREACHABLE),
    (MalformedDataError, Outcome.MALFORMED),
    (VendorError, Outcome.FAILED),
)
_LONGEST_DETAIL = 500


def outcome_of(error: BaseException | None) -> Outcome:
    """The code of a try that ended with ``error`` (None: with a result); ``error`` for what no vendor raises."""
    if error is None:
        return Outcome.OK
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), Outcome.ERROR)


def detail_of(error: BaseException | None, secrets: Iterable[str] = ()) -> str:
    """An error as text for the ledger: without ``secrets``, at most 500 characters, storable in any database."""
    if error is None:
        return ""
    text = str(error) or type(error).__name__
    for secret in secrets:
        text = text.replace(secret, "***")
    # PostgreSQL stores neither NUL nor lone surrogates; a broken answer that is quoted may hold both.
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:_LONGEST_DETAIL]


def service_label(name: str) -> str:
    """A service's name as its errors give it: the vendor's own for ``vendor:yfinance``."""
    return name.removeprefix("vendor:")
