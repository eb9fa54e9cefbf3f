"""From a prompt to its exact linear map: what is asked for is checked, the decoder frozen, the map handed out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import torch

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import InvalidValue
from eqlin_core.maps.frozen_decoder import frozen_decoder
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import CheckedIds, prompt_ids, token_tensor
from eqlin_core.models.sites import SourcePlace, TargetPlace
from eqlin_core.models.texts import chat_ids
from eqlin_core.multiplication import MODES, passes
from eqlin_core.resources import plan
from eqlin_core.runs.chat import Message
from eqlin_core.runs.convention import Convention, Share


@overload
def linearize(
    lm: LanguageModel,
    prompt: str | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    chat: Sequence[Message] | None = None,
    source: SourcePlace = "embedding",
    target: TargetPlace = "output",
    final_norm: bool = True,
    gated_path: Share = "up",
    attention: Share = "held",
    position: int = -1,
    memory_budget: int | None = None,
    products: str = "ieee",
) -> LinearMap: ...


@overload
def linearize(
    lm: LanguageModel,
    prompt: list[str] | tuple[str, ...],
    *,
    source: SourcePlace = "embedding",
    target: TargetPlace = "output",
    final_norm: bool = True,
    gated_path: Share = "up",
    attention: Share = "held",
    position: int = -1,
    memory_budget: int | None = None,
    products: str = "ieee",
) -> list[LinearMap]: ...


def linearize(
    lm: LanguageModel,
    prompt: str | list[str] | tuple[str, ...] | None = None,
    *,
    token_ids: Sequence[int] | None = None,
    chat: Sequence[Message] | None = None,
    source: SourcePlace = "embedding",
    target: TargetPlace = "output",
    final_norm: bool = True,
    gated_path: Share = "up",
    attention: Share = "held",
    position: int = -1,
    memory_budget: int | None = None,
    products: str = "ieee",
) -> LinearMap | list[LinearMap]:
    """The exact linear map of ``lm`` at this prompt, from ``source`` to ``target`` at ``position`` (Golden 2025, eq 4).

    In place of a prompt: ``token_ids`` (a list, or a tensor [1, T]), or a ``chat``, messages {"role", "content"} in the
    model's own template, of which a last one of the assistant is what it has begun to answer. A list of prompts gives
    a list of maps, each with a recording of its own.
    ``target`` is the output embedding or a place in a block, read through the final norm unless ``final_norm=False``.
    ``gated_path`` and ``attention`` choose among the exact maps, as ``Convention`` says: which path of a gated product
    ("up", "half", "gate", or the share 0 to 1 of the gate's path) and of attention's weights times values ("held",
    "half", "live", or the share of the weights' path) is linear. With attention not held the map is affine even without
    biases, and costs more. ``memory_budget`` (bytes) bounds the chunks.
    Float32 numbers are multiplied by all their digits whatever the process has set; ``products="tf32"`` asks for TF32.
    Raises EqlinError for an empty or too long prompt, a place that does not exist, or a model that cannot be frozen.
    """
    options: dict[str, Any] = {
        "source": source,
        "target": target,
        "final_norm": final_norm,
        "convention": Convention(gated_path, attention),
        "position": position,
        "memory_budget": memory_budget,
        "products": products,
    }
    if isinstance(prompt, list | tuple):
        if token_ids is not None or chat is not None:
            raise InvalidValue("Give one of a prompt, token_ids=[...] and chat=[...].")
        return [_linearize(lm, prompt_ids(lm, one), **options) for one in prompt]
    return _linearize(lm, _ids(lm, prompt, token_ids, chat), **options)


def _ids(
    lm: LanguageModel, prompt: str | None, token_ids: Sequence[int] | None, chat: Sequence[Message] | None
) -> CheckedIds:
    if chat is None:
        return prompt_ids(lm, prompt, token_ids)
    if prompt is not None or token_ids is not None:
        raise InvalidValue("Give one of a prompt, token_ids=[...] and chat=[...].")
    return chat_ids(checked_model(lm), chat)


@passes
def _linearize(
    lm: LanguageModel,
    ids: CheckedIds,
    *,
    source: SourcePlace,
    target: TargetPlace,
    final_norm: bool,
    convention: Convention,
    position: int,
    memory_budget: int | None,
    products: str,
) -> LinearMap:
    position = arguments.position("position", position, len(ids), f"the prompt has {len(ids)} tokens")
    final_norm = arguments.flag("final_norm", final_norm)
    memory_budget = arguments.budget("memory_budget", memory_budget)
    _check_products(lm, products)
    plan.require_room(lm, len(ids))
    tensor = token_tensor(lm, ids)
    with torch.no_grad():
        embeddings = lm.model.get_input_embeddings()(tensor)
    network = frozen_decoder(
        lm,
        embeddings,
        source=source,
        target=target,
        final_norm=final_norm,
        convention=convention,
        ids=ids,
        products=products,
    )
    return LinearMap(lm, network, ids, position % len(ids), memory_budget)


def _check_products(lm: LanguageModel, products: str) -> None:
    arguments.choice("products", products, MODES)
    if products != "ieee" and lm.dtype != torch.float32:
        raise InvalidValue(
            f"TF32 multiplies float32 numbers, and the model is in {dtype_name(lm.dtype)}: leave it out."
        )
