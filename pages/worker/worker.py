"""What owns the model: pages hand it jobs, look at how they are getting on, and take the results.

A page submits a job under a key that names everything its result depends on. Whoever asks for the same key gets the
same job, whether it waits, runs, or is done. Pages keep the job they got and poll `job.snapshot(visitor)`; they do not
submit again at every rerun, because a job that failed or was cancelled starts anew when it is submitted again.

One job computes at a time. Whenever it reports it may give way to another one: it stops where it is, on a thread of its
own, keeps what it has, and goes on when its turn comes again.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

from eqlin_core.errors import Cancelled, EqlinError
from pages.worker.job import Durations, Pace, Snapshot, State, bytes_of, poisoned, sentence
from pages.worker.lanes import Lane
from pages.worker.schedule import Schedule

logger = logging.getLogger(__name__)

# Browsers let a hidden tab's timers fire once a minute: after less, the jobs of hidden tabs would be cancelled.
ABSENCE_SECONDS = 90.0
# A browser whose connection broke comes back within a moment; one that was reloaded comes back as another visitor.
RETURN_SECONDS = 5.0
CACHE_BYTES = 1 << 30
_CLOSED = "The worker was shut down; restart the app."


class Reporter:
    """What a job's function is given, to report and to publish with; both raise `Cancelled` once it has to stop."""

    def __init__(self, worker: Worker, job: Job) -> None:
        self._worker, self._job = worker, job

    def __call__(self, fraction: float | None = None, message: str = "") -> None:
        """Report the share of the work done (None: not known) and what is being done (empty: as before).

        Here the job may give way to others: it returns when its turn has come again.
        """
        self._worker._report(self._job, fraction, message)

    def publish(self, name: str, value: Any) -> None:
        """Make a part of the result visible before the whole is done."""
        self._worker._publish(self._job, name, value)

    @contextmanager
    def alone_with(self, thing: Hashable) -> Iterator[None]:
        """Within the context no other job is alone with the same thing; waits, giving way, until none is."""
        taken = self._worker._take(self._job, thing)
        try:
            yield
        finally:
            if taken:
                self._worker._give_back(thing)


