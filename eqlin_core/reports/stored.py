"""A run inside a report: the bytes of ``save_run`` as base64, which no browser reads and `load_run` does."""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from eqlin_core.errors import EqlinError
from eqlin_core.runs.files import load_run, save_run
from eqlin_core.runs.prompt import SpectrumRun, TokenRun


def run_bytes(run: TokenRun | SpectrumRun) -> bytes:
    """What `save_run` writes; the same bytes for the same run."""
    with tempfile.TemporaryDirectory(prefix="eqlin-") as folder:
        place = Path(folder, "run.npz")
        save_run(run, place)
        return place.read_bytes()


def run_from(content: bytes) -> TokenRun | SpectrumRun:
    """The run in these bytes. Raises ValueError where they hold none."""
    with tempfile.TemporaryDirectory(prefix="eqlin-") as folder:
        place = Path(folder, "run.npz")
        place.write_bytes(content)
        try:
            run = load_run(place)
        except EqlinError as error:
            raise ValueError("no run") from error
    if not isinstance(run, TokenRun | SpectrumRun):
        raise ValueError("another kind of run")
    return run


def in_base64(content: bytes) -> str:
    """The bytes as text for an HTML file."""
    return base64.b64encode(content).decode("ascii")


def from_base64(text: str) -> bytes:
    """The bytes of such a text. Raises ValueError for any other."""
    return base64.b64decode(text, validate=True)
