"""What is said about one job: how it stands, how long it will take, what it weighs, and why it failed."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["queued", "running", "paused", "done", "failed", "cancelled"]  # paused: it gave way, and goes on

# Below this share of the work, the time left is noise.
SHARE_BEFORE_ESTIMATE = 0.03
_KEPT_DURATIONS = 64  # labels


@dataclass(frozen=True)
class Snapshot:
    """A job at one moment, as one visitor sees it."""

    key: Hashable
    label: str
    state: State
    position: int  # place in the queue, 1 is next; 0 when it does not wait
    ahead: int  # jobs before this one, the running one included
    behind: str  # the label of the job that computes meanwhile; empty when it does not wait
    starts_in: float | None  # seconds until those ahead will have ended; None when that is not known
    fraction: float | None  # of the work done, 0 to 1; None when that is not known
    message: str
    elapsed: float  # seconds of running
    seconds_left: float | None
    cancelling: bool  # running, and told to stop at its next progress report
    result: Any
    partial: Mapping[str, Any]  # what the job has published so far
    error: str  # one sentence; empty unless failed
    beside: bool = False  # it goes on while others compute

    @property
    def finished(self) -> bool:
        """True when nothing will change any more, so polling can stop."""
        return self.state in ("done", "failed", "cancelled")


class Pace:
    """How fast the fraction done grows, and from that how long the rest will take."""

    def __init__(self) -> None:
        self._first = self._latest = (0.0, math.inf)
        self._paused: float | None = None

    def pause(self, now: float) -> None:
        """The work stands still from now on."""
        self._paused = now

    def go_on(self, now: float) -> None:
        """The work goes on; the time for which it stood still does not count."""
        if self._paused is not None:
            still = now - self._paused
            self._first, self._latest = ((fraction, at + still) for fraction, at in (self._first, self._latest))
            self._paused = None

    def report(self, fraction: float | None, now: float) -> None:
        """Take in a report. The first one, and one that is not known, zero, or lower, begins a new stretch of work.

        What was there before the first did not have to be computed.
        """
        self._latest = (fraction or 0.0, now)
        if not fraction or fraction < self._first[0] or self._first[1] == math.inf:
            self._first = self._latest

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the fraction reaches 1 at the mean pace so far, or None when too little is done to tell."""
        now = now if self._paused is None else self._paused
        (began, begin), (fraction, reported) = self._first, self._latest
        gained = fraction - began
        if gained < SHARE_BEFORE_ESTIMATE:
            return None
        return max(0.0, (1.0 - fraction) * (reported - begin) / gained - (now - reported))


class Durations:
    """How long jobs of one label take, from those that have ended."""

    def __init__(self) -> None:
        self._mean: dict[str, float] = {}

    def note(self, label: str, seconds: float) -> None:
        """Take in one that has ended; the last few count most."""
        before = self._mean.pop(label, seconds)
        self._mean[label] = 0.6 * before + 0.4 * seconds
        while len(self._mean) > _KEPT_DURATIONS:
            del self._mean[next(iter(self._mean))]

    def left(self, label: str, served: float) -> float | None:
        """Seconds that such a job still needs when it ran for so long; None where none has ended."""
        mean = self._mean.get(label)
        return None if mean is None else max(0.0, mean - served)


def bytes_of(value: Any, _seen: set[int] | None = None) -> int:
    """The bytes a result takes: its `nbytes` where it has them, else the sum over its parts."""
    seen = set() if _seen is None else _seen
    if id(value) in seen:
        return 0
    seen.add(id(value))
    size = getattr(value, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(value, Mapping):
        parts = list(value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        parts = list(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        parts = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        parts = []
    return sys.getsizeof(value) + sum(bytes_of(part, seen) for part in parts)


def sentence(failure: BaseException, label: str) -> str:
    """What a page says about a failure that is not an EqlinError: what happened and what to do, never a traceback."""
    message = " ".join(str(failure).split())
    # PyTorch's class name on an accelerator; its texts for a failed allocation on the CPU and on Apple's GPUs.
    names = {kind.__name__ for kind in type(failure).__mro__}
    texts = ("can't allocate memory", "not enough memory", "out of memory")
    if names & {"MemoryError", "OutOfMemoryError"} or any(text in message for text in texts):
        return f"There was not enough memory for {label}; use a shorter prompt, a lower precision or a smaller model."
    shown = message[:200] + "…" if len(message) > 200 else message
    what = f"{type(failure).__name__}: {shown}" if shown else type(failure).__name__
    return f"Something went wrong inside {label}: {what.rstrip('.')}. The full report is in the server's log."


def poisoned(failure: BaseException) -> str:
    """What to say where an accelerator answers nothing any more in this process; empty for every other failure."""
    names = {kind.__name__ for kind in type(failure).__mro__}
    text = str(failure)
    lost = "AcceleratorError" in names or "CUDA error:" in text or "CUDNN_STATUS_INTERNAL_ERROR" in text
    if not lost or names & {"OutOfMemoryError"} or "out of memory" in text:
        return ""
    return "The GPU failed and answers nothing more in this process: restart the server. The full report is in its log."
