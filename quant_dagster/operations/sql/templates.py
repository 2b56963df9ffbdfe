"""Templates of SQL models: of dbt's language, ``ref``, ``source``, ``config`` and ``var``."""

from __future__ import annotations

import difflib
import re
import traceback
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from quant_dagster.errors import QuantError


class SqlModelError(QuantError):
    """A SQL model, its test or its description is wrong, or could not be run; names the file and the line."""


@dataclass
class Rendered:
    """A file after templating, with what it asked for."""

    path: str
    sql: str = ""
    refs: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    config: dict[str, Any] = field(default_factory=dict)


_EXPRESSION = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)


class Templates:
    """Renders the files of one project.

    Parameters
    ----------
    models, sources
        Names that ``ref`` and ``source`` may ask for; sources as ``lake.bars``.
    variables
        Values of ``var``.
    """

    def __init__(self, models: Collection[str], sources: Collection[str], variables: Mapping[str, Any]) -> None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        self._models, self._sources, self._variables = models, sources, variables
        self._environment = SandboxedEnvironment(
            undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
        )

    def render(self, text: str, path: str) -> Rendered:
        """Render a file's text; it keeps its line numbers, whatever its expressions span.

        Raises
        ------
        SqlModelError
            Naming ``path`` and the line, and the closest name there is.
        """
        from jinja2 import TemplateError
        from jinja2.exceptions import TemplateSyntaxError

        rendered = Rendered(path)
        text = _EXPRESSION.sub(lambda found: found[0] + "\n" * found[0].count("\n"), text)
        try:
            code = self._environment.compile(text, filename=path)
            template = self._environment.template_class.from_code(self._environment, code, {})
            rendered.sql = template.render(
                ref=lambda name: self._ref(rendered, name),
                source=lambda group, table: self._source(rendered, group, table),
                config=lambda **options: self._config(rendered, options),
                var=self._var,
            )
        except TemplateSyntaxError as error:
            raise SqlModelError(f"{path}:{error.lineno}: {error.message}") from None
        except (TemplateError, TypeError, SqlModelError) as error:
            raise SqlModelError(f"{path}{_line_in(error, path)}: {error}{_allowed(error)}") from None
        return rendered

    def _ref(self, rendered: Rendered, name: str) -> str:
        if name not in self._models:
            raise SqlModelError(f"ref('{name}') names no model{closest(name, self._models)}")
        rendered.refs.add(name)
        return f'"{name}"'

    def _source(self, rendered: Rendered, group: str, table: str) -> str:
        name = f"{group}.{table}"
        if name not in self._sources:
            raise SqlModelError(
                f"source('{group}', '{table}') is not declared in sources.yml{closest(name, self._sources)}"
            )
        rendered.sources.add(name)
        return f'"{group}"."{table}"'

    def _config(self, rendered: Rendered, options: dict[str, Any]) -> str:
        known = ("materialized", "severity")
        if unknown := [key for key in options if key not in known]:
            raise SqlModelError(f"config({unknown[0]}=…) is not known here; allowed: {', '.join(known)}")
        rendered.config.update(options)
        return ""

    def _var(self, name: str) -> Any:
        if name not in self._variables:
            raise SqlModelError(f"var('{name}') is not declared in dbt_project.yml{closest(name, self._variables)}")
        return self._variables[name]


def closest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name."""
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" (did you mean '{match[0]}'?)" if match else f"; there are: {', '.join(names) or 'none'}"


def _line_in(error: Exception, path: str) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f":{lines[-1]}" if lines else ""


def _allowed(error: Exception) -> str:
    return "" if isinstance(error, SqlModelError) else "; templates know ref(), source(), config() and var()"
