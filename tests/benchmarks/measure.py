"""Time and memory of alternatives, measured side by side in one process and compared as ratios."""

from __future__ import annotations

import ctypes
import gc
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

import psutil
import torch

MIB = 2**20


@dataclass(frozen=True)
class Measured:
    """Median seconds of one call, and the most bytes it held at once beyond what was held before."""

    seconds: float
    peak_bytes: int


def measure(calls: Mapping[str, Callable[[], Any]], rounds: int = 5) -> dict[str, Measured]:
    """Each call's median time over ``rounds`` taken in turn, so that a busy moment hits all; after a warm-up.

    With no rounds the warm-up is what is timed.
    """
    peaks = {}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for name, call in calls.items():
        with peak_memory() as peak:
            start = time.perf_counter()
            call()
            if not rounds:
                times[name].append(time.perf_counter() - start)
        peaks[name] = peak[0]
    for _ in range(rounds):
        for name, call in calls.items():
            gc.collect()
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: Measured(statistics.median(times[name]), peaks[name]) for name in calls}


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """A list whose only item is, after the block, the largest growth of the process's own memory within it, in bytes.

    Pages of mapped files (weights, scratch files) do not count: the system takes and brings them back as it likes.
    """
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    process, grown, stop = psutil.Process(), [0], threading.Event()

    def own() -> int:
        memory = process.memory_info()
        return memory.rss - getattr(memory, "shared", 0)  # only Linux tells what is mapped

    before = own()

    def watch() -> None:
        while not stop.wait(0.002):
            grown[0] = max(grown[0], own() - before)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield grown
    finally:
        stop.set()
        thread.join()


def machine() -> str:
    """One line on when and where the numbers were measured."""
    cores = psutil.cpu_count(logical=True)
    memory = psutil.virtual_memory().total / 2**30
    threads = torch.get_num_threads()
    return (
        f"{date.today().isoformat()}, {processor()}, {cores} cores ({threads} threads), {memory:.0f} GiB, "
        f"Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}, {sys.platform}"
    )


def processor() -> str:
    """The processor's name as the system gives it."""
    with suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, columns padded so that it also reads as plain text."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [header, ["-" * w for w in widths], *rows]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)
