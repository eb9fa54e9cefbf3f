"""``python -m tests.benchmarks.refined``: spectra refined from a matrix of lower precision beside the direct ones.

On the default model, a CPU: how many passes they take, the seconds of both ways, and how far apart the values are.
"""

from __future__ import annotations

import argparse
from functools import partial

import eqlin_core as eq
from tests.benchmarks.measure import machine, markdown, measure
from tests.cases import MARIN, default_model

HEAD = ["run", "passes", "of rows of the matrix", "refined", "direct", "values apart", "residual"]


def row(dtype: str, k: int, rounds: int) -> list[str]:
    """One run's line of the table: values and residuals over the largest value of a token."""
    lm = default_model(dtype)

    def spectrum(method: str) -> eq.Spectrum:
        return eq.spectrum(eq.linearize(lm, MARIN), k, method=method)

    took = measure({method: partial(spectrum, method) for method in ("refined", "direct")}, rounds)
    refined, direct = spectrum("refined"), spectrum("direct")
    assert isinstance(refined, eq.RefinedSpectrum)
    apart = float(((refined.S - direct.S).abs() / direct.S[:, :1]).max())
    seconds = [f"{took[method].seconds:.1f} s" for method in ("refined", "direct")]
    passes = [str(refined.passes), str(lm.width)]
    return [f"{dtype}, k={k}", *passes, *seconds, f"{apart:.0e}", f"{float(refined.residuals.max()):.0e}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rows = [row(dtype, k, options.rounds) for dtype in ("float32", "float64") for k in (8, 24)]
    print(f"{markdown(HEAD, rows)}\n\n{machine()}; 7 tokens.")


if __name__ == "__main__":
    main()
