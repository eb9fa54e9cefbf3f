"""A Chromium on this machine, which draws charts into files: any of its family, headless and without a network."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from eqlin_core.errors import EqlinError

# Names on the path, and where systems put programs that are not on it.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
SECONDS = 90
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--virtual-time-budget=20000",  # scripts end before the page is taken
    "--proxy-server=127.0.0.1:9",  # nobody listens there
)


def chromium() -> str:
    """The program. Raises EqlinError where there is none."""
    chosen = os.environ.get("EQLIN_CHROMIUM")
    found = chosen or next(filter(None, map(shutil.which, NAMES)), None)
    found = found or next((place for place in PLACES if Path(place).is_file()), None)
    if not found or not shutil.which(found):
        raise EqlinError(
            "Figures for papers are drawn by a Chromium, and there is none: install Chromium or Google Chrome, or set "
            "EQLIN_CHROMIUM to the path of one."
        )
    return found


def run_chromium(page: Path, *options: str) -> str:
    """What Chromium prints about a page on the disk. Raises EqlinError where it fails or takes too long."""
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with tempfile.TemporaryDirectory(prefix="eqlin-", ignore_cleanup_errors=True) as profile:
        command: Sequence[str] = [
            chromium(),
            *_FLAGS,
            *(["--no-sandbox"] if root else []),  # which does not start for root, as in a container
            f"--user-data-dir={profile}",
            *options,
            page.as_uri(),
        ]
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                command, capture_output=True, timeout=SECONDS, check=True, stdin=subprocess.DEVNULL, encoding="utf-8"
            )
            return done.stdout
    raise EqlinError("Chromium did not draw the figure: try it again, or set EQLIN_CHROMIUM to another one.")
