"""No setting that nothing reads: a limit that is written down and not obeyed is worse than none."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from pydantic import BaseModel

from quant_dagster.settings import PROJECT_ROOT, Settings

FOLDERS = ("quant_dagster", "assets", "sensors", "resources", "feature_repo")
BY_NAME = {"market_data.live": ("quant_dagster/cycle/context.py", "getattr(market.live, name)")}
"""Sections whose keys are asked for by name: where, and the words that do it."""


def attributes_read() -> set[str]:
    """Every name that stands after a dot and is read, anywhere in the program."""
    sources = (source for folder in FOLDERS for source in sorted((PROJECT_ROOT / folder).rglob("*.py")))
    return {
        node.attr
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }


def keys(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, str]]:
    """Section and name of every key of a tree."""
    for name, field in model.model_fields.items():
        yield section, name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys(field.annotation, f"{section}.{name}".lstrip("."))


def unread(model: type[BaseModel], read: set[str]) -> list[str]:
    return [f"{section}.{name}" for section, name in keys(model) if section not in BY_NAME and name not in read]


def test_every_setting_is_read_by_the_program() -> None:
    assert unread(Settings, attributes_read()) == []


def test_a_setting_that_nothing_reads_is_found() -> None:
    class Section(BaseModel):
        strategy: str = ""
        a_limit_nobody_obeys: float = 0.0

    class Tree(BaseModel):
        risk: Section = Section()

    assert unread(Tree, attributes_read()) == ["risk.a_limit_nobody_obeys"]


def test_sections_asked_for_by_name_are_asked_for_where_it_says() -> None:
    sections = {section for section, _ in keys(Settings)}
    for section, (place, words) in BY_NAME.items():
        assert section in sections
        assert words in (PROJECT_ROOT / place).read_text(encoding="utf-8"), f"{place} does not read {section} by name"
