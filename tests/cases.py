"""The shared list of models that engine tests run on, each built once: tiny random ones and the real default model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eqlin_core.audit.families import FAMILIES, tiny_model, tiny_prompt
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.linearization import linearize
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.loading import load_model

MARIN = "The bridge out of Marin is the"
PROMPT = tiny_prompt()
FAMILY_NAMES = list(FAMILIES)
# Llamas for properties that do not depend on the family: with grouped heads, biases (affine), tied embeddings.
LLAMAS: dict[str, dict[str, Any]] = {
    "plain": {"num_key_value_heads": 4},
    "grouped": {},
    "affine": {"attention_bias": True, "mlp_bias": True},
    "tied": {"tie_word_embeddings": True},
}


@functools.cache
def family(name: str, dtype: torch.dtype = torch.float64) -> LanguageModel:
    """The tiny random model of a family; shared, so a test that changes a model builds its own with ``tiny_model``."""
    return tiny_model(name, dtype)


@functools.cache
def llama(variant: str = "grouped", dtype: torch.dtype = torch.float64) -> LanguageModel:
    """The tiny random Llama of a variant in ``LLAMAS``; shared."""
    return tiny_model("llama", dtype, **LLAMAS[variant])


@functools.cache
def default_model(dtype: str = "float64") -> LanguageModel:
    """The real bundled default model; shared."""
    return load_model("smollm2-135m", dtype, device="cpu")


@functools.cache
def marin_map(dtype: str = "float64") -> LinearMap:
    """The default model's map at ``MARIN`` with its matrix; shared."""
    lin = linearize(default_model(dtype), MARIN)
    lin.jacobian()
    return lin


@torch.no_grad()
def stock_outputs(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    """[T, d] output embeddings of every position, by the untouched model."""
    lm.model.set_experts_implementation("eager")  # the fused experts know no float64
    return lm.model.get_decoder()(input_ids=torch.tensor([list(ids)]), use_cache=False).last_hidden_state[0]


@torch.no_grad()
def stock_residual_stream(lm: LanguageModel, ids: Sequence[int]) -> list[Tensor]:
    """[T, d] after each block, by the untouched model, before the final norm."""
    seen: list[Tensor] = []
    layers = next(m for m in lm.model.get_decoder().children() if isinstance(m, torch.nn.ModuleList))
    handles = [
        layer.register_forward_hook(lambda m, a, out: seen.append((out[0] if isinstance(out, tuple) else out)[0]))
        for layer in layers
    ]
    try:
        stock_outputs(lm, ids)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def relative(value: Tensor, reference: Tensor) -> float:
    """||value - reference|| / ||reference||."""
    return float((value - reference).double().norm() / reference.double().norm())
