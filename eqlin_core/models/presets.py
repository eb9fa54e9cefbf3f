"""The models that the dashboard offers by name, beside the bundled default, with what their publishers say of them."""

from dataclasses import dataclass

APACHE, MIT, GEMMA = "Apache 2.0", "MIT", "Gemma terms of use"
LLAMA = "Llama {} community license"


@dataclass(frozen=True)
class Preset:
    """A model on the hub that the dashboard offers by name; `gated` asks for a login and for its terms to be accepted.

    `parameters` is approximate; `licence` is what the model's card on the hub names, as of 2025. The terms there count.
    """

    hub_id: str
    parameters: float
    licence: str
    gated: bool = False


# The bundled default, of which the hub is not asked: its card is that of HuggingFaceTB/SmolLM2-135M-Instruct.
DEFAULT_PARAMETERS, DEFAULT_LICENCE = 134_515_008, APACHE

PRESETS = {
    "smollm2-360m": Preset("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36e9, APACHE),
    "smollm2-1.7b": Preset("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.7e9, APACHE),
    "llama-3.2-1b": Preset("meta-llama/Llama-3.2-1B", 1.2e9, LLAMA.format("3.2"), gated=True),
    "llama-3.2-3b": Preset("meta-llama/Llama-3.2-3B", 3.2e9, LLAMA.format("3.2"), gated=True),
    "llama-3.1-8b": Preset("meta-llama/Llama-3.1-8B", 8.0e9, LLAMA.format("3.1"), gated=True),
    "qwen3-0.6b": Preset("Qwen/Qwen3-0.6B", 0.6e9, APACHE),
    "qwen3-1.7b": Preset("Qwen/Qwen3-1.7B", 1.7e9, APACHE),
    "qwen3-4b": Preset("Qwen/Qwen3-4B", 4.0e9, APACHE),
    "qwen3-8b": Preset("Qwen/Qwen3-8B", 8.2e9, APACHE),
    "qwen3-14b": Preset("Qwen/Qwen3-14B", 14.8e9, APACHE),
    "gemma-3-1b": Preset("google/gemma-3-1b-pt", 1.0e9, GEMMA, gated=True),
    "gemma-3-4b": Preset("google/gemma-3-4b-pt", 4.3e9, GEMMA, gated=True),
    "phi-4-mini": Preset("microsoft/Phi-4-mini-instruct", 3.8e9, MIT),
    "phi-4": Preset("microsoft/phi-4", 14.7e9, MIT),
    "ministral-8b": Preset("mistralai/Ministral-8B-Instruct-2410", 8.0e9, "Mistral AI research license", gated=True),
    "olmo-2-1b": Preset("allenai/OLMo-2-0425-1B", 1.5e9, APACHE),
    "olmo-2-7b": Preset("allenai/OLMo-2-1124-7B", 7.3e9, APACHE),
}
