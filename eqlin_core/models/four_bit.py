"""4-bit weights by bitsandbytes, an optional package: linear layers in NF4, everything else and all sums in float32.

What is analysed is then the quantised model, to the accuracy of float32.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from eqlin_core.errors import EqlinError

NAME = "4bit"
# The type of everything that is not a 4-bit weight: a lower one would be cast to on the linear path.
DTYPE = torch.float32
# Half a byte for each weight of a linear layer, and embeddings in float32.
BYTES_PER_WEIGHT = 1

_REPACKS = "support_avx512bf16_for_cpu"


def require_bitsandbytes() -> None:
    """Raise EqlinError where bitsandbytes is not installed."""
    if find_spec("bitsandbytes") is None:
        raise EqlinError("4-bit weights need the package bitsandbytes: pip install bitsandbytes, or choose float32.")


def reading_options(device: torch.device) -> dict[str, Any]:
    """What ``from_pretrained`` is told, to read weights in four bits."""
    from transformers import BitsAndBytesConfig  # noqa: PLC0415

    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=DTYPE)
    return {"quantization_config": config, "device_map": {"": device}}


def keep_linear(model: torch.nn.Module) -> None:
    """Keep the 4-bit layers of ``model`` as they are on a CPU.

    On CPUs with AVX512-BF16 they would be repacked at the first pass without gradients, and from then on multiply in
    bfloat16 and have no reverse pass.
    """
    for module in model.modules():
        if hasattr(module, _REPACKS):
            setattr(module, _REPACKS, False)
