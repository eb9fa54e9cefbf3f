"""Made-up runs and spectra for reports: no model, every number known, tokens as nasty as tokens can be."""

from __future__ import annotations

import numpy as np

from eqlin_core.runs.exactness import Exactness
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from tests.eqlin_core.runs.test_compare import made

# What would run, load or break something if a page took it for more than text.
NASTY = [
    "The",
    "</script><script>window.hit = 1</script>",
    " <img src=x onerror='window.hit = 2'>",
    '"><svg onload=window.hit=3>',
    "<!--eqlin:proof-->",
    "&lt;b&gt; ${window.hit = 4} \u2028 \u202e",
]


def spectra_of(run: TokenRun, k: int = 3) -> SpectrumRun:
    """Orthonormal triplets for every token of a run, which read as its own tokens."""
    random = np.random.default_rng(1)
    T, d = run.contributions.shape
    U, V = (np.linalg.qr(random.normal(size=(T, d, d)))[0][..., :k] for _ in range(2))
    reads = [[[(token, 0.5) for token in run.tokens] for _ in range(k)] for _ in range(T)]
    return SpectrumRun(
        key=run.key,
        tokens=run.tokens,
        U=U,
        S=np.sort(random.uniform(1, 9, (T, k)))[:, ::-1].copy(),
        Vh=V.swapaxes(1, 2).copy(),
        stable_rank=np.asarray(random.uniform(1, 4, T)),
        projections=random.normal(size=(T, k)),
        reads_u=reads,
        reads_v=reads,
        exactness=Exactness(0.0, 0.0, run.key.dtype, True),
    )


def nasty_run() -> TokenRun:
    """A run whose prompt and tokens are markup, scripts and marks of a report's own."""
    return made(NASTY, seed=3)
