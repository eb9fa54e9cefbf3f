"""What nobody reads of a replay has a shape and no values; where it is read after all, the replay is run in full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from eqlin_core.freezing.unread import Read, StandIns, Unread, any_unread
from tests.cases import PROMPT

REAL = torch.randn(2, 5, 12, generator=torch.Generator().manual_seed(0))
WEIGHT = torch.randn(7, 12, generator=torch.Generator().manual_seed(1))


def stand_in(made: StandIns) -> Unread:
    return made.of_shape((2, 5, 12), REAL)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.Tensor.mul(x, REAL[0]),
        lambda x: torch.Tensor.view(x, 2, 5, 3, -1),
        lambda x: torch.Tensor.__getitem__(x, (..., slice(None, 6))),
        lambda x: torch.cat([x, REAL], -1),
        lambda x: torch.nn.functional.linear(x, WEIGHT),
        lambda x: torch.Tensor.to(x, torch.float64),
        lambda x: torch.Tensor.transpose(x, 1, 2),
        lambda x: torch.softmax(x, -1),
        lambda x: torch.Tensor.__invert__(torch.Tensor.gt(x, 0)),
        lambda x: torch.Tensor.__imul__(torch.Tensor.mul(x, 2), 3),
    ],
)
def test_what_is_made_of_it_has_the_shape_that_values_would_have(function: Callable[[Any], Tensor]) -> None:
    made, calls = StandIns(), []

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            calls.append(func)
            unread = any_unread(args, kwargs or {})
            return made.after(func, func.__name__, args, kwargs or {}) if unread else func(*args, **(kwargs or {}))

    expected = function(REAL)
    with Mode():
        found, again = function(stand_in(made)), function(stand_in(made))
    assert calls
    assert type(found) is Unread
    assert found is again
    assert (found.shape, found.dtype, found.device) == (expected.shape, expected.dtype, expected.device)


@pytest.mark.parametrize(
    "read",
    [
        lambda made, x: made.after(torch.Tensor.item, "item", (made.after(torch.sum, "sum", (x,), {}),), {}),
        lambda made, x: made.after(torch.Tensor.copy_, "copy_", (REAL.clone(), x), {}),
        lambda made, x: made.after(torch.Tensor.__setitem__, "__setitem__", (REAL.clone(), 0, x[0]), {}),
        lambda made, x: made.after(torch.Tensor.__int__, "__int__", (made.after(torch.sum, "sum", (x,), {}),), {}),
        lambda made, x: x.tolist(),
        lambda made, x: x + 1,
    ],
)
def test_values_are_refused(read: Callable[[StandIns, Tensor], object]) -> None:
    made = StandIns()
    with pytest.raises(Read):
        read(made, stand_in(made))


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3", "olmo2", "mixtral", "phi3"])
def test_a_replay_with_stand_ins_is_the_same_to_the_last_bit(family: str) -> None:
    lean, full = (eq.linearize(tiny_model(family), token_ids=PROMPT) for _ in range(2))
    full.network._functions.lean = False
    assert torch.equal(lean.contributions(), full.contributions())
    assert lean.network._functions.lean
    if family != "mixtral":  # whose routers choose, so that every value counts
        assert lean.network._functions.stand_ins._made or family == "phi3"  # it has one projection for all three


def test_where_something_reads_them_the_replay_is_run_in_full() -> None:
    lm = tiny_model("llama")
    expected = eq.linearize(lm, token_ids=PROMPT).contributions()
    read: list[float] = []
    project = dict(lm.model.named_modules())["model.layers.1.self_attn.q_proj"]
    handle = project.register_forward_hook(lambda _m, _a, out: read.append(float(out.detach().sum())))
    try:
        lin = eq.linearize(lm, token_ids=PROMPT)
        assert torch.equal(lin.contributions(), expected)
    finally:
        handle.remove()
    assert len(read) >= 2
    assert not lin.network._functions.lean


def test_modules_answer_by_themselves_again_after_a_replay() -> None:
    lm = tiny_model("llama")
    eq.linearize(lm, token_ids=PROMPT).contributions()
    assert not [name for name, module in lm.model.named_modules() if "forward" in vars(module)]
