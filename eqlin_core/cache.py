"""Where eqlin keeps what it can make again, and what is the user's own."""

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


def data_directory() -> Path:
    """Where eqlin keeps what is the user's own: the folder EQLIN_DATA, or `eqlin` in the system's data folder."""
    try:
        if own := os.environ.get("EQLIN_DATA"):
            return Path(own).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("APPDATA") or Path.home() / "AppData" / "Roaming") / "eqlin"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "eqlin"
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "eqlin"
    except RuntimeError as error:
        raise EqlinError("This user has no home folder: set EQLIN_DATA to a folder that eqlin may write to.") from error
