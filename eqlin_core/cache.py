"""Where eqlin keeps what it can make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from eqlin_core.errors import EqlinError


def cache_directory() -> Path:
    """Where eqlin keeps what it can make again: the folder EQLIN_CACHE, or `eqlin` in the system's cache folder."""
    try:
        if own := os.environ.get("EQLIN_CACHE"):
            return Path(own).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "eqlin"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "eqlin"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eqlin"
    except RuntimeError as error:
        raise EqlinError(
            "This user has no home folder: set EQLIN_CACHE to a folder that eqlin may write to."
        ) from error
