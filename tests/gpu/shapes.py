"""Models of true shapes with random weights on the device, or tiny ones in their stead."""

from __future__ import annotations

import eqlin_core as eq
from tests.benchmarks.scale import shaped
from tests.gpu.setting import Setting

TINY = {"llama-3.2-3b": "llama", "qwen3-8b": "qwen3"}


def model_of(shape: str, dtype: str, setting: Setting) -> eq.LanguageModel:
    """The model of this shape."""
    if setting.tiny:
        return setting.model(TINY[shape], dtype)
    return shaped(shape, dtype, str(setting.device))
