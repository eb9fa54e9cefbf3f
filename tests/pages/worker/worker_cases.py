"""What the worker's tests share: a clock set by hand, a job that waits at a gate, and short ways to submit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from pages.worker.worker import Job, Reporter, Worker

ABSENCE = 30.0
CACHE_BYTES = 1_000_000


class Clock:
    """A clock that a test sets by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """A job that reports once it runs, and goes on reporting, unless it is ``deaf``, until it is let through."""

    def __init__(self, result: Any = "through", *, deaf: bool = False) -> None:
        self.entered, self.open, self.result, self.deaf = threading.Event(), threading.Event(), result, deaf

    def __call__(self, progress: Reporter) -> Any:
        progress(0.0, "at the gate")
        self.entered.set()
        while not self.open.wait(0.005):
            if not self.deaf:
                progress(0.0)
        return self.result


def giving(result: Any) -> Callable[[Reporter], Any]:
    """A job that gives this at once."""
    return lambda _: result


def noting(where: list[Any], what: Any) -> Callable[[Reporter], Any]:
    """A job that notes that it ran."""
    return lambda _: where.append(what)


def raising(failure: BaseException) -> Callable[[Reporter], Any]:
    """A job that fails."""

    def burst(_: Reporter) -> None:
        raise failure

    return burst


def submit(worker: Worker, key: str, function: Callable[[Reporter], Any], visitor: str = "ada", **options: Any) -> Job:
    return worker.submit(key, function, label=f"the job {key}", visitor=visitor, **options)


def result_of(job: Job) -> Any:
    assert job.wait(5), "the job never finished"
    return job.snapshot().result
