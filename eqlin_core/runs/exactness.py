"""How exact a run is, and from which error on it is not called exact any more."""

from __future__ import annotations

from dataclasses import dataclass, field

from eqlin_core.reprs import Facts, html_table

# Relative errors up to which a run is called exact. Reconstruction: an order above the floor of the dtype's rounding
# through a deep network. Forward: stock models compute norms and softmax in float32 even in float64.
BOUNDS = {
    "float64": (1e-13, 1e-4),
    "float32": (2e-5, 1e-3),
    "float16": (2e-2, 5e-2),
    "bfloat16": (8e-2, 2e-1),
}
# Of float32 with products in TF32, which has as many digits as float16; an H200 came to an eighth of it at most.
_TF32 = BOUNDS["float16"]


def bounds_of(dtype: str, products: str = "ieee") -> tuple[float, float]:
    """The bounds of (reconstruction, forward) in a dtype whose numbers are multiplied in this way."""
    return _TF32 if products == "tf32" and dtype == "float32" else BOUNDS[dtype]


@dataclass(frozen=True)
class Exactness:
    """How well a map reproduces its model: two relative errors, and what leaked where they are too large.

    ``reconstruction`` = ||sum J_i x_i + b - y|| / ||y|| with y of the frozen network; ``forward`` = ||y - y_stock|| /
    ||y_stock|| against the untouched model; ``exact`` says whether both are within the bound of ``dtype`` and the
    recorded graph holds no leak. ``products`` says how float32 numbers were multiplied: "ieee", all digits, or "tf32".
    """

    reconstruction: float
    forward: float
    dtype: str
    exact: bool
    leaks: list[str] = field(default_factory=list)
    products: str = "ieee"

    @property
    def bounds(self) -> tuple[float, float]:
        """From which (reconstruction, forward) on the run is not called exact any more."""
        return bounds_of(self.dtype, self.products)

    @property
    def arithmetic(self) -> str:
        """The dtype, and how its numbers were multiplied where that is not by all digits."""
        return f"{self.dtype}, products in TF32" if self.products == "tf32" else self.dtype

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self._facts())

    def _facts(self) -> Facts:
        yield "exact", "yes" if self.exact else "NO"
        yield "reconstruction", f"{self.reconstruction:.2e} (bound {self.bounds[0]:.0e})"
        yield "forward", f"{self.forward:.2e} (bound {self.bounds[1]:.0e})"
        yield "dtype", self.arithmetic
        for leak in self.leaks:
            yield "leak", leak
