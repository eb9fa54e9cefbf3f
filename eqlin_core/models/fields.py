"""What is read of a configuration beside its shapes: numbers that size a run, and whether a model stands alone."""

from __future__ import annotations

from typing import Any

from eqlin_core.errors import EqlinError


def largest(config: Any, name: str) -> int | None:
    """The field of this name, the largest where layers differ; None where the configuration has none."""
    try:
        found = getattr(config, name, None)
    except RuntimeError:  # transformers refuses a number for all where layers have their own
        found = [getattr(layer, name, None) for layer in config.per_layer_config]
    if isinstance(found, list | tuple):
        return max((int(number) for number in found if number is not None), default=None)
    return None if found is None else int(found)


def require_own_prompt(config: Any) -> None:
    """Raise EqlinError for an assistant, which drafts for another model by what that has read of the prompt."""
    if getattr(config, "backbone_hidden_size", None):
        raise EqlinError(
            f"{config.model_type} is an assistant: it reads the keys and values of another model and not a prompt "
            "of its own, so it has no map from one."
        )
