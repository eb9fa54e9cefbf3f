"""A norm is known by what it does: its weight convention, its centring and its epsilon are found by probing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.cohere2.modeling_cohere2 import Cohere2LayerNorm
from transformers.models.gemma3.modeling_gemma3 import Gemma3RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.freezing.norms import probe_norm

D = 16
X = torch.randn(2, 5, D, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def randomised(module: nn.Module, dtype: torch.dtype = torch.float64) -> nn.Module:
    for parameter in module.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return module.to(dtype).requires_grad_(False)


NORMS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "Llama": (lambda: LlamaRMSNorm(D, eps=1e-5), "RMSNorm, weight gamma"),
    "Gemma": (lambda: Gemma3RMSNorm(D, eps=1e-6), "RMSNorm, weight 1 + gamma"),
    "LayerNorm": (lambda: nn.LayerNorm(D, eps=1e-5), "LayerNorm, weight gamma"),
    "LayerNorm without weights": (lambda: nn.LayerNorm(D, elementwise_affine=False), "LayerNorm, weight none"),
    "LayerNorm without bias": (lambda: nn.LayerNorm(D, bias=False), "LayerNorm, weight gamma"),
    "torch RMSNorm": (lambda: nn.RMSNorm(D), "RMSNorm, weight gamma"),
    "Cohere": (lambda: Cohere2LayerNorm(D), "LayerNorm, weight gamma"),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_convention_is_found_and_the_frozen_norm_gives_the_same_value(name: str, dtype: torch.dtype) -> None:
    build, description = NORMS[name]
    module = randomised(build(), dtype)
    x = X.to(dtype)
    rule = probe_norm(module, module, x)
    assert rule is not None
    assert rule.description == description
    frozen = rule.linear(x, rule.coefficient(x))
    assert frozen.dtype == dtype
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}[dtype]
    torch.testing.assert_close(frozen, module(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", NORMS)
def test_a_frozen_norm_is_affine_with_its_own_bias(name: str) -> None:
    module = randomised(NORMS[name][0]())
    rule = probe_norm(module, module, X)
    assert rule is not None
    coefficient = rule.coefficient(X)
    zero = rule.linear(torch.zeros_like(X), coefficient)
    bias = getattr(module, "bias", None)
    torch.testing.assert_close(zero, 0 * X if bias is None else bias.expand_as(X))
    torch.testing.assert_close(rule.linear(3 * X, coefficient) - zero, 3 * (rule.linear(X, coefficient) - zero))


@pytest.mark.parametrize("eps", [1e-6, 1e-5, 1e-3])
def test_the_epsilon_counts_for_small_inputs(eps: float) -> None:
    module = randomised(LlamaRMSNorm(D, eps=eps))
    rule = probe_norm(module, module, X)
    assert rule is not None
    assert rule.eps == eps
    small = 1e-3 * X
    torch.testing.assert_close(rule.linear(small, rule.coefficient(small)), module(small), rtol=1e-6, atol=1e-9)


class PowerNorm(nn.Module):
    """Looks like an RMSNorm, divides by another mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(D)), 1e-6

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x / (x.abs().mean(-1, keepdim=True) + self.eps)


class LeakyRMSNorm(LlamaRMSNorm):
    def forward(self, hidden_states: Tensor) -> Tensor:
        return super().forward(hidden_states) + 0.01 * torch.tanh(hidden_states)


@pytest.mark.parametrize(
    "module",
    [PowerNorm(), LeakyRMSNorm(D), nn.Linear(D, D), nn.GroupNorm(4, D), nn.Softmax(-1), nn.SiLU(), nn.Identity()],
)
def test_what_follows_no_norm_formula_is_not_called_a_norm(module: nn.Module) -> None:
    module = randomised(module)
    assert probe_norm(module, module, X) is None


def test_half_precision_does_not_hide_a_leak() -> None:
    module = randomised(LeakyRMSNorm(D), torch.bfloat16)
    assert probe_norm(module, module, X.bfloat16()) is None


def test_weights_that_are_present_only_during_forward_are_read_there() -> None:
    """What accelerate does to an offloaded module: its weights are on the meta device outside of forward."""

    class Offloaded(LlamaRMSNorm):
        def forward(self, hidden_states: Tensor) -> Tensor:
            this: Any = self
            stored = this.weight
            this.weight = nn.Parameter(real)
            try:
                return super().forward(hidden_states)
            finally:
                this.weight = stored

    module = Offloaded(D)
    real = torch.randn(D, dtype=torch.float64)
    module.weight = nn.Parameter(torch.empty(D, device="meta", dtype=torch.float64))
    rule = probe_norm(module, module, X)
    assert rule is not None
    assert rule.gamma is not None
    torch.testing.assert_close(rule.gamma, real, rtol=0, atol=0)


def test_coefficients_are_never_half_precision() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert coefficient_dtype(dtype) == torch.float32
    assert coefficient_dtype(torch.float64) == torch.float64
