"""The one door to numba: a just-in-time decorator whose on-disk cache cannot go stale.

numba keys its cache on the file of the compiled function only, so a change to a helper in another module
goes unnoticed. Here the cache folder carries a hash of every source file that defines kernels.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

_PACKAGE = Path(__file__).parent
_KERNEL_FOLDERS = ("features", "forecasting", "strategies", "risk")


def kernel_sources_hash(root: Path = _PACKAGE) -> str:
    """Hash of every Python source in the folders that define compiled kernels."""
    digest = hashlib.sha256()
    for folder in _KERNEL_FOLDERS:
        for source in sorted((root / folder).rglob("*.py")):
            digest.update(source.relative_to(root).as_posix().encode())
            digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def cache_directory() -> Path:
    """Folder of compiled kernels for exactly these sources, under ``QUANT_HOME``."""
    home = Path(os.environ.get("QUANT_HOME") or _PACKAGE.parent / ".quant").expanduser().resolve()
    return home / "kernels" / kernel_sources_hash()


import numba  # noqa: E402
from numba import njit, prange  # noqa: E402

if "NUMBA_CACHE_DIR" not in os.environ:
    # Set on numba itself, because something else may have imported it before and the variable is read then.
    numba.config.CACHE_DIR = str(cache_directory())

__all__ = ["cache_directory", "kernel_sources_hash", "njit", "prange"]
