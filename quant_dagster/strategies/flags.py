"""Feature flags of the signal sources, as the settings files have them now: no restart is needed to change one."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quant_dagster.errors import ConfigurationError
from quant_dagster.observability.logs import get_logger
from quant_dagster.settings import CONFIG_FOLDER, Settings, load_settings

_log = get_logger(__name__)
Signature = tuple[object, ...]


@dataclass(frozen=True)
class Flags:
    """The flag of every source; ``problem`` says why these are older than the files, None when they are not."""

    enabled: Mapping[str, bool]
    problem: str | None = None


class FlagFiles:
    """Reads the flags from the settings files and the environment, again whenever one of them has changed.

    A file that cannot be read or is not valid changes nothing: the last good flags stay in force, the problem is
    logged once as an error and stands in `Flags.problem` until the file is mended.

    Parameters
    ----------
    config_folder
        Where ``default.yaml`` and ``local.yaml`` are.
    """

    def __init__(self, config_folder: Path = CONFIG_FOLDER) -> None:
        self._folder = config_folder
        self._lock = threading.Lock()
        self._seen: Signature | None = None
        self._flags: Flags | None = None

    def read(self, settings: Settings) -> Flags:
        """The flags now; ``settings`` are those the process runs with.

        Flags they were given as options win over the files; all of them stand in where no file was ever good.
        """
        with self._lock:
            signature = self._signature()
            if self._flags is None or signature != self._seen:
                self._flags = self._load(settings)
                # Taken before the files were read: a change in between is seen the next time.
                self._seen = signature
            overrides = settings.flag_overrides
            return Flags({**self._flags.enabled, **overrides}, self._flags.problem) if overrides else self._flags

    def _load(self, settings: Settings) -> Flags:
        before: Mapping[str, bool] = self._flags.enabled if self._flags else _named(settings)
        try:
            after = _named(load_settings(config_folder=self._folder))
        except (ConfigurationError, OSError, UnicodeDecodeError) as error:
            _log.error("signal_flags_unreadable", problem=str(error), kept=dict(before))
            return Flags(before, str(error))
        if after != before:
            _log.warning("signal_flags_changed", before=dict(before), after=dict(after))
        return Flags(after)

    def _signature(self) -> Signature:
        files = [self._folder / "default.yaml", self._folder / "local.yaml"]
        if extra := os.environ.get("QUANT_CONFIG"):
            files.append(Path(extra))
        environment = tuple(sorted((name, value) for name, value in os.environ.items() if name.startswith("QUANT_")))
        return (tuple(_stamp(file) for file in files), environment)


def hot_flags(settings: Settings) -> Mapping[str, bool]:
    """The flag of every signal source, re-read from the files where they have changed."""
    return _FILES.read(settings).enabled


def flag_problem(settings: Settings) -> str | None:
    """Why the flags in force are not those of the files; None when they are."""
    return _FILES.read(settings).problem


_FILES = FlagFiles()


def _named(settings: Settings) -> dict[str, bool]:
    return {str(name): on for name, on in settings.signals.flags.items()}


def _stamp(file: Path) -> tuple[str, int, int, int]:
    """What changes when a file does: also when it is replaced by another of the same size within one tick."""
    try:
        found = file.stat()
    except OSError:
        return (str(file), -1, -1, -1)
    return (str(file), found.st_mtime_ns, found.st_size, found.st_ino)
