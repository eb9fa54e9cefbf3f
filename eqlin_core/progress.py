"""How a computation reports, and how whoever listens ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eqlin_core.errors import Cancelled

# Called with the fraction done (0 to 1; None while loading a model does not know it) and with what is being done. It
# ends the work by raising, or by answering False.
Progress = Callable[[Any, str], Any]

# A bar's line: what is done, how much of it, and the time taken and left.
_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"


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


@contextmanager
def shown(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """What to report to within the context: ``progress`` itself; of True a bar on stderr, or in a notebook.

    The bar is closed when the context ends, however it ends; it stands at the last fraction that was reported.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    if not progress:
        yield None
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - only who asks for a bar waits for it

    with tqdm(total=1.0, bar_format=_BAR) as bar:

        def draw(fraction: float | None, message: str) -> None:
            bar.set_description_str(message, refresh=False)
            if fraction is not None:
                bar.n = min(1.0, max(0.0, fraction))
            bar.refresh()

        yield draw