class Job:
    """A computation asked for by one or more visitors. Made by `Worker.submit` and `Worker.ended` only."""

    def __init__(
        self,
        worker: Worker,
        key: Hashable,
        function: Callable[[Reporter], Any] | None,
        label: str,
        interactive: bool,
        beside: bool = False,
    ) -> None:
        self.key, self.label = key, label
        self._worker = worker
        self._function = function
        self._visitors: set[str] = set()
        self._left: set[str] = set()
        self._ticket = worker._schedule.enter(self._visitors, interactive, beside)
        self._go_on = threading.Event()
        self._thread: threading.Thread | None = None
        self._state: State = "queued"
        self._cancelling = False
        self._fraction: float | None = None
        self._message = ""
        self._ended: float | None = None
        self._pace = Pace()
        self._partial: dict[str, Any] = {}
        self._result: Any = None
        self._error = ""
        self._finished = threading.Event()

    @property
    def interactive(self) -> bool:
        """Whether somebody waits for it before anything else."""
        return self._ticket.interactive

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
    """The jobs of all visitors, one of which computes at a time, in the order of `pages.worker.schedule`.

    Results of finished jobs are kept, the least recently asked for dropped first, while they take less than
    `cache_bytes`; the newest always stays. A job is cancelled when none of its visitors was seen for `absence` seconds,
    or when none is `connected` and was seen for `RETURN_SECONDS`. `on_loss` is called when a thread died under a job.
    """

    def __init__(
        self,
        *,
        cache_bytes: int = CACHE_BYTES,
        absence: float = ABSENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        connected: Callable[[str], bool] = lambda _visitor: True,
        on_loss: Callable[[], None] = lambda: None,
    ) -> None:
        self._cache_bytes, self._absence, self._clock, self._connected = cache_bytes, absence, clock, connected
        self._on_loss = on_loss
        self._lock = threading.RLock()
        self._held: dict[Hashable, Job] = {}
        self._schedule = Schedule(clock, held=self._held)
        self._running: Job | None = None
        self._wanted: dict[Hashable, Job] = {}  # unfinished, and not told to stop
        self._unfinished: dict[int, Job] = {}  # by the order of their tickets, also those told to stop
        self._done: OrderedDict[Hashable, tuple[Job, int]] = OrderedDict()  # with the bytes of each result
        self._last_seen: dict[str, float] = {}
        self._durations = Durations()
        self._idle: list[Lane[Job]] = []
        self._lanes: list[Lane[Job]] = []
        self._broken = ""
        self._closed = False

    def submit(
        self,
        key: Hashable,
        function: Callable[[Reporter], Any],
        *,
        label: str,
        visitor: str,
        interactive: bool = False,
        beside: bool = False,
    ) -> Job:
        """The job of this key: the one that waits, runs or is done already, else a new one.

        `label` names the job to people ("the matrix of 7 tokens"). `beside`: it computes nothing itself, and is in
        nobody's way. Raises EqlinError after `shutdown`.
        """
        with self._lock:
            if self._closed:
                raise EqlinError(_CLOSED)
            self._last_seen[visitor] = self._clock()
            self._schedule.arrive(visitor)
            if key in self._done:
                self._done.move_to_end(key)
                job = self._done[key][0]
            elif key in self._wanted:
                job = self._wanted[key]
                job._ticket.interactive = job.interactive or interactive
            else:
                job = Job(self, key, function, label, interactive, beside)
                self._unfinished[job._ticket.order] = job
                self._wanted[key] = job
            job._left.discard(visitor)
            job._visitors.add(visitor)
            self.reap()
            self._dispatch()
            return job

    def ended(self, key: Hashable, result: Any, label: str, visitor: str) -> Job:
        """A job that ended in this result before it began: it takes no turn, and whoever submits its key gets another.

        Raises EqlinError after `shutdown`.
        """
        with self._lock:
            if self._closed:
                raise EqlinError(_CLOSED)
            self._last_seen[visitor] = self._clock()
            job = Job(self, key, None, label, True)
            self._schedule.leave(job._ticket)
            job._visitors.add(visitor)
            job._state, job._fraction, job._result = "done", 1.0, result
            job._ended = self._clock()
            job._finished.set()
            return job

    def queue(self) -> list[Snapshot]:
        """The running job and those that wait, in the order in which they will be served."""
        with self._lock:
            return [self._snapshot(job, None) for job in self._line()]

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
            self._look_after()

    def reap(self) -> list[Job]:
        """Cancel the jobs whose visitors have all gone, and return them."""
        with self._lock:
            self._last_seen = {visitor: at for visitor, at in self._last_seen.items() if self._is_here(visitor, at)}
            orphans = [job for job in self._wanted.values() if job._visitors.isdisjoint(self._last_seen)]
            for job in orphans:
                self._stop(job)
            return orphans

    def _is_here(self, visitor: str, seen: float) -> bool:
        away = self._clock() - seen
        return away <= (self._absence if self._connected(visitor) else min(self._absence, RETURN_SECONDS))

    def shutdown(self, timeout: float | None = 5.0) -> bool:
        """Cancel everything and end the threads. True when they ended within `timeout` seconds."""
        with self._lock:
            self._closed = True
            for job in list(self._wanted.values()):
                self._stop(job)
            self._done.clear()
            self._dispatch()
            lanes = list(self._lanes)
            for lane in self._idle:
                lane.end()
        for lane in lanes:
            lane.thread.join(timeout)
        return not any(lane.thread.is_alive() for lane in lanes)

    # ---- turns ------------------------------------------------------------------------------------------------------

    def _line(self) -> list[Job]:
        """The job that computes and then all others, in the order in which they will be served."""
        first = self._running
        others = self._schedule.in_order(but=None if first is None else first._ticket)
        return [*([first] if first else []), *(self._unfinished[ticket.order] for ticket in others)]

    def _dispatch(self) -> None:
        """Let the next job compute, if none does."""
        if self._running is not None:
            return
        ticket = self._schedule.next()
        if ticket is None:
            return
        job = self._running = self._unfinished[ticket.order]
        starts = job._state == "queued"
        self._schedule.begin_turn(ticket)
        job._state = "running"
        job._pace.go_on(self._clock())
        if not starts:
            job._go_on.set()
            return
        lane = self._idle.pop() if self._idle else self._new_lane()
        lane.start(job)

    def _new_lane(self) -> Lane[Job]:
        lane: Lane[Job] = Lane(self._run, lambda: self._closed, f"eqlin-worker-{len(self._lanes)}")
        self._lanes.append(lane)
        return lane

    def _step_aside(self, job: Job) -> None:
        """Let others compute, and return when it is this job's turn again. Called without the lock, by the job."""
        with self._lock:
            job._go_on.clear()
            job._state = "paused"
            job._pace.pause(self._clock())
            self._schedule.end_turn(job._ticket)
            self._running = None
            self._dispatch()
        job._go_on.wait()
        with self._lock:
            self._check(job)

    def _take(self, job: Job, thing: Hashable) -> bool:
        """Wait until nobody else has the thing. False where the job has it already."""
        while True:
            with self._lock:
                self._check(job)
                holder = self._held.get(thing)
                if holder is None:
                    self._held[thing] = job
                if holder is None or holder is job:
                    job._ticket.waits_for = None
                    return holder is None
                job._ticket.waits_for = thing
            self._step_aside(job)

    def _give_back(self, thing: Hashable) -> None:
        with self._lock:
            self._held.pop(thing, None)

    def _report(self, job: Job, fraction: float | None, message: str) -> None:
        with self._lock:
            if job is not self._running:
                return  # a hook that this job left in a graph, met by the job that runs meanwhile
            self._check(job)
            if fraction is not None:
                fraction = min(max(fraction, 0.0), 1.0) if math.isfinite(fraction) else None
            job._fraction = fraction
            job._message = message or job._message
            job._pace.report(fraction, self._clock())
            # Only on its own thread can it stop: a device's threads also serve the reverse passes of others.
            if threading.current_thread() is not job._thread or not self._schedule.gives_way(job._ticket):
                return
        self._step_aside(job)

    def _publish(self, job: Job, name: str, value: Any) -> None:
        with self._lock:
            self._check(job)
            job._partial[name] = value

    def _check(self, job: Job) -> None:
        # The running job looks after the visitors itself: when all have gone, nobody else calls.
        self.reap()
        if job._cancelling:
            raise Cancelled

    # ---- ends -------------------------------------------------------------------------------------------------------

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
        if job._state == "queued":
            self._finish(job, "cancelled")
            return
        job._cancelling = job._ticket.stopping = True
        self._dispatch()

    def _run(self, job: Job, lane: Lane[Job]) -> None:
        assert job._function is not None
        result: Any = None
        state: State = "failed"
        error = self._broken
        job._thread = threading.current_thread()
        try:
            if not error:
                result = job._function(Reporter(self, job))
                state = "done"
        except Cancelled:
            state = "cancelled"
        except EqlinError as failure:
            error = str(failure)
        except BaseException as failure:
            # Not only Exception: one bad job must never end the thread that serves everyone.
            logger.exception("The job %r failed.", job.label)
            error = self._broken = poisoned(failure)
            error = error or sentence(failure, job.label)
        size = bytes_of([result, job._partial]) if state == "done" else 0
        with self._lock:
            lane.job = None
            self._idle.append(lane)
            if job._cancelling:
                state = "cancelled"
            if state == "done":
                job._result, job._fraction = result, 1.0
                self._keep(job, size)
            job._error = error if state == "failed" else ""
            self._finish(job, state)

    def _finish(self, job: Job, state: State) -> None:
        """The job has ended; whoever is next computes."""
        if job is self._running:
            self._schedule.end_turn(job._ticket)
            self._running = None
        if state == "done":
            self._durations.note(job.label, job._ticket.served)
        if self._wanted.get(job.key) is job:
            del self._wanted[job.key]
        del self._unfinished[job._ticket.order]
        for thing in [thing for thing, holder in self._held.items() if holder is job]:
            del self._held[thing]
        self._schedule.leave(job._ticket)
        job._state, job._cancelling = state, False
        job._ended = self._clock()
        job._function = None  # it may hold arrays
        job._finished.set()
        self._dispatch()

    def _keep(self, job: Job, size: int) -> None:
        if self._closed:
            return
        self._done[job.key] = (job, size)
        while len(self._done) > 1 and sum(size for _, size in self._done.values()) > self._cache_bytes:
            self._done.popitem(last=False)

    def _look_after(self) -> None:
        """Fail what a thread that died left behind, so that the others go on."""
        for lane in [lane for lane in self._lanes if not lane.thread.is_alive()]:
            self._lanes.remove(lane)
            if lane in self._idle:
                self._idle.remove(lane)
            job = lane.job
            if self._closed or job is None or job._finished.is_set():
                continue
            logger.error("The thread of the job %r died.", job.label)
            self._on_loss()
            job._error = f"The thread that computed {job.label} died and is replaced; ask again."
            self._finish(job, "failed")

    def _snapshot(self, job: Job, visitor: str | None) -> Snapshot:
        with self._lock:
            left = visitor in job._left
            running, finished = job._state == "running", job._finished.is_set()
            ahead = [] if running or finished else self._line()
            ahead = ahead[: ahead.index(job)] if ahead else []
            now = self._clock()
            return Snapshot(
                key=job.key,
                label=job.label,
                state="cancelled" if left else job._state,
                position=0 if running or finished else len(ahead) + (self._running is None),
                ahead=len(ahead),
                behind=ahead[0].label if ahead else "",
                starts_in=self._starts_in(job, ahead, now) if ahead else None,
                fraction=job._fraction,
                message=job._message,
                elapsed=self._served(job, now),
                seconds_left=job._pace.seconds_left(now) if running else None,
                cancelling=job._cancelling,
                result=None if left else job._result,
                partial=dict(job._partial),
                error=job._error,
                beside=job._ticket.beside,
            )

    def _served(self, job: Job, now: float) -> float:
        return job._ticket.served + (now - job._ticket.turn if job._state == "running" else 0.0)

    def _starts_in(self, job: Job, ahead: list[Job], now: float) -> float | None:
        """Seconds until all ahead have ended, by their pace or what such jobs took; None where that is not known."""
        total = 0.0
        for other in ahead:
            served = self._served(other, now)
            if job._ticket.quick() and not other._ticket.quick(served - other._ticket.served):
                continue  # it gives way
            left = other._pace.seconds_left(now)
            if left is None:
                left = self._durations.left(other.label, served)
            if left is None:
                return None
            total += left
        return total
