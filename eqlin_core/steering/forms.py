"""The forms in which a push acts on the residual stream, each with the strength at which nothing is steered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.runs.steering import UNSTEERED, FormName


@dataclass(frozen=True)
class Form:
    """h <- h + units(strength) delta(h, a): what a push a [rows, new, d] does to a block's input h [rows, new, d].

    ``sign`` is +1 where the push grows with the strength and -1 where it shrinks; ``combines``: whether several
    operators may act together.
    """

    name: FormName
    sign: float
    combines: bool
    _delta: Callable[[Tensor, Tensor], Tensor]

    @property
    def unsteered(self) -> float:
        """The strength at which h stays as it is."""
        return UNSTEERED[self.name]

    def units(self, strength: Tensor) -> Tensor:
        """How many times ``delta`` is added at a strength."""
        return self.sign * (strength - self.unsteered)

    def delta(self, h: Float[Tensor, "rows new d"], a: Float[Tensor, "#rows new d"]) -> Float[Tensor, "rows new d"]:
        """What one unit adds to h, in the wider of both precisions, at least float32."""
        wide = h.to(torch.promote_types(a.dtype, coefficient_dtype(h.dtype)))
        return self._delta(wide, a.to(wide))


def form_of(name: str) -> Form:
    """The form of this name. Raises EqlinError where there is none."""
    forms = {form.name: form for form in (REFERENCE, INTERPOLATION)}
    return forms[arguments.choice("form", name, forms)]  # type: ignore[index]


def _half_as_long(h: Tensor, a: Tensor) -> Tensor:
    size = a.norm(dim=-1, keepdim=True)
    # A push of length zero has no direction and is none.
    return a * torch.where(size > 0, h.norm(dim=-1, keepdim=True) / (2 * size), 0.0)


# h + s a ||h|| / (2 ||a||), of the reference code; and s h + (1 - s) a, equation 16 of Golden 2025.
REFERENCE = Form("reference", 1.0, True, _half_as_long)
INTERPOLATION = Form("interpolation", -1.0, False, lambda h, a: a - h)
