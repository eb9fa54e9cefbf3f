"""What probes said of a module is remembered for as long as the module is what it was."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.freezing import leaves, probes
from tests.cases import PROMPT


def counted(module: nn.Module, key: str = "key") -> tuple[list[int], object]:
    """(calls of the probe, its answer) of two questions in a row."""
    calls: list[int] = []

    def probe() -> object:
        calls.append(1)
        return object()

    first = probes.remembered(module, key, probe)
    assert probes.remembered(module, key, probe) is first or len(calls) == 2
    return calls, first


def test_a_module_is_asked_once_and_for_each_kind_of_question() -> None:
    norm = nn.LayerNorm(4)
    calls, first = counted(norm)
    assert len(calls) == 1
    again, same = counted(norm)
    assert again == []
    assert same is first
    assert len(counted(norm, "another")[0]) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda norm: norm.weight.data.add_(1),
        lambda norm: torch.nn.init.constant_(norm.weight, 2.0),
        lambda norm: setattr(norm, "weight", nn.Parameter(norm.weight.detach().clone())),
        lambda norm: setattr(norm.weight, "data", norm.weight.detach().clone()),
        lambda norm: setattr(norm, "eps", 1e-3),
        lambda norm: setattr(norm, "forward", lambda x: x),
        lambda norm: norm.double(),
        lambda norm: norm.register_buffer("shift", torch.zeros(4)),
        lambda norm: norm.eval(),
    ],
)
def test_a_module_that_changed_is_asked_again(change: object) -> None:
    norm = nn.LayerNorm(4)
    counted(norm)
    change(norm)  # type: ignore[operator]
    assert len(counted(norm)[0]) == 1


def test_weights_that_do_not_tell_when_they_change_are_asked_about_every_time() -> None:
    with torch.inference_mode():
        silent = nn.LayerNorm(4)
    assert len(counted(silent)[0]) == 2
    assert len(counted(nn.LayerNorm(4, device="meta"))[0]) == 2


def test_an_answer_goes_with_its_module() -> None:
    norm = nn.LayerNorm(4)
    _, answer = counted(norm)
    gone = weakref.ref(norm)
    del norm
    gc.collect()
    assert gone() is None
    assert answer is not None


def test_the_second_prompt_probes_nothing_and_is_the_same_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh, asked = tiny_model("llama"), tiny_model("llama")
    eq.linearize(asked, token_ids=PROMPT[:4])
    expected = eq.linearize(fresh, token_ids=PROMPT[:6]).jacobian()

    def never(*of: object) -> None:
        raise AssertionError("this module was asked before")

    monkeypatch.setattr(leaves, "probe_norm", never)
    monkeypatch.setattr(leaves, "probe_activation", never)
    # the probe is part of the key
    for known in probes._answers.values():
        for key in [key for key in known if isinstance(key, tuple)]:
            known[never, *key[1:]] = known[key]
    assert torch.equal(eq.linearize(asked, token_ids=PROMPT[:6]).jacobian(), expected)


def test_a_norm_whose_weight_was_changed_by_hand_is_frozen_as_it_is_now() -> None:
    model = tiny_model("llama")
    assert eq.linearize(model, token_ids=PROMPT[:5]).exactness().exact
    with torch.no_grad():
        for name, weight in model.model.named_parameters():
            if "norm" in name:
                weight.mul_(1.7)
    assert eq.linearize(model, token_ids=PROMPT[:5]).exactness().exact
