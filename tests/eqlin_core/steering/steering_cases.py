"""What the steering tests share: a tiny Llama, its operator, and the reference algorithm, written slowly on its own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.steering.operators import SteeringOperator, steering_operator
from tests.cases import PROMPT, llama

CONCEPT = [9, 4, 31]
STRENGTHS = [0.0, 0.3, 0.8, 1.5, 2.0]


def lm() -> LanguageModel:
    """The tiny random Llama, in float64; shared."""
    return llama("grouped")


@functools.cache
def operator(layers: int = 2, final_norm: bool = True, block: int | None = None) -> SteeringOperator:
    """The operator of the concept; shared."""
    return steering_operator(lm(), token_ids=CONCEPT, layers=layers, final_norm=final_norm, block=block)


def blocks(model: LanguageModel) -> Any:
    """The list of the model's blocks."""
    return next(m for m in model.model.get_decoder().children() if isinstance(m, torch.nn.ModuleList))


@torch.no_grad()
def slow_steering(
    model: LanguageModel,
    ids: Sequence[int],
    J: Tensor,
    strength: float,
    steps: int,
    block: int,
    form: str = "reference",
) -> tuple[list[int], Tensor]:
    """(ids, logits [steps, vocab]) by the reference algorithm: the whole text is computed anew for every token."""
    text, seen = list(ids), []
    for _ in range(steps):
        x = model.model.get_input_embeddings()(torch.tensor(text))
        a = torch.zeros_like(x)
        for i in range(len(text)):
            for k in range(i + 1):
                a[i] += J[k % len(J)] @ x[k]

        def push(module: Any, args: Any, kwargs: Any, a: Tensor = a) -> Any:
            h = args[0] if args else kwargs["hidden_states"]
            if form == "reference":
                pushed = h + strength * a * h.norm(dim=-1, keepdim=True) / (2 * a.norm(dim=-1, keepdim=True))
            else:
                pushed = strength * h + (1 - strength) * a
            return ((pushed, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": pushed})

        handle = blocks(model)[block].register_forward_pre_hook(push, with_kwargs=True)
        try:
            with eager_experts(model.model):  # the fused ones know no float64
                seen.append(model.model(input_ids=torch.tensor([text]), use_cache=False).logits[0, -1])
        finally:
            handle.remove()
        text.append(int(seen[-1].argmax()))
    return text[len(ids) :], torch.stack(seen)


__all__ = ["CONCEPT", "PROMPT", "STRENGTHS", "blocks", "lm", "operator", "slow_steering"]
