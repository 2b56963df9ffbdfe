"""The tree as the text of ``config/default.yaml``: each key with its description above it."""

from __future__ import annotations

import json
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from quant_dagster.settings.tree import Settings


def render_defaults() -> str:
    """The whole tree as YAML with each key's description above it: the text of ``config/default.yaml``."""
    lines = [
        "# Every setting with its default. Override in config/local.yaml, in the file $QUANT_CONFIG names, or by an",
        "# environment variable: QUANT_ + the path joined by __ (QUANT_RISK__CVAR_LIMIT=0.03).",
        "# Written by: python -m quant_dagster.settings > config/default.yaml",
    ]
    for name, field in Settings.model_fields.items():
        if name != "home":
            _render(name, field, _default(field), lines, 0)
    return "\n".join(lines) + "\n"


def _render(name: str, field: FieldInfo, value: Any, lines: list[str], depth: int) -> None:
    indent = "  " * depth
    lines.append(f"{indent}# {field.description}")
    if isinstance(value, BaseModel):
        lines.append(f"{indent}{name}:")
        for inner, one in type(value).model_fields.items():
            _render(inner, one, getattr(value, inner), lines, depth + 1)
    else:
        plain = json.loads(json.dumps(value, default=_plain))
        lines.append(f"{indent}{name}: {json.dumps(plain, ensure_ascii=False)}")


def _default(field: FieldInfo) -> Any:
    return field.get_default(call_default_factory=True, validated_data={})


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
