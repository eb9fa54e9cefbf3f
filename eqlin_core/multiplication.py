"""How float32 numbers are multiplied: by all their digits, whatever the process has set for its own passes.

GPUs (and some CPUs) can take products of float32 numbers from ten bits of each, called TF32, or from fewer. That is a
setting of the whole process, which other libraries change; a map computed by it has errors like those of a leak.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")
MODES = ("ieee", "tf32")

_cudnn: Any = torch.backends.cudnn
_mkldnn: Any = torch.backends.mkldnn
_BACKENDS: tuple[Any, ...] = (
    torch.backends.cuda.matmul,
    _cudnn.conv,
    _cudnn.rnn,
    _mkldnn.matmul,
    _mkldnn.conv,
    _mkldnn.rnn,
)
_lock = threading.Lock()
_wanted: dict[int, list[str]] = {}  # by thread: what its passes want, the innermost last
_found: list[str] = []  # how the process had it, while any pass runs


@contextmanager
def products(mode: str = "ieee") -> Iterator[None]:
    """Within the context products of float32 numbers are "ieee" (all digits) or "tf32"; after it, as they were before.

    Passes of several threads share the setting: as long as one of them wants "ieee", all have it.
    """
    thread = threading.get_ident()
    with _lock:
        if not _wanted:
            _found[:] = [backend.fp32_precision for backend in _BACKENDS]
        before = _effective()
        _wanted.setdefault(thread, []).append(mode)
        _change(before)
    try:
        yield
    finally:
        with _lock:
            before = _effective()
            _wanted[thread].pop()
            if not _wanted[thread]:
                del _wanted[thread]
            _change(before)


def passes(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator of what runs passes: their products are those of the map that it is called with, "ieee" by default.

    Derivatives exist in it, whatever mode the caller is in.
    """

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        mode = getattr(args[0], "products", MODES[0]) if args else MODES[0]
        with torch.inference_mode(mode=False), products(mode):
            return function(*args, **kwargs)

    return run


def _effective() -> str | None:
    """What all passes that run now get; None where none runs."""
    wanted = {modes[-1] for modes in _wanted.values()}
    return None if not wanted else "ieee" if "ieee" in wanted else wanted.pop()


def _change(before: str | None) -> None:
    now = _effective()
    if now == before:
        return
    for backend, found in zip(_BACKENDS, _found, strict=True):
        backend.fp32_precision = found if now is None else now
