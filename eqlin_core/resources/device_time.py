"""Waiting for a device that works on its own, and how long it takes: by its own events where it has them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch


def wait(device: torch.device) -> None:
    """Return when the device has done all that this thread has asked of it; at once on a CPU."""
    if device.type == "cuda":
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(device))
        event.synchronize()
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_on(device: torch.device, call: Callable[[], Any]) -> float:
    """How long the device takes for ``call()``, without the time in which it is only asked."""
    wait(device)
    if device.type not in ("cuda", "mps"):
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    kind: Any = torch.cuda.Event if device.type == "cuda" else torch.mps.Event
    first, last = (kind(enable_timing=True) for _ in range(2))
    first.record()
    call()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last)) / 1000
