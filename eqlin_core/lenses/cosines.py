"""How far a lens and one prompt's exact map agree about a token: cosines of what both read as it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.lenses.derivatives import adjoint_at
from eqlin_core.lenses.last_norm import checked_place, norm_held_at, require_final_norm
from eqlin_core.lenses.lens import Lens, checked_lens
from eqlin_core.lenses.streams import recorded_stream, stock_stream
from eqlin_core.models.baselines import token_id
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.readout import next_token_logits
from eqlin_core.multiplication import passes


@passes
def lens_cosines(
    lm: LanguageModel,
    lens: Lens,
    prompt: str | None = None,
    token: int | str | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    position: int = -1,
) -> Float[Tensor, " layers"]:
    """Cosines between what the lens and this prompt's exact map read as one token, after each of the lens' layers.

    Of J_l^T w with the lens' mean J_l and J_l^T w with the frozen map of this prompt at ``position``: w is the row of
    the unembedding of ``token`` (the model's own next one unless given), taken back through the final norm as it is
    held there. In float64; 0 where one of the two is zero.
    """
    ids, position = checked_place(lm, prompt, token_ids, position)
    checked_lens("lens", lens).require_fit(lm)
    chosen = None if token is None else token_id(lm, token)
    streams, outputs = stock_stream(lm, ids)
    require_final_norm(lm, streams[-1, position], outputs[position])
    if chosen is None:
        chosen = int(next_token_logits(lm, outputs[position][None])[0].argmax())
    stream = recorded_stream(lm, ids, "frozen")
    row = lm.unembedding[chosen].detach().to(stream.values.device)
    w = norm_held_at(lm, stream.values[position].detach()).adjoint(row)
    exact = wide(adjoint_at(stream, lens.layers, position, w))
    fitted = torch.stack([wide(lens.adjoint(layer, w)) for layer in lens.layers]).to(exact.device)
    return torch.nn.functional.cosine_similarity(exact, fitted, dim=-1, eps=torch.finfo(torch.float64).tiny)
