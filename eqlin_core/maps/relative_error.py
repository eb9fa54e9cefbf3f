"""How far a tensor is from another one."""

from __future__ import annotations

from torch import Tensor

from eqlin_core.dtypes import wide


def relative_error(value: Tensor, reference: Tensor) -> float:
    """||value - reference|| / ||reference||, in float64."""
    reference = wide(reference)
    return float((wide(value).to(reference.device) - reference).norm() / reference.norm())
