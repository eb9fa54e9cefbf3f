"""Whole models against ordinary autograd on the stock code, in which what is held is detached by hand.

Nothing of the engine computes here what the engine is compared with. Stock mixers work in float32 whatever the model's
precision, so that is how closely the two agree.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from tests.cases import PROMPT

Patch = pytest.MonkeyPatch


def only(place: int, stock: Callable[..., Any]) -> Callable[..., Any]:
    """A stock function whose every argument is detached but for the one in this place."""

    def detached(*args: Any, **kwargs: Any) -> Any:
        held = [a.detach() if isinstance(a, Tensor) and i != place else a for i, a in enumerate(args)]
        return stock(*held, **{k: v.detach() if isinstance(v, Tensor) else v for k, v in kwargs.items()})

    return detached


def conv_with_held_activation(stock: Callable[..., Any]) -> Callable[..., Any]:
    def convolved(
        x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: Any = None, **kwargs: Any
    ) -> Tensor:
        out = stock(x, weight, bias, activation=None, **kwargs)
        return out if activation is None else out * out.sigmoid().detach()

    return convolved


def rms(plus_one: bool) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor, gate: Tensor | None = None) -> Tensor:
        eps = next(getattr(self, n) for n in ("variance_epsilon", "eps") if hasattr(self, n))
        normed = x * (x.square().mean(-1, keepdim=True) + eps).rsqrt().detach() * (self.weight + plus_one)
        return normed if gate is None else normed * nn.functional.silu(gate).detach()

    return forward


def layer_norm(self: Any, x: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred * (centred.square().mean(-1, keepdim=True) + self.eps).rsqrt().detach() * self.weight + self.bias


def mamba(patch: Patch, module: Any) -> None:
    patch.setattr(module, "mamba_selective_scan", only(0, module.mamba_selective_scan))
    patch.setattr(module, "causal_conv1d_fn", conv_with_held_activation(module.causal_conv1d_fn))
    patch.setattr(module.MambaRMSNorm, "forward", rms(plus_one=False))


def bloom(patch: Patch, module: Any) -> None:
    softmax, gelu = nn.functional.softmax, module.bloom_gelu_forward
    patch.setattr(nn.functional, "softmax", lambda *a, **k: softmax(*a, **k).detach())
    patch.setattr(nn.LayerNorm, "forward", layer_norm)
    patch.setattr(module.BloomGelu, "forward", lambda _self, x: x * (gelu(x) / x).detach())


def qwen3_next(patch: Patch, module: Any) -> None:
    softmax, sigmoid, silu = nn.functional.softmax, torch.sigmoid, nn.functional.silu
    patch.setattr(module, "torch_chunk_gated_delta_rule", only(2, module.torch_chunk_gated_delta_rule))
    patch.setattr(module, "causal_conv1d_fn", conv_with_held_activation(module.causal_conv1d_fn))
    patch.setattr(module.Qwen3NextRMSNorm, "forward", rms(plus_one=True))
    patch.setattr(module.Qwen3NextRMSNormGated, "forward", rms(plus_one=False))
    patch.setattr(nn.functional, "softmax", lambda *a, **k: softmax(*a, **k).detach())
    patch.setattr(torch, "sigmoid", lambda x: sigmoid(x).detach())
    patch.setattr(nn.functional, "sigmoid", lambda x: sigmoid(x).detach())
    gate = type(ACT2FN["silu"])
    patch.setattr(gate, "forward", lambda _self, x: silu(x).detach())  # the gates of gated MLPs, held whole


def minimax(patch: Patch, module: Any) -> None:
    softmax, sigmoid, silu, split = nn.functional.softmax, torch.sigmoid, nn.functional.silu, torch.split

    def held(x: Tensor) -> Tensor:  # queries, keys and values in one: an activation; elsewhere a gate, held whole
        return x * sigmoid(x).detach() if x.shape[-1] == 3 * x_width else silu(x).detach()

    def parts(x: Tensor, size: int, dim: int = 0) -> tuple[Tensor, ...]:
        query, key, value = split(x, size, dim)
        return query.detach(), key.detach(), value

    x_width = 32  # of all heads together
    patch.setattr(torch, "split", parts)
    patch.setattr(module.MiniMaxRMSNorm, "forward", rms(plus_one=False))
    patch.setattr(nn.functional, "softmax", lambda *a, **k: softmax(*a, **k).detach())
    patch.setattr(nn.functional, "sigmoid", lambda x: sigmoid(x).detach())
    patch.setattr(type(ACT2FN["silu"]), "forward", lambda _self, x: held(x))


def xlstm(patch: Patch, module: Any) -> None:
    stock, sigmoid, silu = module.xLSTMBackend.forward, torch.sigmoid, nn.functional.silu

    def mixed(self: Any, query: Tensor, key: Tensor, value: Tensor, igate: Tensor, fgate: Tensor, **more: Any) -> Any:
        return stock(self, query.detach(), key.detach(), value, igate.detach(), fgate.detach(), **more)

    def normed(self: Any, x: Tensor) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + self.eps).rsqrt().detach()

    patch.setattr(module.xLSTMBackend, "forward", mixed)
    patch.setattr(module.xLSTMRMSNorm, "_rms_normalize", normed)
    patch.setattr(
        module.xLSTMMultiHeadLayerNorm, "_layer_normalize", lambda self, x: normed(self, x - x.mean(-1, keepdim=True))
    )
    patch.setattr(nn.Sigmoid, "forward", lambda _self, x: sigmoid(x).detach())
    patch.setattr(nn.SiLU, "forward", lambda _self, x: silu(x).detach())


MODELS = {"mamba": mamba, "bloom": bloom, "qwen3_next": qwen3_next, "minimax": minimax, "xlstm": xlstm}


def by_hand(lm: LanguageModel, position: int = -1) -> Tensor:
    """[T, d, d]: the derivative of one position's output embedding with respect to every input embedding."""
    embeddings = lm.model.get_input_embeddings()(torch.tensor([PROMPT])).detach().requires_grad_()
    with eager_experts(lm.model):
        out = lm.decoder(inputs_embeds=embeddings, use_cache=False).last_hidden_state[0, position]
    rows = [torch.autograd.grad(value, embeddings, retain_graph=True)[0][0] for value in out]
    return torch.stack(rows, dim=1)


