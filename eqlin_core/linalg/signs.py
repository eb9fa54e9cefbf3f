"""The sign of a singular triplet, which a decomposition leaves open: the one with which u points along the output."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def signed(
    U: Float[Tensor, "*batch m k"], Vh: Float[Tensor, "*batch k n"], y: Float[Tensor, "*#batch m"]
) -> tuple[Float[Tensor, "*batch m k"], Float[Tensor, "*batch k n"]]:
    """U and Vh with both signs of a triplet changed where u . y < 0, so that u . y >= 0 for all of them."""
    sign = torch.where((y.to(U)[..., None, :] @ U)[..., 0, :] < 0, -1.0, 1.0).to(U)
    return U * sign[..., None, :], Vh * sign[..., :, None]
