"""Architectures whose parts are made in other ways: exact, or refused in a sentence that is true."""

from __future__ import annotations

import pytest
import torch

import eqlin_core as eq
from eqlin_core.audit.architectures import tiny_architecture
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from tests.cases import PROMPT

# What each stands for.
EXACT = {
    "bloom": "softmax between the modules, no attention interface",
    "falcon": "torch's attention function",
    "gptj": "softmax between the modules",
    "gemma4_text": "embeddings of token ids in every layer",
    "deepseek_v32": "an indexer's mask",
    "llama4_text": "experts that a batch cannot share",
    "jetmoe": "rows sorted by their experts",
    "longcat_flash": "a router of detached scores",
    "laguna": "softplus gates",
    "zaya": "one expert a token, chosen by detached scores, or none",
    "inkling_text": "a bias by position, weights of experts in logarithms",
    "deepseek_v4": "experts hashed by token id, keys that are sums of positions",
    "apertus": "an activation with parameters",
    "qwen4_exp_text": "an indexer beside a delta rule",
    "modernbert-decoder": "a decoder that is called otherwise",
    "ctrl": "embeddings that are scaled in place",
    "bart": "the decoder half of a sequence-to-sequence model",
    "prophetnet": "attention written as sums of products over named axes",
    "gemma3n_text": "streams side by side, routed by tanh, of one magnitude; gates cut off at a standard deviation",
    "dbrx": "experts that gather the rows of whole prompts",
    "dots3_note_text": "numbers of heads that differ by layer",
    "hrm_text": "blocks that run again and again, most of them without gradients",
    "reformer": "hashed attention, and reversible layers that give no gradient",
    "cpmant": "a decoder that takes ids, and puts tokens of its own before them",
    "blt": "bytes that are pooled into patches by their largest numbers",
}


# They take longest; the exhaustive run has them.
LONG = (
    "deepseek_v4",
    "qwen4_exp_text",
    "reformer",
    "inkling_text",
    "blt",
    "hrm_text",
    "gemma3n_text",
    "dots3_note_text",
)
TYPES = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in EXACT]


@pytest.mark.parametrize("model_type", TYPES)
def test_it_is_exact_by_both_conventions_and_gives_the_model_s_own_output(model_type: str) -> None:
    lm = tiny_architecture(model_type)
    for convention in ("up", "gate"):
        lin = eq.linearize(lm, token_ids=PROMPT, gated_path=convention)
        exactness = lin.exactness()
        assert exactness.exact, exactness
        assert exactness.reconstruction < 1e-13
    torch.testing.assert_close(lin.output, stock_output(lm), rtol=1e-5, atol=1e-5)


def stock_output(lm: LanguageModel) -> torch.Tensor:
    with torch.no_grad(), eager_experts(lm.model):  # the fused experts know no float64
        return lm.decoder(input_ids=torch.tensor([PROMPT]), use_cache=False).last_hidden_state[0, -1]


@pytest.mark.parametrize("model_type", ["bert", "xlnet", "xmod"])
def test_an_encoder_is_refused_with_that_word(model_type: str) -> None:
    with pytest.raises(eq.EqlinError, match="is an encoder"):
        eq.linearize(tiny_architecture(model_type), token_ids=PROMPT)


def test_code_of_a_model_that_fails_is_named_and_no_raw_error() -> None:
    with pytest.raises(eq.EqlinError, match=r"^XGLMForCausalLM cannot be frozen: its own code fails \(.+\)\.$"):
        eq.linearize(tiny_architecture("xglm"), token_ids=PROMPT)


def test_what_is_not_known_leaks_by_its_module() -> None:
    exactness = eq.linearize(tiny_architecture("inkling2_text", torch.float32), token_ids=PROMPT).exactness()
    assert not exactness.exact
    assert all(leak.split(": ")[0].count(".") >= 2 for leak in exactness.leaks)


@pytest.mark.parametrize("model_type", ["hrm_text", "cpmant", "blt", "gemma3n_text"])
def test_a_model_whose_blocks_are_no_places_has_no_maps_of_layers_and_says_so(model_type: str) -> None:
    lm = tiny_architecture(model_type)
    with pytest.raises(eq.EqlinError, match=r"maps of their own|cannot be found"):
        eq.layer_sweep(lm, token_ids=PROMPT, kinds=["layer"])
    with pytest.raises(eq.EqlinError, match=r"maps of their own|cannot be found|one vector for each token"):
        eq.linearize(lm, token_ids=PROMPT, target=eq.Site(1, "layer"))


def test_codebooks_and_assistants_are_refused_by_what_they_read() -> None:
    with pytest.raises(eq.EqlinError, match="reads 4 tokens at once"):
        eq.linearize(tiny_architecture("musicgen"), token_ids=PROMPT)
    with pytest.raises(eq.EqlinError, match="an assistant"):
        tiny_architecture("gemma4_unified_assistant")
