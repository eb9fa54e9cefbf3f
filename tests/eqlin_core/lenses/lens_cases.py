"""What lenses are compared with: models whose own code detaches what a kind holds, and their whole Jacobians."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model, tiny_prompt

PROMPTS = [tiny_prompt(seed=n, length=length) for n, length in enumerate((8, 6, 9, 7))]
SKIP = 2


@functools.cache
def fitted(kind: str = "jacobian", name: str = "llama", positions: str = "future", prompts: int = 4) -> eq.Lens:
    """A lens of the first prompts, which tests share."""
    return eq.fit_lens(shared(name), PROMPTS[:prompts], kind, positions=positions, skip=SKIP)


@functools.cache
def shared(name: str = "llama") -> eq.LanguageModel:
    """A tiny model that no test changes."""
    return tiny_model(name)


def detached(name: str, kind: str) -> eq.LanguageModel:
    """A tiny model whose own derivative is what this kind averages: its norms and MLPs detach what is held."""
    lm = tiny_model(name)
    lm.model.set_attn_implementation("eager")  # the fused kernel has no batched reverse pass
    if kind == "jacobian":
        return lm
    for module in lm.decoder.modules():
        if isinstance(module, nn.LayerNorm):
            _replace(module, _layer_norm(module))
        elif type(module).__name__.endswith("RMSNorm"):
            _replace(module, _rms_norm(module.forward))
        elif hasattr(module, "gate_proj"):
            _replace(module, _gated(module, half=kind == "r-lens"))
        elif type(module).__name__ == "NewGELUActivation":
            _replace(module, _activation(module.forward))
    return lm


def jacobian(lm: eq.LanguageModel, ids: list[int], layer: int) -> Tensor:
    """[T, d, T, d]: the derivative of the last residual stream by that after block ``layer``, by torch alone."""
    blocks = next(m for m in lm.decoder.children() if isinstance(m, nn.ModuleList))

    def last(h: Tensor) -> Tensor:
        seen: list[Tensor] = []

        def put_in(_module: Any, _args: Any, out: Any) -> Any:
            return (h[None], *out[1:]) if isinstance(out, tuple) else h[None]

        def keep(_module: Any, _args: Any, out: Any) -> None:
            seen.append(out[0] if isinstance(out, tuple) else out)

        handles = [blocks[layer].register_forward_hook(put_in), blocks[-1].register_forward_hook(keep)]
        try:
            lm.decoder(input_ids=torch.tensor([ids]), use_cache=False)
        finally:
            for handle in handles:
                handle.remove()
        return seen[0][0]

    return torch.autograd.functional.jacobian(last, stream(lm, ids)[layer], vectorize=True)


@torch.no_grad()
def stream(lm: eq.LanguageModel, ids: list[int]) -> list[Tensor]:
    """[T, d] after every block, by the model itself."""
    blocks = next(m for m in lm.decoder.children() if isinstance(m, nn.ModuleList))
    seen: list[Tensor] = []
    handles = [
        block.register_forward_hook(lambda _m, _a, out: seen.append((out[0] if isinstance(out, tuple) else out)[0]))
        for block in blocks
    ]
    try:
        lm.decoder(input_ids=torch.tensor([ids]), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def estimate(full: Tensor, positions: str) -> Tensor:
    """[d, d] of one prompt from its whole Jacobian, by the words of the estimator."""
    tokens = len(full)
    if positions == "last":
        return full[-1, :, -1]
    places = range(SKIP, tokens - 1)
    targets = {p: [q for q in places if q >= p] if positions == "future" else [p] for p in places}
    maps = [torch.stack([full[q, :, p] for q in targets[p]]).sum(0) for p in places]
    return torch.stack(maps).mean(0)


def _replace(module: Any, forward: Any) -> None:
    module.forward = forward


def _rms_norm(own: Any) -> Any:
    return lambda x: x * (own(x) / x).detach()


def _layer_norm(module: nn.LayerNorm) -> Any:
    own = module.forward

    def forward(x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred * ((own(x) - module.bias) / centred).detach() + module.bias

    return forward


def _activation(own: Any) -> Any:
    return lambda x: x * (own(x) / x).detach()


def _gated(mlp: Any, *, half: bool) -> Any:
    def forward(x: Tensor) -> Tensor:
        gate, up = mlp.gate_proj(x), mlp.up_proj(x)
        gate = gate * (mlp.act_fn(gate) / gate).detach()
        product = (gate * up.detach() + gate.detach() * up) / 2 if half else gate * up
        return mlp.down_proj(product)

    return forward
