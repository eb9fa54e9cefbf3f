"""How much memory is free, and how many rows of a computation fit into it."""

from __future__ import annotations

import psutil
import torch

from eqlin_core.errors import EqlinError

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


def require(needed: int, device: torch.device, what: str, tokens: int) -> None:
    """Raise EqlinError, saying both numbers, when ``needed`` bytes for ``what`` are not free on ``device``."""
    free = free_bytes(device)
    if needed > free:
        raise EqlinError(
            f"{what} for {tokens} tokens needs {needed / _GIB:.1f} GiB and {free / _GIB:.1f} GiB are free on "
            f"{device}; shorten the prompt, choose a lower precision or a smaller model."
        )


def require_square(per_pair: int, device: torch.device, what: str, tokens: int) -> None:
    """The same for what takes ``per_pair`` bytes for every pair of tokens; the message says how many tokens fit."""
    free = free_bytes(device)
    if per_pair * tokens**2 > free:
        raise EqlinError(
            f"{what} for {tokens} tokens needs {per_pair * tokens**2 / _GIB:.1f} GiB and {free / _GIB:.1f} GiB are "
            f"free on {device}, which is enough for about {int((free / per_pair) ** 0.5)} tokens; shorten the prompt."
        )
