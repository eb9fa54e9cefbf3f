"""The models that a public server offers: the default, and what the operator lists or has fetched before."""

from __future__ import annotations

import os
from pathlib import Path

from eqlin_core.models.presets import PRESETS
from pages.door.settings import Settings
from pages.worker.request import DEFAULT_MODEL


def offered(served: Settings) -> tuple[str, ...]:
    """The names that a visitor may ask for, letter by letter, the default first.

    Of a listed folder that holds models, each of them. Without a list: the presets that lie on this machine.
    """
    if not served.models:
        return (DEFAULT_MODEL, *(name for name in PRESETS if is_here(name)))
    return tuple(dict.fromkeys([DEFAULT_MODEL, *(one for name in served.models for one in _within(name))]))


def is_here(name: str) -> bool:
    """Whether a model lies on this machine: the default, which comes by itself, a folder, a file, or a hub's copy."""
    if name == DEFAULT_MODEL or _is_model(name):
        return True
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - reads the environment when it is imported
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        hub_id = PRESETS[name].hub_id if name in PRESETS else name
        return isinstance(try_to_load_from_cache(hub_id, "config.json"), str)
    except HFValidationError:
        return False


def _within(name: str) -> list[str]:
    """The models of a folder of models, else the name itself."""
    place = Path(name).expanduser()
    if name in PRESETS or not place.is_dir() or _is_model(str(place)):
        return [name]
    return [path for path in sorted(os.path.join(name, inside) for inside in os.listdir(place)) if _is_model(path)]


def _is_model(name: str) -> bool:
    place = Path(name).expanduser()
    return (place / "config.json").is_file() or (place.suffix == ".gguf" and place.is_file())