@pytest.mark.parametrize("model_type", MODELS)
def test_the_map_is_the_derivative_of_the_stock_code_with_everything_held_detached(model_type: str) -> None:
    lm = tiny_architecture(model_type)
    J = eq.linearize(lm, token_ids=PROMPT).jacobian()
    lm.model.set_attn_implementation("eager")
    module = importlib.import_module(f"transformers.models.{model_type}.modeling_{model_type}")
    ordinary = by_hand(lm)
    with pytest.MonkeyPatch.context() as patch:
        MODELS[model_type](patch, module)
        detached = by_hand(lm)
    error = (J - detached).flatten(1).norm(dim=1) / detached.flatten(1).norm(dim=1)
    assert error.max() < 1e-5, error
    assert (J - ordinary).norm() > 0.05 * ordinary.norm(), "nothing was held: the oracle would pass for anything"


@pytest.mark.parametrize(
    "model_type", ["qwen3_next", "jamba", "bamba", "rwkv", "recurrent_gemma", "lfm2", "xlstm", "minimax"]
)
def test_the_map_reads_the_tokens_that_the_stock_gradient_reads(model_type: str) -> None:
    lm = tiny_architecture(model_type)
    position = 6
    J = eq.linearize(lm, token_ids=PROMPT, position=position).jacobian()
    ordinary = by_hand(lm, position)
    reads = J.flatten(1).norm(dim=1) > 1e-9
    assert torch.equal(reads, ordinary.flatten(1).norm(dim=1) > 1e-9)
    assert torch.equal(reads, torch.arange(len(PROMPT)) <= position)
