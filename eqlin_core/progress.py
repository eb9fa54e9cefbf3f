"""How a computation reports, and how whoever listens ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eqlin_core.errors import Cancelled

Progress = Callable[[float, str], Any]


def report(progress: Progress | None, fraction: float, message: str) -> None:
    """Tell ``progress`` how far a computation is; raise Cancelled when it answers False."""
    if progress is not None and progress(fraction, message) is False:
        raise Cancelled
