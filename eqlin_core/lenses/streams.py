"""The residual stream after every block: recorded with its graph for derivatives, or as the untouched model has it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eqlin_core.errors import EqlinError
from eqlin_core.freezing.network import RULES, FrozenNetwork
from eqlin_core.maps.frozen_decoder import frozen_decoder
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import token_tensor
from eqlin_core.models.sites import Site, block_output, find_layers
from eqlin_core.multiplication import passes
from eqlin_core.resources import plan
from eqlin_core.runs.convention import PUBLISHED, Convention


@dataclass(frozen=True)
class Kind:
    """Which derivative a lens averages: of a network in which these ``rules`` hold their coefficients."""

    rules: frozenset[str]
    convention: Convention = PUBLISHED

    @property
    def mixes_live(self) -> bool:
        """Whether attention is not held, so that reverse passes go through its scores."""
        return "attention" not in self.rules


# "frozen": the exact engine's maps. "jacobian": nothing is held (Gurnee et al. 2026). "norms-frozen": the denominators
# of norms and the factors s(x) of activations s(x) x. "r-lens": the same, each factor of a gated product with half.
KINDS = {
    "frozen": Kind(RULES),
    "jacobian": Kind(frozenset()),
    "norms-frozen": Kind(frozenset({"norms", "activations"})),
    "r-lens": Kind(frozenset({"norms", "gates"}), Convention("half")),
}


@dataclass(frozen=True)
class RecordedStream:
    """One prompt's residual stream with its autograd graph; which derivatives that graph has, the kind says.

    ``blocks`` [1, T, d] after each of the L blocks; ``values`` [T, d] after the last one, before the final norm.
    """

    network: FrozenNetwork
    kind: str
    blocks: list[Tensor]
    values: Float[Tensor, "tokens d"]

    @property
    def nodes(self) -> list[Any]:
        """The graph's node behind every block, which a reverse pass meets one after the other."""
        return [h.grad_fn for h in self.blocks if h.grad_fn is not None]

    def last_position(self) -> RecordedStream:
        """A graph of the last position alone, T = 1, where no other takes part in its map; else this stream itself.

        A map from the last position to itself passes through no other where attention alone mixes them, held and
        causal. The values of the new graph are not the stream's, as what earlier positions add is left out; its
        derivatives are.
        """
        network, first = self.network, self.network.n_tokens - 1
        if self.kind != "frozen" or not (network.causal and network.attends_only) or not first:
            return self
        leaf = network.inputs[first:][None].clone().requires_grad_()
        with torch.enable_grad(), _seen_after(network.decoder, network.ends.layers) as seen:
            values = network.traced(leaf, first)[0]
        _require_stream(seen, len(self.blocks), 1)
        return RecordedStream(network, self.kind, seen, values)


@passes
def recorded_stream(lm: LanguageModel, ids: Sequence[int], kind: str) -> RecordedStream:
    """The residual stream of a prompt as a network of this kind has it, from one pass under hooks.

    Raises EqlinError for a model whose blocks are no list that runs once, and for kind "frozen" where a module leaks.
    """
    chosen, blocks = KINDS[kind], find_layers(lm.decoder, lm.n_layers)
    plan.require_room(lm, len(ids))
    with torch.no_grad():
        embeddings = lm.model.get_input_embeddings()(token_tensor(lm, ids))
    with torch.enable_grad(), _seen_after(lm.decoder, blocks) as seen:  # other passes only check the model
        network = frozen_decoder(
            lm,
            embeddings,
            ids=ids,
            target=Site(len(blocks) - 1, "layer"),
            final_norm=False,
            convention=chosen.convention,
            rules=chosen.rules,
        )
    _require_stream(seen, len(blocks), len(ids))
    if kind == "frozen" and network.leaks:
        raise EqlinError(
            f"{type(lm.model).__name__} is not frozen exactly ({network.leaks[0][:150]}), so there are no maps of kind "
            "'frozen': lenses of kind 'jacobian' and the logit lens remain."
        )
    return RecordedStream(network, kind, seen, network.values)


@passes
@torch.no_grad()
def stock_stream(
    lm: LanguageModel, ids: Sequence[int]
) -> tuple[Float[Tensor, "layers tokens d"], Float[Tensor, "tokens d"]]:
    """(after every block, the output embeddings) of the untouched model at a prompt."""
    blocks = find_layers(lm.decoder, lm.n_layers)
    with _seen_after(lm.decoder, blocks) as seen, eager_experts(lm.model):
        out = lm.decoder(input_ids=token_tensor(lm, ids)[None], use_cache=False).last_hidden_state[0]
    _require_stream(seen, len(blocks), len(ids))
    return torch.stack([h[0].to(lm.device) for h in seen]), out


@contextmanager
def _seen_after(decoder: nn.Module, blocks: nn.ModuleList) -> Iterator[list[Tensor]]:
    """Within the context the list holds what the blocks returned in the latest pass in the caller's gradient mode."""
    seen: list[Tensor] = []
    wanted = torch.is_grad_enabled()

    def begin(*_: Any) -> None:
        if torch.is_grad_enabled() == wanted:
            seen.clear()

    def after(_module: nn.Module, _args: Any, out: Any) -> None:
        if torch.is_grad_enabled() == wanted:
            seen.append(block_output(out))

    handles = [decoder.register_forward_pre_hook(begin), *(b.register_forward_hook(after) for b in blocks)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _require_stream(seen: list[Tensor], blocks: int, tokens: int) -> None:
    if len(seen) != blocks:
        raise EqlinError("The blocks of this model are no list that runs once, so lenses have no layers to start from.")
    for layer, h in enumerate(seen):
        if h.dim() != 3 or h.shape[:2] != (1, tokens):
            raise EqlinError(
                f"Block {layer} does not hand on one vector for each token, so there is no residual stream to read."
            )
