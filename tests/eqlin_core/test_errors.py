"""Which errors say that the memory does not suffice, in the words of every device."""

from __future__ import annotations

import pytest
import torch

from eqlin_core import EqlinError
from eqlin_core.errors import out_of_memory


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 64 bytes."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
        RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB, other allocations: 7.10 GB)"),
        RuntimeError("Invalid buffer size: 16.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory"),
    ],
)
def test_every_dialect_is_understood(error: Exception) -> None:
    assert out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        EqlinError("out of memory"),
        ValueError("out of memory"),
    ],
)
def test_nothing_else_is(error: Exception) -> None:
    assert not out_of_memory(error)
