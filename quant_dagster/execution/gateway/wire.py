"""Frames and fields of the TWS protocol: a length of four bytes, then text fields that each end in NUL."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import SupportsIndex, overload
from zoneinfo import ZoneInfo

from quant_dagster.errors import MalformedDataError

SERVER_VERSION = 176
"""The version the gateway speaks; the fields of several messages depend on it."""

UNSET = "1.7976931348623157E308"
"""A number that is not given (the largest double)."""

GREETING = b"API\0"
LONGEST_FRAME = 0xFFFFFF

_NEW_YORK = ZoneInfo("America/New_York")

Field = str | int | bool | Decimal | None


def field(value: Field) -> str:
    """One value as the protocol writes it; None is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Decimal):
        return plain(value)
    return str(value)


def plain(value: Decimal) -> str:
    """A decimal without exponent and without trailing zeros."""
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return text if text not in ("", "-0") else "0"


def message(*fields: Field) -> bytes:
    """A framed message."""
    return frame("".join(field(value) + "\0" for value in fields).encode())


def frame(payload: bytes) -> bytes:
    """A payload with its length in front."""
    return struct.pack(">I", len(payload)) + payload


class Fields(list[str]):
    """The fields of a message; one that is missing or no number is a `MalformedDataError`."""

    @overload
    def __getitem__(self, position: SupportsIndex) -> str: ...

    @overload
    def __getitem__(self, position: slice) -> Fields: ...

    def __getitem__(self, position: SupportsIndex | slice) -> str | Fields:
        if isinstance(position, slice):
            part = Fields(super().__getitem__(position))
            if position.stop is not None and len(part) != position.stop - (position.start or 0):
                raise MalformedDataError(f"a message of {len(self)} fields ends before field {position.stop}")
            return part
        try:
            return super().__getitem__(position)
        except IndexError:
            raise MalformedDataError(f"a message of {len(self)} fields has no field {position}") from None

    def integer(self, position: int) -> int:
        """A whole number; an empty field is 0."""
        try:
            return int(self[position] or 0)
        except ValueError:
            raise MalformedDataError(f"field {position} is '{self[position]}', not a whole number") from None

    def decimal(self, position: int) -> Decimal | None:
        """A number; None where it is empty or the unset value."""
        text = self[position]
        if text in ("", UNSET, "1.7976931348623157e+308", "inf", "Infinite"):
            return None
        try:
            return Decimal(text)
        except InvalidOperation:
            raise MalformedDataError(f"field {position} is '{text}', not a number") from None

    def flag(self, position: int) -> bool:
        """A truth value; an empty field is false."""
        return self[position] in ("1", "true", "True")


class Frames:
    """Takes bytes as they come and gives out whole frames.

    Raises
    ------
    MalformedDataError
        A frame claims to be longer than any message is: what arrives is not this protocol.
    """

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._greeted = False

    def feed(self, data: bytes) -> Iterator[Fields]:
        """The fields of every frame that is complete; the first of a session is the range of versions."""
        self._bytes += data
        if not self._greeted:
            if len(self._bytes) < len(GREETING):
                return
            if not self._bytes.startswith(GREETING):
                raise MalformedDataError(f"a client began with {bytes(self._bytes[:8])!r}, not with {GREETING!r}")
            del self._bytes[: len(GREETING)]
            self._greeted = True
        while len(self._bytes) >= 4:
            (length,) = struct.unpack(">I", self._bytes[:4])
            if length > LONGEST_FRAME:
                raise MalformedDataError(f"a client announced a frame of {length} bytes; {LONGEST_FRAME} is the most")
            if len(self._bytes) < 4 + length:
                return
            text = self._bytes[4 : 4 + length].decode(errors="backslashreplace")
            del self._bytes[: 4 + length]
            yield Fields(text.removesuffix("\0").split("\0"))


def new_york(at: datetime) -> str:
    """An instant as executions carry it: New York time with the zone's name."""
    return at.astimezone(_NEW_YORK).strftime("%Y%m%d %H:%M:%S US/Eastern")
