"""A thread that runs one job after the other, and keeps the one that stands still on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

J = TypeVar("J")


class Lane(Generic[J]):
    """One daemon thread, and the job that runs on it, also while that has given way.

    ``run(job, lane)`` runs a job; it takes the job off the lane when it has ended. ``closed()`` says whether the thread
    ends when it has nothing to run.
    """

    def __init__(self, run: Callable[[J, Lane[J]], None], closed: Callable[[], bool], name: str) -> None:
        self._run, self._closed = run, closed
        self.job: J | None = None
        self._wake = threading.Event()
        self.thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.thread.start()

    def start(self, job: J) -> None:
        """Run this job."""
        self.job = job
        self._wake.set()

    def end(self) -> None:
        """End the thread, which has no job."""
        self._wake.set()

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            # No name of its own: one that outlives its job would keep a result alive after the cache has dropped it.
            if self.job is None:
                return
            self._run(self.job, self)
            if self._closed() and self.job is None:
                return
