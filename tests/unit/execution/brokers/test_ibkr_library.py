"""Which client library is used, and how fast messages leave."""

from __future__ import annotations

import importlib.util
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_dagster.errors import ConfigurationError
from quant_dagster.execution.brokers.ibkr import library
from quant_dagster.execution.brokers.ibkr.pacing import Pacer


@pytest.mark.parametrize("name", ["ib_insync", "ib_async"])
def test_either_library_will_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: object() if asked == name else None)
    assert library.library_name() == name


def test_no_library_and_both_libraries_are_errors_that_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: None)
    with pytest.raises(ConfigurationError, match="install ib_insync or ib_async"):
        library.library_name()
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: object())
    with pytest.raises(ConfigurationError, match="uninstall one"):
        library.library_name()


class Loop:
    """A clock that is moved by hand, and the one call that waits for it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object]) -> Any:
        self.due.append((self.now + delay, callback))
        return self

    def cancel(self) -> None:
        self.due.clear()

    def move_to(self, at: float) -> None:
        while self.due and min(self.due)[0] <= at:
            self.due.sort(key=lambda one: one[0])
            self.now, callback = self.due.pop(0)
            callback()
        self.now = max(self.now, at)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=150), st.integers(1, 50))
def test_no_second_has_more_messages_than_allowed_and_none_is_lost_or_overtakes(gaps: list[float], limit: int) -> None:
    loop, sent = Loop(), list[tuple[float, str]]()
    pacer = Pacer(loop, lambda text: sent.append((loop.now, text)), limit, deque())
    for number, gap in enumerate(gaps):
        loop.move_to(loop.now + gap)
        pacer.send(f"3\0{number}")
    loop.move_to(loop.now + 1000)
    assert [text for _, text in sent] == [f"3\0{number}" for number in range(len(gaps))]
    assert all(later - earlier >= 1 for (earlier, _), (later, _) in zip(sent, sent[limit:], strict=False))


def test_a_sign_of_life_overtakes_and_what_waits_is_forgotten_when_the_connection_is_gone() -> None:
    loop, sent = Loop(), list[str]()
    pacer = Pacer(loop, sent.append, 2, deque())
    for text in ("3\0a", "3\0b", "3\0c", "49\0001"):
        pacer.send(text)
    loop.move_to(1.2)
    assert sent == ["3\0a", "3\0b", "49\0001", "3\0c"]
    pacer.send("3\0d")
    pacer.stop()
    loop.move_to(10)
    assert "3\0d" not in sent and pacer.waiting == 0
