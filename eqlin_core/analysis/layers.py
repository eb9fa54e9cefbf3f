"""The sweep over the layers, and logits split over heads, made into runs: what page Layers shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from eqlin_core.analysis.prompt import next_logits, run_key
from eqlin_core.dtypes import wide
from eqlin_core.layers.heads import direct_contributions
from eqlin_core.layers.results import LayerSweep
from eqlin_core.layers.sweep import Early, sweep_map
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.targets import mean_row
from eqlin_core.models.baselines import ZERO
from eqlin_core.progress import Progress
from eqlin_core.runs.layers import HeadsRun, SweepRun

KEPT = 8


def sweep_run(
    lin: LinearMap,
    mode: str,
    k: int = KEPT,
    progress: Progress | None = None,
    *,
    early: Callable[[SweepRun], None] | None = None,
) -> SweepRun:
    """All layers in one mode, of all kinds that the blocks have.

    ``early`` takes block outputs and two triplets, as more layers are there.
    """
    first = None if early is None else Early(lambda sweep: early(_run(lin, sweep)), k=min(2, lin.width))
    return _run(lin, sweep_map(lin, mode, None, k=min(k, lin.width), progress=progress, early=first))


def _run(lin: LinearMap, sweep: LayerSweep) -> SweepRun:
    def columns(name: str) -> np.ndarray:
        each, joint = getattr(sweep.triplets, name), getattr(sweep.joint, name)
        return torch.cat([each, joint[:, :, None]], 2).numpy()

    names = ("U", "S", "stable_rank", "projections", "cosines", "u_ids", "u_scores", "v_ids", "v_scores")
    return SweepRun(
        key=run_key(lin),
        mode=sweep.mode,
        n_layers=lin.lm.n_layers,
        kinds=sweep.kinds,
        method=sweep.method,
        tokens=list(lin.tokens),
        names=sweep.names,
        **{name: columns(name) for name in names},
        y_ids=sweep.y_ids.numpy(),
        errors=sweep.errors.numpy(),
        exact=sweep.exact,
    )


def heads_run(
    lin: LinearMap, ids: Sequence[int], progress: Progress | None = None, *, baseline: str | int = ZERO
) -> HeadsRun:
    """The logits of these vocabulary tokens, and the mean logit, split over embedding, heads and MLPs."""
    rows = lin.lm.unembedding[list(ids)].to(lin.output)
    expected = mean_row(lin, wide(next_logits(lin.lm, lin.token_ids)).softmax(-1)).to(rows)
    parts = direct_contributions(lin, torch.cat([rows, expected[None]]), progress, baseline)

    def array(tensor: Tensor) -> np.ndarray:
        return tensor.numpy()

    return HeadsRun(
        key=run_key(lin),
        tokens=list(lin.tokens),
        ids=tuple(ids),
        heads=array(parts.heads),
        attn=array(parts.attn),
        mlp=array(parts.mlp),
        embedding=array(parts.embedding),
        attn_bias=array(parts.attn_bias),
        mlp_bias=array(parts.mlp_bias),
        other_bias=array(parts.embedding_bias + parts.norm_bias),
        total=array(parts.total),
        baseline=baseline,
    )
