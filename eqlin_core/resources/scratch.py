"""Tensors in a scratch file, for what does not fit in memory. The file never outlives its process for long.

Where the system allows it, the file loses its name as soon as it is open: whatever happens to the process, its space is
free afterwards. Where it does not (Windows), the file carries its process's number and the next start removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from weakref import finalize

import numpy as np
import torch
from torch import Tensor

from eqlin_core.cache import cache_directory
from eqlin_core.disk import is_gone
from eqlin_core.errors import EqlinError

_GIB = 2**30
_RESERVE = 2**30  # left free on the disk for everybody else
_BITS = {torch.float64: np.float64, torch.float32: np.float32, torch.float16: np.float16, torch.bfloat16: np.int16}


def scratch_directory() -> Path:
    """Where scratch files are made: beside the bundled model, not in a temporary folder that may live in memory."""
    return cache_directory() / "scratch"


def free_disk(directory: Path | None = None) -> int:
    """Bytes that a scratch file may take."""
    place = directory or scratch_directory()
    while not place.exists():
        place = place.parent
    return max(0, shutil.disk_usage(place).free - _RESERVE)


def scratch_tensor(shape: Sequence[int], dtype: torch.dtype, directory: Path | None = None) -> Tensor:
    """A tensor of this shape whose memory is a file, gone with the tensor. Raises EqlinError when the disk is full."""
    place = directory or scratch_directory()
    size = int(np.prod(shape)) * dtype.itemsize
    try:
        place.mkdir(parents=True, exist_ok=True)
        sweep(place)
        file = place / f"{os.getpid()}-{secrets.token_hex(6)}.scratch"
        try:
            _reserve(file, size)
            array = np.memmap(file, dtype=_BITS[dtype], mode="r+", shape=tuple(shape))
        except BaseException:
            file.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise EqlinError(
                f"The matrix needs {size / _GIB:.1f} GiB in a scratch file and the disk is full: free some space, "
                "shorten the prompt or choose a lower precision."
            ) from error
        raise EqlinError(f"No scratch file can be made in the cache folder ({error.strerror or error}).") from error
    with contextlib.suppress(OSError):
        file.unlink()  # the mapping keeps the space until it is dropped
    if file.exists():
        finalize(array, file.unlink, missing_ok=True)
    return torch.from_numpy(array).view(dtype)


def sweep(directory: Path | None = None) -> None:
    """Remove the scratch files of processes that are gone."""
    for file in (directory or scratch_directory()).glob("*.scratch"):
        with contextlib.suppress(OSError):
            if is_gone(file.name.partition("-")[0], file.stat().st_mtime):
                file.unlink(missing_ok=True)


def _reserve(file: Path, size: int) -> None:
    """A file of ``size`` bytes that really has its space: a sparse one would end the process when the disk fills."""
    with file.open("xb") as handle:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle.fileno(), 0, size)
            return
        block = bytes(1 << 22)
        for start in range(0, size, len(block)):
            handle.write(block[: size - start])
