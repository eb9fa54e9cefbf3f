"""An activation is frozen through its closed form s(x) x, found by evaluating it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.activations import ACT2FN

from eqlin_core.freezing.activations import probe_activation

CPU = torch.device("cpu")
X = torch.cat([torch.linspace(-30, 30, 601), torch.tensor([0.0, -0.0, 1e-12, -1e-12, 1e4])]).double()
KNOWN = {
    "silu": "SiLU",
    "swish": "SiLU",
    "gelu": "GELU",
    "gelu_python": "GELU",
    "gelu_new": "GELU (tanh)",
    "gelu_pytorch_tanh": "GELU (tanh)",
    "gelu_fast": "GELU (tanh)",
    "quick_gelu": "GELU (quick)",
    "relu": "ReLU",
    "relu2": "squared ReLU",
    "leaky_relu": "leaky ReLU",
    "mish": "Mish",
    "linear": "identity",
    "relu6": "clipping",
}


@pytest.mark.parametrize("key", KNOWN)
def test_the_closed_form_of_every_usual_activation_is_found_and_is_exact(key: str) -> None:
    module = ACT2FN[key]
    found = probe_activation(module, CPU)
    assert found is not None
    assert found.factor is not None
    assert found.name == KNOWN[key]
    torch.testing.assert_close(found.factor(X) * X, module(X.clone()), rtol=1e-7, atol=1e-7)


def clipped_at_seven(x: Tensor) -> Tensor:
    return x.clamp(-7, 7)


def clipped_above(x: Tensor) -> Tensor:
    return x.clamp(max=1.5)


def clipped_far_away(x: Tensor) -> Tensor:
    return x.clamp(-5000, 5000)


@pytest.mark.parametrize("clip", [clipped_at_seven, clipped_above, clipped_far_away])
def test_a_bound_is_kept_where_only_large_values_reach_it(clip: Callable[[Tensor], Tensor]) -> None:
    found = probe_activation(clip, CPU)
    assert found is not None
    assert found.factor is not None
    torch.testing.assert_close(found.factor(X) * X, clip(X), rtol=1e-14, atol=0)
    assert found.factor(X).isfinite().all()


@pytest.mark.parametrize("function", [torch.tanh, torch.sigmoid, F.elu, torch.exp, torch.square, lambda x: x + 1])
def test_an_elementwise_function_without_a_closed_form_has_no_factor(function: Callable[[Tensor], Tensor]) -> None:
    found = probe_activation(function, CPU)
    assert found is not None
    assert found.factor is None


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.softmax(-1),
        lambda x: x - x.mean(-1, keepdim=True),
        lambda x: x.cumsum(-1),
        lambda x: x.flip(-1),
        lambda x: x[..., :3],
        nn.Linear(3, 3),
    ],
)
def test_a_function_that_mixes_elements_is_no_activation(function: Callable[[Tensor], Tensor]) -> None:
    assert probe_activation(function, CPU) is None


def test_the_factor_at_zero_is_the_slope_and_never_a_quotient() -> None:
    for key, slope in {"silu": 0.5, "gelu": 0.5, "relu": 0.0, "relu6": 1.0}.items():
        found = probe_activation(ACT2FN[key], CPU)
        assert found is not None
        assert found.factor is not None
        assert found.factor(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(slope)
