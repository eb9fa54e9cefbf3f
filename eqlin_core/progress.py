"""How a computation reports, and how whoever listens ends it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eqlin_core.errors import Cancelled

# Called with the fraction done (0 to 1; None while loading a model does not know it) and with what is being done. It
# ends the work by raising, or by answering False.
Progress = Callable[[Any, str], Any]


def report(progress: Progress | None, fraction: float | None, message: str) -> None:
    """Tell ``progress`` how far a computation is; raise Cancelled when it answers False."""
    if progress is not None and progress(fraction, message) is False:
        raise Cancelled


def part(progress: Progress | None, start: float, stop: float, message: str = "") -> Progress | None:
    """``progress`` for a stretch of the work, from ``start`` to ``stop`` of the whole; under ``message`` if given."""
    if progress is None:
        return None

    def within(fraction: float | None, own: str) -> Any:
        whole = None if fraction is None else start + (stop - start) * fraction
        return progress(whole, message or own)

    return within
