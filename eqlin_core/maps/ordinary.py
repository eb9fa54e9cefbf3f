"""The ordinary Jacobian of the untouched network, for comparison with the detached one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.freezing.inputs import require_embeddings
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import prompt_ids, token_tensor
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget


@passes
def ordinary_jacobian(
    lm: LanguageModel,
    prompt: str | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "tokens d_out d_in"]:
    """The usual Jacobian dy/dx_i [T, d, d] of the untouched network, for comparison: it does not reconstruct y.

    Stock models compute their norms and their softmax in float32 whatever their dtype, so in float64 this differs from
    the derivative of the network in float64 throughout by about 1e-6.
    """
    ids = prompt_ids(lm, prompt, token_ids)
    arguments.called("progress", progress)
    require_embeddings(lm)
    decoder = lm.decoder
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")  # fused attention has no batched reverse pass
    try:
        with torch.no_grad():
            embeddings = lm.model.get_input_embeddings()(token_tensor(lm, ids))[None]
        leaf = embeddings.requires_grad_()
        with eager_experts(lm.model):  # the fused experts know no float64
            value = decoder(inputs_embeds=leaf, use_cache=False).last_hidden_state[0, -1]
    finally:
        lm.model.set_attn_implementation(before)
    d = value.shape[0]
    size = len(ids) * d * d * value.element_size()
    budget.require(size + size // 8, value.device, "The ordinary Jacobian", len(ids))
    matrix = value.new_empty(len(ids), d, d)
    chunk = budget.chunk_size(16 * len(ids) * d * value.element_size(), len(ids), value.device)
    identity = torch.eye(d, dtype=value.dtype, device=value.device)
    for start in range(0, d, chunk):
        u = identity[start : start + chunk]
        (rows,) = torch.autograd.grad(value, leaf, u, retain_graph=True, is_grads_batched=True)
        matrix[:, start : start + len(u)] = rows[:, 0].transpose(0, 1)
        report(progress, min(1.0, (start + chunk) / d), "Ordinary Jacobian")
    return matrix
