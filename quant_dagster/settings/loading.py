"""Reads, merges and checks every source of settings; says of each mistake where it is and what is allowed."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from quant_dagster.errors import ConfigurationError
from quant_dagster.settings.tree import ENV_PREFIX, Settings

PROJECT_ROOT = Path(__file__).resolve().parents[2]
CONFIG_FOLDER = PROJECT_ROOT / "config"
# Read by other parts of the system, not keys of the tree.
ENV_RESERVED = frozenset({"QUANT_HOME", "QUANT_CONFIG", "QUANT_TEST_DATA", "QUANT_OPERATOR_PASSPHRASE"})


def quant_home() -> Path:
    """Folder of everything the program writes: ``QUANT_HOME``, by default ``.quant`` in the project."""
    return Path(os.environ.get("QUANT_HOME") or PROJECT_ROOT / ".quant").expanduser().resolve()


def load_settings(overrides: dict[str, Any] | None = None, config_folder: Path = CONFIG_FOLDER) -> Settings:
    """Read, merge and check every source.

    Parameters
    ----------
    overrides
        Nested values that win over YAML and the environment (command-line options).
    config_folder
        Where ``default.yaml`` and ``local.yaml`` are.

    Raises
    ------
    ConfigurationError
        Naming the key, the file or variable it came from, and the allowed values.
    """
    files = [config_folder / "default.yaml", config_folder / "local.yaml"]
    if extra := os.environ.get("QUANT_CONFIG"):
        if not Path(extra).is_file():
            raise ConfigurationError(f"QUANT_CONFIG names '{extra}', which is not a file")
        files.append(Path(extra))
    merged: dict[str, Any] = {}
    origin: dict[tuple[str, ...], str] = {}
    for file in files:
        if file.is_file():
            _merge(merged, _read_yaml(file), str(file), origin, ())
    _check_environment()
    for path in _WHOLE:
        if ENV_PREFIX + "__".join(path).upper() in os.environ:
            _drop(merged, path)
    merged["home"] = quant_home()
    try:
        settings = Settings(**merged)
        if overrides:
            # Options are named last so that they win over the environment as well.
            content = settings.model_dump()
            _merge(content, overrides, "command line", origin, ())
            settings = _without_environment(content)
            settings._flag_overrides = dict(overrides.get("signals", {}).get("flags", {}))
    except ValidationError as error:
        raise ConfigurationError(_explain(error, origin)) from None
    if settings.mode == "live" and settings.execution.broker == "paper":
        raise ConfigurationError(
            "mode 'live' is for real money, and execution.broker is 'paper': name the broker, or leave mode at paper"
        )
    return settings


def _without_environment(content: dict[str, Any]) -> Settings:
    saved = {name: os.environ.pop(name) for name in _env_keys()}
    try:
        return Settings(**content)
    finally:
        os.environ.update(saved)


def _env_keys() -> list[str]:
    return [name for name in os.environ if name.startswith(ENV_PREFIX) and name not in ENV_RESERVED]


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{file} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file} must hold 'key: value' pairs, not {type(content).__name__}")
    return content


# Mappings whose keys are data, replaced as a whole instead of merged key by key.
_WHOLE = {("market_data", "files", "columns")}


def _merge(
    base: dict[str, Any], new: dict[str, Any], source: str, origin: dict[tuple[str, ...], str], path: tuple[str, ...]
) -> None:
    for key, value in new.items():
        here = (*path, str(key))
        origin[here] = source
        if isinstance(value, dict) and isinstance(base.get(key), dict) and here not in _WHOLE:
            _merge(base[key], value, source, origin, here)
        else:
            base[key] = value
            if isinstance(value, dict):
                _merge({}, value, source, origin, here)


def _drop(content: dict[str, Any], path: tuple[str, ...]) -> None:
    """Take a key out, so that another source's value stands alone instead of being merged into it."""
    for key in path[:-1]:
        content = content.get(key) or {}
    content.pop(path[-1], None)


def _section_at(path: tuple[str, ...]) -> type[BaseModel] | None:
    model: type[BaseModel] = Settings
    for part in path:
        field = model.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        model = field.annotation
    return model


def _field_at(path: tuple[str, ...]) -> FieldInfo | None:
    section = _section_at(path[:-1])
    return section.model_fields.get(path[-1]) if section and path else None


def _known_keys(path: tuple[str, ...]) -> list[str]:
    section = _section_at(path)
    return list(section.model_fields) if section else []


def _check_environment() -> None:
    for name in _env_keys():
        path = tuple(name.removeprefix(ENV_PREFIX).lower().split("__"))
        parent = _field_at(path[:-1])
        is_entry = parent is not None and get_origin(parent.annotation) is dict
        if _field_at(path) is None and not is_entry:
            known = _known_keys(path[:-1])
            raise ConfigurationError(
                f"environment variable {name}: unknown setting '{'.'.join(path)}'{_closest(path[-1], known)}; "
                f"allowed: {', '.join(known) or 'none here'}"
            )


def _closest(key: str, known: list[str]) -> str:
    match = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean '{match[0]}'?)" if match else ""


def _explain(error: ValidationError, origin: dict[tuple[str, ...], str]) -> str:
    lines = []
    for problem in error.errors():
        path = tuple(str(part) for part in problem["loc"] if part != "[key]")
        variable = ENV_PREFIX + "__".join(path).upper()
        if variable in os.environ:
            source = f"environment variable {variable}"
        else:
            source = origin.get(path) or ("the defaults" if len(path) == 1 else origin.get(path[:-1], "the settings"))
        key = ".".join(path)
        if problem["type"] == "extra_forbidden":
            known = _known_keys(path[:-1])
            lines.append(
                f"{source}: unknown setting '{key}'{_closest(path[-1], known)}; allowed here: {', '.join(known)}"
            )
            continue
        field = _field_at(path) or _field_at(path[:-1])
        allowed = f"; allowed: {_allowed(field)}" if field is not None else ""
        secret = field is not None and SecretStr in (field.annotation, *get_args(field.annotation))
        value = "(a secret)" if secret else repr(problem["input"])
        lines.append(f"{source}: setting '{key}' = {value}: {problem['msg']}{allowed}")
    return "\n".join(lines)


_KINDS = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text", "date": "YYYY-MM-DD"}
_LIMITS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most", "min_length": "of length at least"}


def _allowed(field: FieldInfo) -> str:
    choices = [repr(choice) for choice in get_args(field.annotation) if isinstance(choice, str)]
    limits = [
        f"{words} {getattr(item, name)}"
        for item in field.metadata
        for name, words in _LIMITS.items()
        if getattr(item, name, None) is not None
    ]
    kind = str(getattr(field.annotation, "__name__", field.annotation))
    return ", ".join([" | ".join(choices) or _KINDS.get(kind, kind), *limits])
