"""Floating-point types: their names, those that coefficients are held in, and the way of a tensor into NumPy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Kinds of devices that compute in float32 at most.
WITHOUT_FLOAT64 = {"mps"}


def coefficient_dtype(dtype: torch.dtype) -> torch.dtype:
    """float64 for float64, float32 for everything below: frozen coefficients are never half precision."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def dtype_name(dtype: torch.dtype) -> str:
    """The name without its module: "float64"."""
    return str(dtype).removeprefix("torch.")


def has_float64(device: torch.device) -> bool:
    """Whether tensors in float64 can exist on this device; on Apple's GPUs they cannot."""
    return device.type not in WITHOUT_FLOAT64


def wide(tensor: Tensor) -> Tensor:
    """The values in float64, where they are; on the CPU where their device has no float64."""
    return tensor.double() if has_float64(tensor.device) else tensor.cpu().double()


def to_numpy(tensor: Tensor) -> np.ndarray:
    """The values in float64, on the CPU, without their graph."""
    return tensor.detach().cpu().double().numpy()
