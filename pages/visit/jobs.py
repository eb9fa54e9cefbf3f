"""The life of a page's jobs: asked under a name, followed, cancelled or replaced, and their end taken in once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from pages.visit.shelf import keeping
from pages.worker.engine import engine
from pages.worker.job import Snapshot
from pages.worker.question import Question
from pages.worker.worker import Job

# Seconds. A warm analysis takes less: waiting for it before the page is drawn saves a flash of progress bars.
WAIT_BEFORE_DRAWING = 0.4


class Jobs:
    """What one visitor asks of the worker under a few names, one question each.

    A job is under way until its end has been taken in: `advance` gives what has ended since the last look, once;
    `look` gives what stands under a name, as often as it is drawn. An answer that is `shipped` will do only where that
    is said, because the page then has to say so.
    """

    def __init__(self, visitor: str) -> None:
        self.visitor = visitor
        self._jobs: dict[Hashable, Job] = {}
        self._questions: dict[Hashable, Question[Any]] = {}
        self._open: set[Hashable] = set()  # names of jobs whose end has not been taken in
        self._shipped: set[Hashable] = set()  # names of jobs whose answer was not computed here

    def start(self, name: Hashable, question: Question[Any], *, shipped: bool = False) -> Job:
        """Ask anew; what was asked under this name before is given up."""
        kept = keeping().answer(question)
        if kept is not None:
            return self._stand(name, question, engine().worker.ended(question.key, kept, question.label, self.visitor))
        found = self.take_shipped(name, question) if shipped else None
        return found or self._stand(name, question, engine().submit(question, self.visitor))

    def _stand(self, name: Hashable, question: Question[Any], job: Job) -> Job:
        self.leave(name)
        self._jobs[name], self._questions[name] = job, question
        self._open.add(name)
        return job

    def take_shipped(self, name: Hashable, question: Question[Any]) -> Job | None:
        """Let the answer that is shipped stand under this name. None, and nothing is done, where none is."""
        found = engine().shipped(question, self.visitor)
        if found is not None:
            self._stand(name, question, found)
            self._shipped.add(name)
        return found

    def is_shipped(self, name: Hashable) -> bool:
        """Whether what stands under this name is an answer that is shipped."""
        return name in self._shipped

    def look(self, name: Hashable, question: Question[Any], *, shipped: bool = False) -> Snapshot:
        """How this question stands; it is asked, and waited for a moment, unless it stands under this name already.

        Meanwhile the visitor may press a button, whose run of the script gives the name up while this one ends.
        """
        job = self._jobs.get(name)
        if job is None or job.key != question.key or (self.is_shipped(name) and not shipped):
            job = self.start(name, question, shipped=shipped)
            job.wait(WAIT_BEFORE_DRAWING)
        snapshot = job.snapshot(self.visitor)
        if snapshot.finished and name in self._open and self._jobs.get(name) is job:
            self._open.discard(name)
            self._keep(name, snapshot)
        return snapshot

    def wait(self, name: Hashable, seconds: float | None = None) -> bool:
        """Wait for a job, a moment if nothing is said. True when it has ended."""
        return self._jobs[name].wait(WAIT_BEFORE_DRAWING if seconds is None else seconds)

    def advance(self) -> dict[Hashable, Snapshot]:
        """Take in what has ended since the last look, by name; and tell the worker that the visitor is there."""
        engine().worker.touch(self.visitor)
        ended = {name: snapshot for name, snapshot in self.under_way.items() if snapshot.finished}
        self._open -= ended.keys()
        for name, snapshot in ended.items():
            self._keep(name, snapshot)
        return ended

    def _keep(self, name: Hashable, snapshot: Snapshot) -> None:
        """Put what was computed on the shelf."""
        if snapshot.state == "done" and not self.is_shipped(name):
            keeping().note(self._questions[name], snapshot.result)

    def cancel(self) -> None:
        """Stop what is under way; its end is still to be taken in."""
        for job in self._jobs.values():
            job.cancel(self.visitor)

    def leave(self, *names: Hashable) -> None:
        """Give up what was asked under these names: it is stopped and forgotten."""
        for name in names:
            self._open.discard(name)
            self._shipped.discard(name)
            self._questions.pop(name, None)
            if name in self._jobs:
                self._jobs.pop(name).cancel(self.visitor)

    def leave_all(self) -> None:
        """Give up everything."""
        self.leave(*list(self._jobs))

    def take_others_off(self, *but: Jobs) -> None:
        """Give up whatever else this visitor waits for, on all pages, ``but`` these."""
        keys = [job.key for jobs in (self, *but) for job in jobs._jobs.values()]
        engine().worker.keep_only(self.visitor, keys)

    @property
    def snapshots(self) -> dict[Hashable, Snapshot]:
        """How every job stands, by name, the oldest first."""
        return {name: job.snapshot(self.visitor) for name, job in self._jobs.items()}

    @property
    def under_way(self) -> dict[Hashable, Snapshot]:
        """How the jobs stand whose end has not been taken in, by name, the oldest first."""
        return {name: snapshot for name, snapshot in self.snapshots.items() if name in self._open}

    @property
    def current(self) -> Snapshot | None:
        """Of the jobs that wait or run, the one to follow: one that runs, else one that began, else the oldest."""
        going_on = [snapshot for snapshot in self.under_way.values() if not snapshot.finished]
        standing = ("running", "paused", "queued")
        return min(going_on, key=lambda snapshot: standing.index(snapshot.state), default=None)

    @property
    def busy(self) -> bool:
        """True while anything is under way."""
        return bool(self._open)
