"""Which of the two client libraries is installed. They have the same names; only one of them may be there."""

from __future__ import annotations

import importlib
import importlib.util
import logging
from typing import Any

from quant_dagster.errors import ConfigurationError

_LIBRARIES = ("ib_insync", "ib_async")


def library_name() -> str:
    """``ib_insync`` or ``ib_async``.

    Raises
    ------
    ConfigurationError
        Neither is installed, or both: their event modules overwrite each other.
    """
    found = [name for name in _LIBRARIES if importlib.util.find_spec(name) is not None]
    if not found:
        raise ConfigurationError(
            "execution.broker is 'ibkr', but no client library is installed: install ib_insync or ib_async"
        )
    if len(found) == 2:
        raise ConfigurationError(
            "ib_insync and ib_async are both installed and overwrite each other's event module: uninstall one of them"
        )
    return found[0]


def load() -> Any:
    """The library. To be called in a running event loop: ib_insync asks for one while it is imported."""
    name = library_name()
    loaded = importlib.import_module(name)
    # What it logs as errors are the broker's messages, and all of those reach the view.
    logging.getLogger(name).setLevel(logging.CRITICAL)
    return loaded
