"""Tables for people, JSON for programs, progress bars on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from quant_dagster.storage.types import canonical_json

if TYPE_CHECKING:
    from quant_dagster.cycle.context import Progress as ProgressCallback

# A table that goes into a file or a pipe is not squeezed into 80 columns.
console = Console(width=None if sys.stdout.isatty() else 160)
errors = Console(stderr=True)

_SHORT = 26
_ACTION_STYLE = {"BUY": "green", "SELL": "red", "HOLD": "dim", "REJECT": "yellow"}


def print_json(value: Any) -> None:
    """One JSON document on standard output, nothing else."""
    sys.stdout.write(canonical_json(value) + "\n")


def print_rows(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, title: str, as_json: bool) -> None:
    """Rows as a table of the given columns, or all of them as JSON."""
    if as_json:
        print_json([dict(row) for row in rows])
        return
    if not rows:
        console.print(f"[bold]{title}[/bold]: none")
        return
    table = Table(title=title, title_justify="left", header_style="bold", pad_edge=False, box=box.SIMPLE_HEAD)
    for column in columns:
        values = [row.get(column) for row in rows]
        numeric = any(isinstance(value, (int, float)) or _is_decimal(value) for value in values)
        # What is short is shown whole; what is long gives way.
        longest = max([len(column), *(len(Text.from_markup(_cell(value))) for value in values)])
        short = longest <= _SHORT
        table.add_column(
            column.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=short,
            min_width=longest if short else None,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    console.print(table)


def print_facts(facts: Mapping[str, Any], *, title: str, as_json: bool) -> None:
    """Names and values; in the table "–" is what is not known or not there, "none" an empty list."""
    if as_json:
        print_json(dict(facts))
        return
    table = Table(title=title, title_justify="left", show_header=False, pad_edge=False, box=None)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        empty = "–" if value is None or value == "" else "none"
        table.add_row(name.replace("_", " "), _cell(value) or empty)
    console.print(table)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[ProgressCallback]:
    """Progress bars on standard error; nothing when ``quiet``."""
    if quiet:
        yield lambda _what, _done, _total: None
        return
    bar = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=errors, transient=True, disable=not errors.is_terminal,
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def report(what: str, done: int, total: int) -> None:
        if what not in tasks:
            tasks[what] = bar.add_task(what, total=total)
        bar.update(tasks[what], completed=done, total=total, visible=done < total)

    with bar:
        yield report


def _is_decimal(value: Any) -> bool:
    return type(value).__name__ == "Decimal"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) or _is_decimal(value):
        number = float(value)
        if number.is_integer() and abs(number) < 1e15:
            return f"{number:,.0f}"
        return f"{number:,.2f}" if abs(number) >= 100 else f"{number:,.4f}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if value.tzinfo else f"{value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(item)}" for key, item in value.items())
    text = str(value)
    style = _ACTION_STYLE.get(text)
    return f"[{style}]{text}[/{style}]" if style else text.replace("[", "\\[")
