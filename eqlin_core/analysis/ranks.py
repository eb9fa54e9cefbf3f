"""What few triplets make of a prediction, and the triplets of all tokens' matrices together, as plain NumPy arrays."""

from __future__ import annotations

import torch

from eqlin_core import arguments
from eqlin_core.analysis.prompt import READ, run_key
from eqlin_core.dtypes import to_numpy
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.readout import read_input, read_output
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part
from eqlin_core.runs.ranks import JointRun, RankRun
from eqlin_core.spectra.result import Spectrum
from eqlin_core.spectra.spectrum import spectrum
from eqlin_core.spectra.truncation import Truncation, truncate


@passes
def rank_run(
    lin: LinearMap, k: int, *, joint: bool = False, every: bool = False, progress: Progress | None = None
) -> RankRun:
    """The prediction at the ranks 0..k of each token's matrix, or of all together; ``every``: at all ranks 0..d."""
    triplets: Spectrum | None = None
    if not every:
        triplets = spectrum(lin, min(k, lin.width), joint=joint, progress=part(progress, 0.0, 0.9))
    result: Truncation = truncate(lin, triplets, joint=joint, progress=progress)
    return RankRun(
        key=run_key(lin),
        joint=joint,
        width=lin.width,
        error=to_numpy(result.error),
        divergence=to_numpy(result.divergence),
        chances=to_numpy(result.chances),
        top=result.top,
        true_top=result.true_top,
        keeps=result.keeps,
    )


@passes
def joint_run(lin: LinearMap, k: int = 24, progress: Progress | None = None) -> JointRun:
    """The joint triplets, read out; computes the matrix first where that has not been done."""
    width = checked_map(lin).width
    triplets = spectrum(lin, min(arguments.whole("k", k, 1), width), joint=True, progress=progress)
    parts = triplets.Vh.reshape(len(triplets.S), lin.n_tokens, lin.width)
    weights = parts.square().sum(-1)
    main = weights.argmax(-1)
    strongest = parts[torch.arange(len(main), device=main.device), main]
    return JointRun(
        key=run_key(lin),
        tokens=list(lin.tokens),
        U=to_numpy(triplets.U),
        S=to_numpy(triplets.S),
        V=to_numpy(strongest),
        stable_rank=float(triplets.stable_rank),
        weights=to_numpy(weights),
        projections=to_numpy(torch.einsum("ktd,td->kt", parts, lin.inputs.to(parts))),
        main=main.cpu().numpy(),
        reads_u=read_output(lin.lm, triplets.U.T, READ),
        reads_v=read_input(lin.lm, strongest, READ),
    )
