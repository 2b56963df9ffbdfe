"""A page of the report, read as a browser would."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from html.parser import HTMLParser
from typing import Any

THREE = [date(2022, 12, 23), date(2022, 12, 27), date(2022, 12, 28)]


class Page(HTMLParser):
    """A page read: its elements balance, its text per element, what it would load."""

    _VOID = frozenset({"meta", "link", "img", "br", "input", "line", "path", "rect", "circle"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.raw, self.open, self.found, self.loads, self.ids = text, [], [], [], set()
        self.scripts: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self.loads += [value for name, value in attrs if name in ("src", "href", "data", "action") and value]
        self.ids |= {value for name, value in attrs if name == "id"}
        if tag not in self._VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.scripts.append(data)
        elif inside != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])

    def table(self, name: str) -> list[dict[str, Any]]:
        content = self.data["tables"][name]
        titles = [column["title"] for column in content["columns"]]
        assert all(len(row) == len(titles) for row in content["rows"])
        return [dict(zip(titles, row, strict=True)) for row in content["rows"]]


Write = Callable[..., Page]
