"""One thread that owns the model: pages hand it jobs, look at how they are getting on, and take the results.

A page submits a job under a key that names everything its result depends on. Whoever asks for the same key gets the
same job, whether it waits, runs, or is done. Pages keep the job they got and poll `job.snapshot(visitor)`; they do not
submit again at every rerun, because a job that failed or was cancelled starts anew when it is submitted again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from typing import Any

from eqlin_core.errors import Cancelled, EqlinError
from pages.worker.job import Pace, Snapshot, State, bytes_of, sentence

logger = logging.getLogger(__name__)

# Browsers let a hidden tab's timers fire once a minute: after less, the jobs of hidden tabs would be cancelled.
ABSENCE_SECONDS = 90.0
# A browser whose connection broke comes back within a moment; one that was reloaded comes back as another visitor.
RETURN_SECONDS = 5.0
CACHE_BYTES = 1 << 30


class Reporter:
    """What a job's function is given, to report and to publish with; both raise `Cancelled` once it has to stop."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self._worker, self._job = worker, job

    def __call__(self, fraction: float | None = None, message: str = "") -> None:
        """Report the share of the work done (None: not known) and what is being done (empty: as before)."""
        self._worker._report(self._job, fraction, message)

    def publish(self, name: str, value: Any) -> None:
        """Make a part of the result visible before the whole is done."""
        self._worker._publish(self._job, name, value)


