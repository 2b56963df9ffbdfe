"""Structured logs: JSON lines under ``QUANT_HOME/logs``, warnings and worse on the terminal."""

from __future__ import annotations

import logging
import logging.handlers
from functools import cached_property
from pathlib import Path
from typing import Any

from quant_dagster.errors import ConfigurationError

_MEGABYTE = 1_000_000


def configure_logging(home: Path, *, verbose: bool = False) -> None:
    """Send logs to ``home/logs/system.jsonl`` (50 MB x 10) and to the terminal.

    Raises
    ------
    ConfigurationError
        ``home`` is no folder, or may not be written to.
    """
    folder = home / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"QUANT_HOME {home} cannot be used: {folder}: {error.strerror}; name a folder you may write to"
        ) from None
    file = logging.handlers.RotatingFileHandler(
        folder / "system.jsonl", maxBytes=50 * _MEGABYTE, backupCount=10, delay=True
    )
    file.setFormatter(_WhenNeeded("json"))
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.INFO if verbose else logging.WARNING)
    terminal.setFormatter(_WhenNeeded("terminal"))
    root = logging.getLogger("quant_dagster")
    root.handlers = [file, terminal]
    root.setLevel(logging.INFO)
    root.propagate = False


def get_logger(name: str) -> Any:
    """A structured logger: ``get_logger(__name__).info("bars_built", rows=20)``."""
    import structlog

    if not structlog.is_configured():
        structlog.configure(
            processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
            logger_factory=structlog.stdlib.LoggerFactory(),
            cache_logger_on_first_use=True,
        )
    return structlog.stdlib.get_logger(name)


def _shared() -> list[Any]:
    import structlog

    return [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


class _WhenNeeded(logging.Formatter):
    """Structured text, or JSON; what makes it is loaded with the first record: most commands log none."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind

    @cached_property
    def _formatter(self) -> logging.Formatter:
        import structlog

        renderer: Any = structlog.dev.ConsoleRenderer(colors=False)
        if self._kind == "json":
            renderer = structlog.processors.JSONRenderer()
        return structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=_shared())

    def format(self, record: logging.LogRecord) -> str:
        return self._formatter.format(record)
