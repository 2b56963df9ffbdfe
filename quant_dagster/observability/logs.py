"""Structured logs: JSON lines under ``QUANT_HOME/logs``, warnings and worse on the terminal."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import Any

import structlog

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
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    file = logging.handlers.RotatingFileHandler(
        folder / "system.jsonl", maxBytes=50 * _MEGABYTE, backupCount=10, delay=True
    )
    file.setFormatter(
        structlog.stdlib.ProcessorFormatter(processor=structlog.processors.JSONRenderer(), foreign_pre_chain=shared)
    )
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.INFO if verbose else logging.WARNING)
    terminal.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processor=structlog.dev.ConsoleRenderer(colors=False), foreign_pre_chain=shared
        )
    )
    root = logging.getLogger("quant_dagster")
    root.handlers = [file, terminal]
    root.setLevel(logging.INFO)
    root.propagate = False
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> Any:
    """A structured logger: ``get_logger(__name__).info("bars_built", rows=20)``."""
    return structlog.stdlib.get_logger(name)
