"""The audit: whatever is not linear between source and target is found, and named after its module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.freezing.leaks import GraphNames, find_leaks, reachable
from tests.cases import PROMPT

X = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
W = torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LINEAR: dict[str, Callable[[Tensor], Tensor]] = {
    "matrix products with constants": lambda x: (x @ W).mm(W) + nn.functional.linear(x, W, W[0]),
    "sums and differences": lambda x: 2 * x - x.flip(-1) + 1 + x.cumsum(-1) + x.mean(-1, keepdim=True),
    "gathering and scattering": lambda x: torch.zeros_like(x).index_add(0, torch.tensor([0, 0, 2]), x[[2, 1, 0]]),
    "views": lambda x: x.view(2, 6).T.reshape(3, 4).unsqueeze(0).expand(2, 3, 4).permute(1, 2, 0).sum(-1).contiguous(),
    "pieces": lambda x: torch.cat([x.chunk(2, -1)[1], x.split(2, -1)[0]], -1).roll(1, 0),
    "masking": lambda x: x.masked_fill(W[:3] > 0, 0.0) + torch.where(W[:3] > 0, x, x.neg()),
    "a held factor": lambda x: x.sigmoid().detach() * x / x.norm().detach(),
    "a cast to higher precision and back": lambda x: x.double().to(x.dtype),
    "a product batched over heads": lambda x: torch.bmm(W.view(2, 2, 4), x.T[None].expand(2, 4, 3)).sum(),
}
LEAKING: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a product of two": (lambda x: x * (x @ W), "product of two tensors"),
    "a square": (lambda x: x.pow(2), "Pow is not linear"),
    "attention that is not held": (lambda x: (x @ x.T).softmax(-1) @ x, "product of two tensors"),
    "softmax": (lambda x: x.softmax(-1), "Softmax is not linear"),
    "a norm": (lambda x: x * torch.rsqrt(x.square().mean() + 1), "Rsqrt is not linear"),
    "division": (lambda x: x / x.sum().add(9), "division by a tensor"),
    "an activation": (nn.functional.silu, "Silu is not linear"),
    "clipping": (lambda x: x.clamp(-1, 1), "Clamp is not linear"),
    "a maximum": (lambda x: x.amax(-1), "Amax is not linear"),
    "the absolute value": (lambda x: x.abs(), "Abs is not linear"),
    "a cast to lower precision": (lambda x: x.float().double(), "cast to float32 on the linear path"),
    "layer norm": (lambda x: nn.functional.layer_norm(x, (4,)), "NativeLayerNorm is not linear"),
}


def audit(function: Callable[[Tensor], Tensor]) -> list[str]:
    names = GraphNames()
    x = X.clone().requires_grad_()
    names.enter("model.layers.3.mlp", [x])
    y = function(x * 1)
    names.leave([y])
    return find_leaks(reachable(y), names, torch.float64)


@pytest.mark.parametrize("name", LINEAR)
def test_what_is_linear_passes(name: str) -> None:
    assert audit(LINEAR[name]) == []


@pytest.mark.parametrize("name", LEAKING)
def test_what_is_not_linear_is_found_and_named(name: str) -> None:
    function, reason = LEAKING[name]
    leaks = audit(function)
    assert any(reason in leak for leak in leaks), leaks
    assert all(leak.startswith("model.layers.3.mlp: ") for leak in leaks)


def test_what_the_target_does_not_depend_on_is_no_leak() -> None:
    def function(x: Tensor) -> Tensor:
        x.softmax(-1).square()
        return x + x.detach().exp()

    assert audit(function) == []


def test_a_node_belongs_to_the_innermost_module_that_made_it() -> None:
    names = GraphNames()
    x = X.clone().requires_grad_()
    names.enter("", [])
    before = x.sin()
    names.enter("outer", [before])
    inside = before.cos()
    names.enter("outer.inner", [inside])
    innermost = inside.tanh()
    names.leave([innermost])
    after = innermost.exp()
    names.leave([after])
    assert [names.name(t.grad_fn) for t in (before, inside, innermost, after)] == ["", "outer", "outer.inner", "outer"]


class Leaky(nn.Module):
    """A module that is almost its inner one."""

    def __init__(self, inner: nn.Module, leak: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.leak = inner, leak

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = self.inner(*args, **kwargs)
        return (self.leak(out[0]), *out[1:]) if isinstance(out, tuple) else self.leak(out)


LEAKS = {
    "tanh": lambda y: y + 0.1 * torch.tanh(y),
    "square": lambda y: y + 0.01 * y * y,
    "abs": lambda y: y.abs(),
    "half": lambda y: y.half().to(y.dtype),
    "self product": lambda y: y * torch.sin(y),
    "constant of the input": lambda y: y + torch.sigmoid(y),
}


@pytest.mark.parametrize("place", ["mlp", "self_attn", "input_layernorm", "mlp.down_proj"])
@pytest.mark.parametrize("leak", LEAKS)
def test_a_deliberately_leaky_module_is_named_and_the_run_is_not_exact(place: str, leak: str) -> None:
    lm = tiny_model("llama")
    block = lm.model.get_decoder().layers[1]
    parent = block.get_submodule(place.rpartition(".")[0])
    leaf = place.rpartition(".")[2]
    setattr(parent, leaf, Leaky(getattr(parent, leaf), LEAKS[leak]))
    exactness = eq.linearize(lm, token_ids=PROMPT).exactness()
    assert not exactness.exact
    assert {found.partition(": ")[0] for found in exactness.leaks} == {f"model.layers.1.{place}"}
    if leak != "half":
        assert exactness.reconstruction > 1e-6


@pytest.mark.parametrize("place", ["mlp", "self_attn", "input_layernorm", "mlp.down_proj"])
def test_what_stock_code_computes_in_float32_is_computed_in_the_precision_of_the_path(place: str) -> None:
    lm = tiny_model("llama")
    parent = lm.model.get_decoder().layers[1].get_submodule(place.rpartition(".")[0])
    leaf = place.rpartition(".")[2]
    setattr(parent, leaf, Leaky(getattr(parent, leaf), lambda y: y.float().to(y.dtype)))
    exactness = eq.linearize(lm, token_ids=PROMPT).exactness()
    assert exactness.exact
    assert exactness.reconstruction < 1e-14
    assert 1e-9 < exactness.forward < 1e-5, "what the untouched model rounds away"


class DetachedLeak(nn.Module):
    """Hides from the graph: the leak is a constant there, and only a replay on another input can tell."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * x.detach().square()


def test_a_leak_that_hides_from_the_graph_is_still_not_called_exact() -> None:
    lm = tiny_model("llama")
    block = lm.model.get_decoder().layers[1]
    block.mlp = nn.Sequential(block.mlp, DetachedLeak())
    exactness = eq.linearize(lm, token_ids=PROMPT).exactness()
    assert exactness.reconstruction > 1e-4
    assert not exactness.exact
    assert "model.layers.1.mlp.1" in exactness.leaks[0]
