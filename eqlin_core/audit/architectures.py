"""Every causal language model of the installed transformers as a tiny random model with all its kinds of layers.

A configuration is shrunk by the names of its fields, which the architectures share: whatever a field is called that
counts dimensions, heads, experts or layers gets a small value, and a list with a kind for every layer gets each kind
that the architecture knows. What no rule of that sort reaches stands in ``SPECIAL``.
"""

from __future__ import annotations

from typing import Any

import torch

from eqlin_core.audit.families import WINDOW, randomise
from eqlin_core.models.fields import require_own_prompt
from eqlin_core.models.language_model import LanguageModel

LAYERS = 4
# Values of fields that count something, by what they are called.
TINY: dict[str, Any] = {
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input", "encoder_vocab_size", "decoder_vocab_size"), 64),
    **dict.fromkeys(("hidden_size", "n_embd", "d_model", "embedding_size", "attention_hidden_size", "lru_width"), 32),
    **dict.fromkeys(
        (
            *(
                "intermediate_size",
                "ffn_dim",
                "n_inner",
                "encoder_ffn_dim",
                "decoder_ffn_dim",
                "dff",
                "ffn_hidden_size",
            ),
            *("intermediate_size_mlp", "dense_intermediate_size", "shared_intermediate_size", "moe_intermediate_size"),
            *("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "mlp_hidden_size", "dim_ff"),
            *("shared_experts_intermediate_size", "moe_dense_intermediate_size", "expert_ffn_hidden_size"),
        ),
        40,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "decoder_layers", "encoder_layers"), LAYERS
    ),
    **dict.fromkeys(("num_decoder_layers", "num_encoder_layers"), LAYERS),
    **dict.fromkeys(
        (
            *("num_attention_heads", "n_head", "n_heads", "num_heads", "decoder_attention_heads"),
            *("encoder_attention_heads", "num_decoder_attention_heads", "num_encoder_attention_heads"),
            *("swa_num_attention_heads", "linear_num_value_heads", "index_n_heads", "linear_num_heads"),
        ),
        4,
    ),
    **dict.fromkeys(
        ("num_key_value_heads", "swa_num_key_value_heads", "linear_num_key_heads", "num_global_key_value_heads"), 2
    ),
    **dict.fromkeys(
        (
            *("head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "swa_head_dim", "linear_head_dim"),
            *(
                "linear_key_head_dim",
                "linear_value_head_dim",
                "index_head_dim",
                "kv_channels",
                "rotary_dim",
                "swa_v_head_dim",
            ),
            *("global_head_dim", "mamba_d_head", "mamba_head_dim", "dim_head"),
        ),
        8,
    ),
    "qk_head_dim": 16,
    **dict.fromkeys(("kv_lora_rank", "q_lora_rank", "o_lora_rank", "hidden_size_per_layer_input"), 16),
    **dict.fromkeys(
        ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", "num_experts_total"), 4
    ),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts"), 2),
    **dict.fromkeys(("n_group", "topk_group", "num_expert_group", "n_shared_experts", "num_shared_experts"), 1),
    **dict.fromkeys(("first_k_dense_replace", "num_dense_layers", "moe_num_shared_experts"), 1),
    **dict.fromkeys(("sliding_window", "attention_chunk_size", "sliding_window_size", "attention_window_size"), WINDOW),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"), 64),
    **dict.fromkeys(("state_size", "mamba_d_state", "ssm_state_size"), 4),
    **dict.fromkeys(("time_step_rank", "mamba_dt_rank", "laurel_rank"), 3),
    **dict.fromkeys(("mamba_n_groups", "n_groups", "mamba_ngroups", "num_kv_shared_layers"), 1),
    **dict.fromkeys(("mamba_chunk_size", "chunk_size"), WINDOW),
    **dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "n_mamba_heads"), 8),
    **dict.fromkeys(("index_topk",), 4),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1),
    "max_window_layers": 2,
    "output_router_logits": False,
}
# What only one architecture needs, and what turns a kind of layer on that its default leaves out.
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_WIDE_ATTENTION = {"attention_hidden_size": 64, "attention_head_dim": 16}
_INDEXER = {
    "indexer_n_heads": 4,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": WINDOW,
    "indexer_compress_ratio": 2,
}
_DBRX_EXPERTS = {"hidden_size": 32, "ffn_hidden_size": 40, "moe_num_experts": 4, "moe_top_k": 2}
_SLIDING_HEADS = {
    "swa_num_attention_heads": 4,
    "swa_num_key_value_heads": 4,
    "swa_q_lora_rank": 16,
    "swa_kv_lora_rank": 16,
    "swa_head_dim": 16,
    "swa_qk_nope_head_dim": 8,
    "swa_v_head_dim": 8,
}
_ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}
SPECIAL: dict[str, dict[str, Any]] = {
    "dbrx": {"attn_config": {"kv_n_heads": 2, "clip_qkv": 0.5, "rope_theta": 10000.0}, "ffn_config": _DBRX_EXPERTS},
    "blt": {"vocab_size": 260, "encoder_hash_byte_group_vocab": 50, "local_attention_window_len": WINDOW},
    "deepseek_v2": _ROUTED,
    "dots3_note_text": {"num_key_value_heads": 4, "head_dim": 16, "first_k_dense_replace": 1} | _SLIDING_HEADS,
    "dots1": _ROUTED,
    "falcon_h1": {"mamba_d_ssm": 64},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "window_size": WINDOW},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "jamba": {"layer_types": None, "attn_layer_period": 2, "attn_layer_offset": 1},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": 8},
    "gemma3n_text": {"activation_sparsity_pattern": [0.6, 0.0] * 2},
    "hrm_text": {"num_hidden_layers": 2, "L_bp_cycles": [1], "head_dim": 8, "embedding_scale": 3.0},
    "reformer": {
        "is_decoder": True,
        "attention_head_size": 8,
        "feed_forward_size": 40,
        "hash_seed": 0,
        "num_buckets": 4,
        "attn_layers": ["local", "lsh"] * 2,
        "num_hashes": 2,
        "axial_pos_embds": False,
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
    },
    "xmod": {"default_language": "en_XX"},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp_text": _INDEXER,
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "zaya": {"num_experts_per_tok": 1},
    "xlm": {"emb_dim": 32},
    "zamba": {
        **_WIDE_ATTENTION,
        "num_hidden_layers": 6,
        "layer_types": ["linear_attention", "linear_attention", "hybrid"] * 2,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid"] * 2,
    },
    "zamba2": {**_WIDE_ATTENTION, "layers_block_type": ["mamba", "hybrid"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "bamba": {"attn_layer_indices": [1, 3]},
}
# What a second model of a type has on: kinds of layers that the first one leaves out, because it has others.
ALSO: dict[str, dict[str, Any]] = {
    "cohere2_moe": {"rms_norm_eps": 1e-6},
    "doge": {"is_moe": True, "num_experts": 16, "num_experts_per_tok": 2},
    "falcon_h1": {"mamba_rms_norm": True},
    "gemma4_text": {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 40},
    "granitemoehybrid": {"position_embedding_type": "rope"},
    "inkling_text": {"mlp_layer_types": ["dense", "sparse"] * 2},
    "mellum": {"mlp_layer_types": ["dense", "sparse"] * 2},
    "minimax_m3_vl_text": {
        "layer_types": ["full_attention", "minimax_m3_sparse"] * 2,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_block_size": 2,
        "index_topk_blocks": 2,
    },
    "qwen3_moe": {"mlp_only_layers": [1]},
    "qwen4_exp_text": {
        "ple_layer_ids": [1],
        "ngram_vocab_size_base": 50,
        "make_ngram_vocab_size_divisible_by": 8,
        "heads_per_ngram": 2,
        "split_ngram_parts": 2,
        "eos_token_id": 1,
    },
    "trocr": {"use_learned_position_embeddings": False},
    "zamba2": {"use_mem_rope": True},
}
# What the parts of a nested configuration need, by their own type or by the type of the whole.
_SMALL_BLT = {"hidden_size": 32, "intermediate_size": 40, "num_attention_heads": 4, "num_key_value_heads": 4}
PARTS: dict[str, dict[str, dict[str, Any]]] = {
    "dots3_note": {
        "vision_config": {
            "adapter_in_dim": 16,
            "adapter_out_dim": 32,
            "moe_intermediate_size": 16,
            "num_local_experts": 2,
            "num_experts_per_tok": 1,
        },
        "audio_config": {"adapter_input_size": 16, "adapter_out_dim": 32, "downsample_hidden_size": 8},
    },
    "blt": {
        "patcher_config": {**_SMALL_BLT, "num_hidden_layers": 2, "sliding_window": WINDOW},
        "encoder_config": {**_SMALL_BLT, "num_hidden_layers": 1, "hidden_size_global": 64},
        "decoder_config": {**_SMALL_BLT, "num_hidden_layers": 3, "hidden_size_global": 64},
        "global_config": {**_SMALL_BLT, "hidden_size": 64, "head_dim": 16, "num_hidden_layers": LAYERS},
    },
}
_VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def architectures() -> list[str]:
    """The model types that transformers knows as causal language models, by name."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as known  # noqa: PLC0415

    return sorted(known)


def tiny_architecture(
    model_type: str, dtype: torch.dtype = torch.float64, seed: int = 0, *, second: bool = False
) -> LanguageModel:
    """A tiny random model of this type, without a tokenizer; the ``second`` has the kinds of layers of ``ALSO``.

    Raises EqlinError for an assistant of another model. What transformers raises for a type goes through.
    """
    from transformers import CONFIG_MAPPING, AutoConfig  # noqa: PLC0415 - transformers is slow to import
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING as CLASSES  # noqa: PLC0415

    parts = PARTS.get(model_type, {})
    require_own_prompt(CONFIG_MAPPING[model_type])
    default = AutoConfig.for_model(model_type)
    kind = CLASSES[type(default)]
    if not isinstance(default, kind.config_class):  # the language model is one part of it
        named = (getattr(default, name) for name in default.sub_configs)
        default = next((part for part in named if isinstance(part, kind.config_class)), default)
    special = {name: _special(name, second) for name in (SPECIAL | ALSO)}
    options = _tiny(default) | special.get(default.model_type, {})
    text = default.get_text_config(decoder=True)
    if text is not default or parts:
        for name in default.sub_configs:
            part = getattr(default, name)
            if part is not None:
                own = special.get(part.model_type, {}) if part is text else _VISION
                options[name] = _tiny(part) | own | parts.get(name, {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = type(default)(**{k: v for k, v in options.items() if v is not None})
        model = kind._from_config(config, dtype=torch.float32)
    randomise(model, seed)
    return LanguageModel.wrap(model.to(dtype), name=model_type)


def has_second(model_type: str) -> bool:
    """Whether a second tiny model of this type has kinds of layers that the first has not."""
    return model_type in ALSO or f"{model_type}_text" in ALSO


def _special(model_type: str, second: bool) -> dict[str, Any]:
    return SPECIAL.get(model_type, {}) | (ALSO.get(model_type, {}) if second else {})


def _tiny(config: Any) -> dict[str, Any]:
    """The fields of one configuration that are made small."""
    known = {**{k: v for k, v in vars(config).items() if not k.startswith("_")}}
    options = {name: TINY[name] for name, value in known.items() if name in TINY and value is not None}
    if "kv_lora_rank" in options:  # latent attention has keys and values for every head
        options["num_key_value_heads"] = TINY["num_attention_heads"]
    layers = next((n for n in ("num_hidden_layers", "n_layer", "num_layers") if n in known), None)
    kinds = known.get("layer_types")
    if kinds and layers:
        each = list(dict.fromkeys(kinds))
        options["layer_types"] = (each * LAYERS)[: max(LAYERS, len(each))]
        options[layers] = len(options["layer_types"])
    mlps = known.get("mlp_layer_types")
    if mlps and layers:
        each = list(dict.fromkeys(mlps))
        options["mlp_layer_types"] = (each * LAYERS)[: options.get(layers, LAYERS)]
    return options
