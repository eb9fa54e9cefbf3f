"""How far a tensor is from another one."""

from __future__ import annotations

from torch import Tensor


def relative_error(value: Tensor, reference: Tensor) -> float:
    """||value - reference|| / ||reference||, in float64."""
    reference = reference.double()
    return float((value.double() - reference).norm() / reference.norm())
