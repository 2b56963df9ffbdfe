"""What each error code of Binance spot means for us: one answer a code.

Codes and meanings are those of the venue's "Error codes" page. A code that is not in the table is answered with
`Answer.RECONCILE`: ask what happened, never guess. Of an HTTP status, 5xx says nothing about what was done ("execution
status is UNKNOWN and could have been a success"), 429 and 418 say that nothing was.
"""

from __future__ import annotations

from quant_dagster.execution.brokers.codes import Answer, Code

NO_SUCH_ORDER = -2013
ARCHIVED = -2026
TIMESTAMP = -1021
CANCEL_REFUSED = -2011
ORDER_REFUSED = -2010

_ROWS: dict[Answer, dict[int, str]] = {
    Answer.RETRY: {
        -1001: "the venue could not process the request",
        -1003: "too many requests, or too much request weight",
        -1008: "the venue is overloaded",
        -1015: "too many new orders",
        -1016: "the service is shutting down",
        -1034: "too many connections",
        TIMESTAMP: "the request's time is outside of the receive window: the clock is set again",
    },
    Answer.REJECT: {
        -1010: "refused by the matching engine",
        -1013: "refused by a filter or by the interface; the matching engine never saw it",
        -1014: "the combination of order fields is not supported",
        -1020: "the operation is not supported",
        -1100: "a parameter has characters that are not allowed",
        -1101: "too many parameters",
        -1102: "a mandatory parameter is missing or malformed",
        -1103: "an unknown parameter was sent",
        -1104: "not all parameters were read",
        -1105: "a parameter is empty",
        -1106: "a parameter was sent that must not be",
        -1108: "a parameter is too large",
        -1111: "too many decimals",
        -1112: "there are no orders on the book",
        -1114: "time in force must not be sent",
        -1115: "wrong time in force",
        -1116: "wrong order type",
        -1117: "wrong side",
        -1118: "the client order id is empty",
        -1119: "the original client order id is empty",
        -1120: "wrong interval",
        -1121: "no such symbol",
        -1122: "wrong status of a symbol",
        -1127: "the span of time is too long",
        -1128: "optional parameters do not go together",
        -1130: "a parameter is wrong",
        -1145: "wrong restriction of a cancellation",
        ORDER_REFUSED: "the new order was refused",
        -2038: "the amendment was refused",
        -2039: "client order id and order id do not belong together",
    },
    Answer.RECONCILE: {
        -1000: "an unknown error",
        -1006: "unexpected answer inside the venue; execution status unknown",
        -1007: "the venue timed out; execution status unknown",
        CANCEL_REFUSED: "the cancellation was refused: the order is over or was never there",
        NO_SUCH_ORDER: "the venue finds no such order",
        -2021: "cancel and replace succeeded in part",
        -2022: "cancel and replace failed",
        ARCHIVED: "the order ended without a fill over 90 days ago and was archived",
    },
    Answer.HALT: {
        -1002: "the key is not authorised for this",
        -1022: "the signature is wrong: check execution.binance_spot.api_secret",
        -2014: "the key's format is wrong: check execution.binance_spot.api_key",
        -2015: "the key, its address or its permissions are refused: check the key's rights at the venue",
    },
}
TABLE: dict[int, Code] = {
    number: Code(number, answer, meaning) for answer, rows in _ROWS.items() for number, meaning in rows.items()
}

REFUSED_FOR_CERTAIN = frozenset({*_ROWS[Answer.RETRY], *_ROWS[Answer.REJECT], *_ROWS[Answer.HALT],
                                 CANCEL_REFUSED, NO_SUCH_ORDER, ARCHIVED}) - {-1001}  # fmt: skip
"""Codes after which nothing was done."""


def answer_to(number: int) -> Code:
    """The answer to a code; `Answer.RECONCILE` for one that is not in the table."""
    return TABLE.get(number) or Code(number, Answer.RECONCILE, "unknown code")
