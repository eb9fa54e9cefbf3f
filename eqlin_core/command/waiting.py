"""What a person sees while the command computes: a bar on stderr, gone when it is done; no bar in a pipe."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from eqlin_core.progress import Progress as Told


@contextmanager
def waiting() -> Iterator[Told | None]:
    """What the engine is to report to within the context."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Starting", total=None)
        doing = ""

        def tell(fraction: float | None, message: str) -> None:
            nonlocal doing
            if message != doing:  # another stage, with a time of its own
                doing = message
                bar.reset(task, description=message, total=None)
            bar.update(task, total=None if fraction is None else 1.0, completed=fraction or 0.0)

        yield tell


def say(sentence: str) -> None:
    """A line on stderr that stays, above the bar where there is one."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr)
