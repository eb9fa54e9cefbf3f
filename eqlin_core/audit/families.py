"""Decoder families by name, and a tiny random model of each: what the exactness table and the tests are made from.

A tiny model has the whole architecture of its family at width 32: every kind of layer at least three times, biases and
norm weights away from their initial zeros and ones, queries and keys large enough that attention is not uniform, and a
sliding window that a short prompt outgrows.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel

# Positions that a query still sees in the sliding-window layers of a tiny model; prompts are twice as long.
WINDOW = 4
_WIDTH, _INNER, _VOCAB = 32, 40, 64
_PAIRS = {"layer_types": ["sliding_attention", "full_attention"] * 3, "num_hidden_layers": 6, "sliding_window": WINDOW}
_EXPERTS = {"num_experts_per_tok": 2, "output_router_logits": False}


@dataclass(frozen=True)
class Family:
    """One architecture of transformers: its ``model_type``, what it is known by, and its tiny configuration."""

    model_type: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    affine: bool = False
    gated: bool = True


FAMILIES = {
    "llama": Family("llama", "Llama 3, SmolLM2, DeepSeek distills"),
    "qwen3": Family("qwen3", "Qwen 3"),
    "gemma3": Family("gemma3_text", "Gemma 3", {**_PAIRS, "query_pre_attn_scalar": 2}),
    "gemma3-multimodal": Family("gemma3", "Gemma 3, multimodal", {"text": {**_PAIRS, "query_pre_attn_scalar": 2}}),
    "phi3": Family("phi3", "Phi 3, Phi 4", {"sliding_window": WINDOW, "pad_token_id": 0}),
    "mistral": Family("mistral", "Mistral", {"sliding_window": WINDOW}),
    "ministral": Family("ministral", "Ministral", _PAIRS),
    "olmo2": Family("olmo2", "OLMo 2"),
    "qwen2": Family("qwen2", "Qwen 2", affine=True),
    "gpt2": Family("gpt2", "GPT-2", {"n_inner": _INNER}, affine=True, gated=False),
    "gpt_neox": Family("gpt_neox", "GPT-NeoX, Pythia", affine=True, gated=False),
    "opt": Family("opt", "OPT", {"ffn_dim": _INNER, "word_embed_proj_dim": _WIDTH}, affine=True, gated=False),
    "phi": Family("phi", "Phi 1, Phi 2", affine=True, gated=False),
    "starcoder2": Family("starcoder2", "StarCoder 2", {"sliding_window": WINDOW}, affine=True, gated=False),
    "granite": Family(
        "granite",
        "Granite",
        {
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.4,
            "attention_multiplier": 0.2,
            "logits_scaling": 4.0,
            "attention_bias": True,
            "mlp_bias": True,
        },
        affine=True,
    ),
    "gemma2": Family(
        "gemma2", "Gemma 2", {**_PAIRS, "attn_logit_softcapping": 4.0, "query_pre_attn_scalar": 4}
    ),
    "cohere2": Family("cohere2", "Cohere 2", {**_PAIRS, "logit_scale": 0.5}),
    "mixtral": Family("mixtral", "Mixtral", {**_EXPERTS, "num_local_experts": 4, "sliding_window": WINDOW}),
    "qwen3_moe": Family("qwen3_moe", "Qwen 3 MoE", {**_EXPERTS, "num_experts": 6, "moe_intermediate_size": 24}),
    "gpt_oss": Family(
        "gpt_oss",
        "gpt-oss",
        {**_PAIRS, **_EXPERTS, "num_local_experts": 4, "swiglu_limit": 1.5, "rope_scaling": None},
        affine=True,
    ),
    "olmo3": Family("olmo3", "OLMo 3", _PAIRS),
    "smollm3": Family("smollm3", "SmolLM 3"),
}  # fmt: skip


def tiny_model(name: str, dtype: torch.dtype = torch.float64, seed: int = 0, **options: Any) -> LanguageModel:
    """A tiny random model of the family ``name``, without a tokenizer; ``options`` override its configuration.

    The same seed gives the same weights in every dtype. Raises EqlinError for an unknown family.
    """
    if name not in FAMILIES:
        raise EqlinError(f"There is no family {name!r}; choose one of {', '.join(FAMILIES)}.")
    family = FAMILIES[name]
    return build_tiny(family.model_type, {**family.options, **options}, dtype, seed, name=f"tiny {name}")


def build_tiny(
    model_type: str, options: dict[str, Any], dtype: torch.dtype = torch.float64, seed: int = 0, name: str | None = None
) -> LanguageModel:
    """A tiny random model of any ``model_type`` that transformers knows as a causal language model."""
    from transformers import AutoConfig, AutoModelForCausalLM  # noqa: PLC0415 - transformers is slow to import

    text = {**_BASE, **{k: v for k, v in options.items() if k != "text"}}
    if "text" in options:  # a multimodal wrapper: the language part in its own configuration, a small vision tower
        text = {"text_config": {**_BASE, **options["text"]}, "vision_config": _VISION, "mm_tokens_per_image": 4}
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # randomise adds to some of what transformers has drawn
        config = AutoConfig.for_model(model_type, **text)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    return LanguageModel.wrap(model.to(dtype), name=name or model_type)


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Give every parameter of ``model`` a value that a test can see: no zero bias, no norm weight of one."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        draw = torch.randn(parameter.shape, generator=generator)
        if parameter.dim() == 1 or "bias" in name:
            parameter.add_(0.2 * draw)  # biases, norm weights, sinks
        elif any(kind in name for kind in ("embed", "wte", "wpe", "lm_head")):
            parameter.copy_(0.5 * draw)
        else:
            sharper = (
                2.0 if any(part in name for part in ("q_", "k_", "qkv", "query", "c_attn", "router", "gate.")) else 1
            )
            parameter.copy_(sharper * draw / parameter.shape[-1] ** 0.5)


def tiny_prompt(seed: int = 0, length: int = 3 * WINDOW - 1) -> list[int]:
    """Random token ids for a tiny model; longer than twice its sliding window unless ``length`` says otherwise."""
    return torch.randint(3, _VOCAB, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


_BASE: dict[str, Any] = {
    "vocab_size": _VOCAB,
    "hidden_size": _WIDTH,
    "intermediate_size": _INNER,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back transformers' remarks on unusual configurations, of which a tiny one is full."""
    logger = logging.getLogger("transformers")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