class Job:
    """A computation asked for by one or more visitors. Made by `Worker.submit` only."""

    def __init__(
        self, worker: Worker, key: Hashable, function: Callable[[Reporter], Any], label: str, interactive: bool
    ) -> None:
        self.key, self.label, self.interactive = key, label, interactive
        self._worker = worker
        self._function: Callable[[Reporter], Any] | None = function
        self._visitors: set[str] = set()
        self._left: set[str] = set()
        self._state: State = "queued"
        self._cancelling = False
        self._fraction: float | None = None
        self._message = ""
        self._started: float | None = None
        self._ended = 0.0
        self._pace = Pace(0.0)
        self._partial: dict[str, Any] = {}
        self._result: Any = None
        self._error = ""
        self._finished = threading.Event()

    def snapshot(self, visitor: str | None = None) -> Snapshot:
        """How the job stands now; "cancelled" for a visitor who left a job that goes on for others."""
        return self._worker._snapshot(self, visitor)

    def cancel(self, visitor: str) -> bool:
        """Take the visitor off the job, and stop it if nobody else wants it. True when the job itself was stopped."""
        return self._worker._leave(self, visitor)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the job is finished, at most `timeout` seconds. True when it is finished."""
        return self._finished.wait(timeout)


class Worker:
    """One daemon thread and its queue: first come, first served, but interactive jobs before the others.

    Nothing interrupts a running job except its cancellation, at its next progress report. Results of finished jobs are
    kept, the least recently asked for dropped first, while they take less than `cache_bytes`; the newest always stays.
    A job that is not interactive is cancelled when none of its visitors was seen for `absence` seconds, or when none
    is `connected` and was seen for `RETURN_SECONDS`.
    """

    def __init__(
        self,
        *,
        cache_bytes: int = CACHE_BYTES,
        absence: float = ABSENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        connected: Callable[[str], bool] = lambda _visitor: True,
    ) -> None:
        self._cache_bytes, self._absence, self._clock, self._connected = cache_bytes, absence, clock, connected
        self._lock = threading.Condition(threading.RLock())
        self._queue: list[Job] = []
        self._running: Job | None = None
        self._wanted: dict[Hashable, Job] = {}  # queued or running, and not told to stop
        self._done: OrderedDict[Hashable, tuple[Job, int]] = OrderedDict()  # with the bytes of each result
        self._last_seen: dict[str, float] = {}
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="eqlin-worker", daemon=True)
        self._thread.start()

    def submit(
        self,
        key: Hashable,
        function: Callable[[Reporter], Any],
        *,
        label: str,
        visitor: str,
        interactive: bool = False,
    ) -> Job:
        """The job of this key: the one that waits, runs or is done already, else a new one.

        `label` names the job to people ("the matrix of 7 tokens"). Raises EqlinError after `shutdown`.
        """
        with self._lock:
            if self._closed:
                raise EqlinError("The worker was shut down; restart the app.")
            self._last_seen[visitor] = self._clock()
            if key in self._done:
                self._done.move_to_end(key)
                job = self._done[key][0]
            elif key in self._wanted:
                job = self._wanted[key]
                if interactive and not job.interactive:
                    job.interactive = True
                    if job in self._queue:
                        self._queue.remove(job)
                        self._enqueue(job)
            else:
                job = self._wanted[key] = Job(self, key, function, label, interactive)
                self._enqueue(job)
            job._left.discard(visitor)
            job._visitors.add(visitor)
            self.reap()
            return job

    def queue(self) -> list[Snapshot]:
        """The running job and those that wait, in the order in which they will be served."""
        with self._lock:
            jobs = [self._running] if self._running else []
            return [self._snapshot(job, None) for job in [*jobs, *self._queue]]

    def keep_only(self, visitor: str, keys: Collection[Hashable]) -> None:
        """Take the visitor off every unfinished job but these: what an earlier prompt asked for need not be done."""
        with self._lock:
            for job in list(self._wanted.values()):
                if visitor in job._visitors and job.key not in keys:
                    self._leave(job, visitor)

    def touch(self, visitor: str) -> None:
        """Note that the visitor is still there."""
        with self._lock:
            self._last_seen[visitor] = self._clock()
            self.reap()

    def reap(self) -> list[Job]:
        """Cancel the jobs whose visitors have all gone, interactive ones excepted, and return them."""
        with self._lock:
            self._last_seen = {visitor: at for visitor, at in self._last_seen.items() if self._is_here(visitor, at)}
            orphans = [
                job
                for job in self._wanted.values()
                if not job.interactive and job._visitors.isdisjoint(self._last_seen)
            ]
            for job in orphans:
                self._stop(job)
            return orphans

    def _is_here(self, visitor: str, seen: float) -> bool:
        away = self._clock() - seen
        return away <= (self._absence if self._connected(visitor) else min(self._absence, RETURN_SECONDS))

    def shutdown(self, timeout: float | None = 5.0) -> bool:
        """Cancel everything and end the thread. True when it ended within `timeout` seconds."""
        with self._lock:
            self._closed = True
            for job in list(self._wanted.values()):
                self._stop(job)
            self._done.clear()
            self._lock.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _enqueue(self, job: Job) -> None:
        waiting = len(self._queue)
        place = next((i for i in range(waiting) if not self._queue[i].interactive), waiting)
        self._queue.insert(place if job.interactive else waiting, job)
        self._lock.notify_all()

    def _leave(self, job: Job, visitor: str) -> bool:
        with self._lock:
            if self._wanted.get(job.key) is not job or visitor not in job._visitors:
                return False
            job._visitors.discard(visitor)
            job._left.add(visitor)
            if job._visitors:
                return False
            self._stop(job)
            return True

    def _stop(self, job: Job) -> None:
        del self._wanted[job.key]
        if job is self._running:
            job._cancelling = True
        else:
            self._queue.remove(job)
            self._finish(job, "cancelled")

    def _report(self, job: Job, fraction: float | None, message: str) -> None:
        with self._lock:
            self._check(job)
            if fraction is not None:
                fraction = min(max(fraction, 0.0), 1.0) if math.isfinite(fraction) else None
            job._fraction = fraction
            job._message = message or job._message
            job._pace.report(fraction, self._clock())

    def _publish(self, job: Job, name: str, value: Any) -> None:
        with self._lock:
            self._check(job)
            job._partial[name] = value

    def _check(self, job: Job) -> None:
        # The running job looks after the visitors itself: when all have gone, nobody else calls.
        self.reap()
        if job._cancelling:
            raise Cancelled

    def _work(self) -> None:
        while True:
            with self._lock:
                while not self._queue and not self._closed:
                    self._lock.wait()
                if self._closed:
                    return
                self.reap()
                if not self._queue:
                    continue
                job = self._running = self._queue.pop(0)
                job._state = "running"
                job._started = self._clock()
                job._pace = Pace(job._started)
            self._run(job)
            # Without this, an idle thread would keep the last result alive after the cache has dropped it.
            del job

    def _run(self, job: Job) -> None:
        assert job._function is not None
        result: Any = None
        state: State = "failed"
        error = ""
        try:
            result = job._function(Reporter(self, job))
            state = "done"
        except Cancelled:
            state = "cancelled"
        except EqlinError as failure:
            error = str(failure)
        except BaseException as failure:
            # Not only Exception: one bad job must never end the thread that serves everyone.
            logger.exception("The job %r failed.", job.label)
            error = sentence(failure, job.label)
        size = bytes_of([result, job._partial]) if state == "done" else 0
        with self._lock:
            self._running = None
            if job._cancelling:
                state = "cancelled"
            else:
                self._wanted.pop(job.key, None)
            if state == "done":
                job._result, job._fraction = result, 1.0
                self._keep(job, size)
            job._error = error if state == "failed" else ""
            self._finish(job, state)

    def _finish(self, job: Job, state: State) -> None:
        job._state, job._cancelling = state, False
        job._ended = self._clock()
        job._function = None  # it may hold arrays
        job._finished.set()

    def _keep(self, job: Job, size: int) -> None:
        if self._closed:
            return
        self._done[job.key] = (job, size)
        while len(self._done) > 1 and sum(size for _, size in self._done.values()) > self._cache_bytes:
            self._done.popitem(last=False)

    def _snapshot(self, job: Job, visitor: str | None) -> Snapshot:
        with self._lock:
            left = visitor in job._left
            place = self._queue.index(job) if job._state == "queued" else -1
            running = job._state == "running"
            until = self._clock() if running else job._ended
            return Snapshot(
                key=job.key,
                label=job.label,
                state="cancelled" if left else job._state,
                position=place + 1,
                ahead=place + (self._running is not None) if place >= 0 else 0,
                fraction=job._fraction,
                message=job._message,
                elapsed=0.0 if job._started is None else until - job._started,
                seconds_left=job._pace.seconds_left(until) if running else None,
                cancelling=job._cancelling,
                result=None if left else job._result,
                partial=dict(job._partial),
                error=job._error,
            )
