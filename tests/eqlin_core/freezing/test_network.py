"""A freeze leaves no trace: not on the frozen model, not on another one, not when it ends half way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.freezing.weights import FrozenWeights
from eqlin_core.models.language_model import LanguageModel
from tests.cases import PROMPT, llama, stock_outputs


def hooks(model: nn.Module) -> list[str]:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")
    return [f"{name}.{kind}" for name, m in model.named_modules() for kind in kinds if getattr(m, kind)]


def trace(lm: LanguageModel) -> dict[str, Any]:
    """Everything about a model that a freeze might have changed."""
    model = lm.model
    return {
        "outputs": stock_outputs(lm, PROMPT),
        "attention": model.config._attn_implementation,
        "experts": model.config._experts_implementation,
        "hooks": hooks(model),
        "forwards": [name for name, m in model.named_modules() if "forward" in vars(m)],
        "gradients": [p.requires_grad for p in model.parameters()],
        "training": model.training,
        "weights": [p.clone() for p in model.parameters()],
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(after: dict[str, Any], before: dict[str, Any]) -> None:
    assert torch.equal(after.pop("outputs"), before.pop("outputs")), "outputs are no longer bit-equal"
    assert all(torch.equal(a, b) for a, b in zip(after.pop("weights"), before.pop("weights"), strict=True))
    assert after == before


class StopError(Exception):
    pass


@pytest.fixture(params=["llama", "gpt2", "mixtral", "gpt_oss", "gemma3-multimodal"])
def lm(request: pytest.FixtureRequest) -> Iterator[LanguageModel]:
    fresh = tiny_model(request.param)
    fresh.model.set_experts_implementation("eager")
    yield fresh
    assert hooks(fresh.model) == []


def test_after_the_freeze_the_model_is_bit_equal_to_before(lm: LanguageModel) -> None:
    before = trace(lm)
    lin = eq.linearize(lm, token_ids=PROMPT)
    lin.contributions()
    lin.jacobian()
    eq.ordinary_jacobian(lm, token_ids=PROMPT)
    assert_same(trace(lm), before)


def test_an_exception_in_the_middle_of_a_pass_leaves_the_model_as_it_was(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = trace(lm)
    lin = eq.linearize(lm, token_ids=PROMPT)
    for owner, method in ((FrozenNetwork, "_run"), (FrozenWeights, "of_call")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, method, stopping_after(getattr(owner, method)))
            with pytest.raises(StopError):
                eq.linearize(lm, token_ids=PROMPT)
            with pytest.raises(StopError):
                lin.contributions()
    assert_same(trace(lm), before)
    assert lin.exactness().exact, "the map is no longer usable"


def stopping_after(method: Any) -> Any:
    def stop(*args: Any, **kwargs: Any) -> Any:
        method(*args, **kwargs)
        raise StopError

    return stop


@pytest.mark.parametrize("ending", ["raises", "answers False"])
def test_cancelling_the_matrix_leaves_everything_usable(ending: str) -> None:
    lm = tiny_model("llama")
    before = trace(lm)
    lin = eq.linearize(lm, token_ids=PROMPT, memory_budget=1)
    seen: list[float] = []

    def progress(fraction: float, message: str) -> bool:
        seen.append(fraction)
        if fraction > 0.3 and ending == "raises":
            raise StopError
        return fraction <= 0.3

    with pytest.raises(StopError if ending == "raises" else eq.Cancelled):
        lin.jacobian(progress)
    assert 0.3 < seen[-1] < 0.4, "it went on after the cancellation"
    assert_same(trace(lm), before)
    assert lin.exactness().exact
    torch.testing.assert_close(lin.jacobian(), eq.linearize(lm, token_ids=PROMPT).jacobian(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("sharing", ["another config", "the same config object"])
def test_a_second_model_is_never_touched(sharing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm, second = tiny_model("llama"), tiny_model("llama", seed=1)
    if sharing == "the same config object":
        for module in second.model.modules():
            if hasattr(module, "config"):
                module.config = lm.model.config
    before = trace(second)
    during: list[Any] = []
    weights = FrozenWeights.of_call
    another_thread = ThreadPoolExecutor(1)

    def look(self: FrozenWeights, *args: Any) -> Any:
        if not during:
            outputs = another_thread.submit(stock_outputs, second, PROMPT).result()
            during.append((outputs, hooks(second.model)))
        return weights(self, *args)

    monkeypatch.setattr(FrozenWeights, "of_call", look)
    lin = eq.linearize(lm, token_ids=PROMPT)
    during_record = during.pop()
    lin.contributions()
    for outputs, attached in (during_record, during.pop()):
        torch.testing.assert_close(outputs, before["outputs"], rtol=1e-6, atol=1e-6)
        assert attached == []
    assert lin.exactness().exact
    assert_same(trace(second), before)


def test_a_replay_of_other_embeddings_keeps_the_coefficients_of_the_prompt() -> None:
    """The frozen network is affine: on half the input it gives the bias plus half of the rest."""
    lin = eq.linearize(llama("affine"), token_ids=PROMPT)
    whole, half, zero = (lin.network.replay(s * lin.inputs[None])[0] for s in (1.0, 0.5, 0.0))
    torch.testing.assert_close(half - zero, (whole - zero) / 2, rtol=1e-11, atol=1e-12)


def test_gradients_switched_off_by_the_caller_do_not_matter() -> None:
    with torch.no_grad():
        lin = eq.linearize(llama(), token_ids=PROMPT)
        matrix = lin.jacobian()
    assert not matrix.requires_grad
    assert not lin.contributions().requires_grad
    torch.testing.assert_close(matrix, eq.linearize(llama(), token_ids=PROMPT).jacobian(), rtol=0, atol=0)
