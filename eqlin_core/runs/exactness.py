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


@dataclass(frozen=True)
class Exactness:
    """How well a map reproduces its model: two relative errors, and what leaked where they are too large.

    ``reconstruction`` = ||sum J_i x_i + b - y|| / ||y|| with y of the frozen network; ``forward`` = ||y - y_stock|| /
    ||y_stock|| against the untouched model; ``exact`` says whether both are within the bound of ``dtype`` and the
    recorded graph holds no leak.
    """

    reconstruction: float
    forward: float
    dtype: str
    exact: bool
    leaks: list[str] = field(default_factory=list)

    def _repr_html_(self) -> str:
        return html_table(type(self).__name__, self._facts())

    def _facts(self) -> Facts:
        yield "exact", "yes" if self.exact else "NO"
        yield "reconstruction", f"{self.reconstruction:.2e} (bound {BOUNDS[self.dtype][0]:.0e})"
        yield "forward", f"{self.forward:.2e} (bound {BOUNDS[self.dtype][1]:.0e})"
        yield "dtype", self.dtype
        for leak in self.leaks:
            yield "leak", leak
