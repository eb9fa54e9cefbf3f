"""The largest singular triplets of a few tokens with large contributions, by passes long before the matrix is there.

The matrix takes d reverse passes of all T positions, and nothing of it is finished early. The triplets of one token i
take some ten passes each, of the T - i positions that it reaches: little, where d is large or the token stands late.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from eqlin_core.analysis.prompt import READ, run_key
from eqlin_core.dtypes import to_numpy
from eqlin_core.linalg.krylov import Triplets, expected_passes
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.models.readout import read_input, read_output
from eqlin_core.progress import Progress, part
from eqlin_core.resources import budget, plan
from eqlin_core.runs.prompt import EarlySpectra
from eqlin_core.runs.values import Row
from eqlin_core.spectra.triplets import top_triplets

TRIPLETS = 6
TOKENS = 4
RANKED = 8  # they are chosen among so many tokens with the largest contributions
SHARE = 0.2  # of the matrix's passes that all of them may take together
WORTHWHILE = 10.0  # seconds that the matrix takes at least
# Relative residuals: the error of a singular value is about their square. Lower precisions hold no equation so well.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-4}
_MESSAGE = "Largest triplets of tokens with large contributions"
_BLOCK = 3
_ROWS = 64  # a pass of fewer positions takes as long, so that blocks of late tokens are wider


def early_tokens(lin: LinearMap, k: int = TRIPLETS, progress: Progress | None = None) -> list[int]:
    """The tokens whose triplets are worth having before the matrix, the one that takes longest last.

    None at all where the matrix is there or soon will be, in half precision, and where memory is scarce or weights are
    offloaded; and none that would delay the matrix, together with the others, by more than about a fifth.
    """
    pointless = lin.has_jacobian or lin.inputs.dtype not in _TOLERANCE or k > lin.width
    if pointless or plan.matrix_seconds(lin.lm, lin.n_tokens, lin.inputs.device, lin.convention) < WORTHWHILE:
        return []
    # Narrow passes would bring offloaded weights each time, and each token needs a graph of its own.
    offloaded = any(parameter.is_meta for parameter in lin.lm.model.parameters())
    if offloaded or plan.recorded_bytes(lin.lm, lin.n_tokens) > budget.free_bytes(lin.inputs.device) // 4:
        return []
    ranked = lin.contributions(progress).norm(dim=1).argsort(descending=True)[:RANKED].tolist()
    left = SHARE * lin.width * lin.n_tokens
    chosen: list[int] = []
    for token in ranked:
        cost = _cost(lin, token, k)
        if cost <= left and len(chosen) < TOKENS:
            chosen.append(token)
            left -= cost
    return sorted(chosen, key=lambda token: _cost(lin, token, k))


def early_spectra(
    lin: LinearMap, tokens: Sequence[int], k: int = TRIPLETS, progress: Progress | None = None
) -> Iterator[EarlySpectra]:
    """The k largest triplets of these tokens, read out and signed as in ``spectrum_run``, as they are found.

    A token whose triplets are not found within twice the passes expected is left out. ``progress(fraction, message)``
    cancels as in ``LinearMap.jacobian``.
    """
    costs = [_cost(lin, token, k) for token in tokens]
    triplets_by_token: dict[int, Triplets] = {}
    for n, token in enumerate(tokens):
        block = _block(lin, token, k)
        triplets = top_triplets(
            lin,
            k,
            token=token,
            tolerance=_TOLERANCE.get(lin.inputs.dtype),
            block=block,
            most=2 * expected_passes(k, block),
            progress=part(progress, sum(costs[:n]) / sum(costs), sum(costs[: n + 1]) / sum(costs), _MESSAGE),
        )
        if triplets.converged:
            triplets_by_token[token] = triplets
            yield _run(lin, triplets_by_token, len(tokens))


def _block(lin: LinearMap, token: int, k: int) -> int:
    """How many vectors go together: few take fewer passes, but a pass of few positions costs as much as one of more."""
    return min(k + 4, max(_BLOCK, _ROWS // _positions(lin, token)))


def _cost(lin: LinearMap, token: int, k: int) -> int:
    """Passes times positions; the matrix costs d T."""
    return expected_passes(k, _block(lin, token, k)) * _positions(lin, token)


def _positions(lin: LinearMap, token: int) -> int:
    return lin.n_tokens - token if lin.network.causal else lin.n_tokens


def _run(lin: LinearMap, triplets_by_token: dict[int, Triplets], awaited: int) -> EarlySpectra:
    T, d, k = lin.n_tokens, lin.width, len(next(iter(triplets_by_token.values())).S)
    U, S, Vh = np.full((T, len(lin.output), k), np.nan), np.full((T, k), np.nan), np.full((T, k, d), np.nan)
    reads_u: list[list[Row]] = [[] for _ in range(T)]
    reads_v: list[list[Row]] = [[] for _ in range(T)]
    for token, triplets in triplets_by_token.items():
        U[token], S[token], Vh[token] = (to_numpy(x) for x in (triplets.U, triplets.S, triplets.Vh))
        reads_u[token] = read_output(lin.lm, triplets.U.T, READ)
        reads_v[token] = read_input(lin.lm, triplets.Vh, READ)
    return EarlySpectra(
        key=run_key(lin),
        tokens=list(lin.tokens),
        U=U,
        S=S,
        Vh=Vh,
        stable_rank=np.full(T, np.nan),
        projections=np.einsum("tkd,td->tk", Vh, to_numpy(lin.inputs)),
        reads_u=reads_u,
        reads_v=reads_v,
        exactness=lin.exactness(),
        there=tuple(sorted(triplets_by_token)),
        awaited=awaited,
        residual=max(float(triplets.residuals.max()) for triplets in triplets_by_token.values()),
    )
