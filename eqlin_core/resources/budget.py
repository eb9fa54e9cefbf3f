"""How much memory is free, how many rows of a computation fit into it, and what happens when they did not."""

from __future__ import annotations

import gc
from collections.abc import Callable

import psutil
import torch

from eqlin_core.errors import EqlinError, out_of_memory

# On a CPU more rows than this at a time leave the cache and gain nothing; measured on the default model.
_CPU_ROWS = 4096
_GIB = 2**30


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated on ``device`` now, torch's own cached blocks counted as free."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return psutil.virtual_memory().available


def chunk_size(bytes_per_item: int, positions_per_item: int, device: torch.device, budget: int | None = None) -> int:
    """Items that can be processed together within ``budget`` bytes (a quarter of the free memory unless given)."""
    budget = free_bytes(device) // 4 if budget is None else budget
    fitting = max(1, budget // max(1, bytes_per_item))
    if device.type == "cpu":
        fitting = min(fitting, max(1, _CPU_ROWS // max(1, positions_per_item)))
    return fitting


def in_chunks(total: int, chunk: int, compute: Callable[[int, int], None]) -> None:
    """``compute(start, stop)`` over 0..total, ``chunk`` at a time; half as many from where the memory did not suffice.

    Raises EqlinError when there is no memory for a single one.
    """
    start = 0
    while start < total:
        stop = min(start + chunk, total)
        if _fits(compute, start, stop):
            start = stop
        elif stop - start == 1:
            raise EqlinError(
                "The memory does not suffice for one row at a time: shorten the prompt, choose a lower precision or a "
                "smaller model, or close other programs."
            )
        else:
            chunk = (stop - start) // 2
            gc.collect()  # what the failed attempt held
            release()


def release() -> None:
    """Give what torch keeps of freed memory back to the devices."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def _fits(compute: Callable[[int, int], None], start: int, stop: int) -> bool:
    try:
        compute(start, stop)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        return False
    return True


def require(needed: int, device: torch.device, what: str, tokens: int) -> None:
    """Raise EqlinError, saying both numbers, when ``needed`` bytes for ``what`` are not free on ``device``."""
    free = free_bytes(device)
    if needed > free:
        raise EqlinError(
            f"{what} for {tokens} tokens needs {needed / _GIB:.1f} GiB and {free / _GIB:.1f} GiB are free on "
            f"{device}; shorten the prompt, choose a lower precision or a smaller model."
        )
