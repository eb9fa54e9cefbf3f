"""A transformers model that is already in memory, seen through a view: the model itself is never touched.

The engine switches a model to evaluation, drops its gradients and changes its attention for a while. A view has modules
and a configuration of its own for all that, and shares the weights with the model, so it takes no memory and follows
further training. Hooks of its owner travel with the modules and are called in the view's passes, too.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from eqlin_core.errors import EqlinError


def view_of(model: Any) -> Any:
    """A view of a transformers model, or of the one inside a PEFT model: its own modules, the model's weights.

    Raises EqlinError for what is no transformers model, wraps one, or cannot be viewed.
    """
    viewed = _transformers_model(model)
    shared: dict[int, Any] = {}
    for parameter in viewed.parameters():
        shared[id(parameter)] = _without_gradient(parameter)
    for buffer in viewed.buffers():
        shared[id(buffer)] = buffer
    for kept in _offloaded_weights(viewed):
        shared[id(kept)] = kept
    try:
        return copy.deepcopy(viewed, shared)
    except (TypeError, RuntimeError) as error:
        raise EqlinError(
            f"{type(viewed).__name__} holds something that has no copy ({error}): remove its hooks, or load the model "
            "anew."
        ) from error


def _transformers_model(model: Any) -> Any:
    from transformers import PreTrainedModel  # noqa: PLC0415 - transformers is slow to import

    if hasattr(model, "get_base_model") and hasattr(model, "peft_config"):
        if getattr(model.active_peft_config, "is_prompt_learning", False):
            raise EqlinError(
                "This adapter puts virtual tokens before the prompt, which no map from the prompt's tokens contains: "
                "use one that changes the weights, such as LoRA."
            )
        model = model.get_base_model()
    if isinstance(model, PreTrainedModel):
        return model
    kind = type(model).__name__
    if isinstance(model, nn.Module):
        for name, inner in model.named_modules():
            if isinstance(inner, PreTrainedModel):
                raise EqlinError(f"{kind} wraps a transformers model: pass that one, model.{name}.")
    raise EqlinError(f"{kind} is no transformers model: pass a causal language model of transformers, such as Llama.")


def _without_gradient(parameter: nn.Parameter) -> nn.Parameter:
    """The same values as a parameter that needs no gradient; a quantised weight, which has none, is itself."""
    if type(parameter) is not nn.Parameter and not parameter.requires_grad:
        return parameter
    return nn.Parameter(parameter.detach(), requires_grad=False)


def _offloaded_weights(model: nn.Module) -> list[Any]:
    """What accelerate's hooks keep of weights that are on no device: shared as well, not copied."""
    hooks = [hook for module in model.modules() if (hook := getattr(module, "_hf_hook", None)) is not None]
    hooks += [inner for hook in hooks for inner in getattr(hook, "hooks", ())]
    names = ("weights_map", "tied_params_map")
    return [kept for hook in hooks for name in names if (kept := getattr(hook, name, None)) is not None]
