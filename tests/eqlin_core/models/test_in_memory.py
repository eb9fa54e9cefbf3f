"""A model that somebody holds already becomes a LanguageModel, and is afterwards what it was before."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import eqlin_core as eq
from eqlin_core import EqlinError, LanguageModel
from eqlin_core.audit.families import FAMILIES, tiny_model
from tests.cases import PROMPT

# A plain one, one with biases, one whose soft-capping needs another attention, experts, a configuration in two levels.
NAMES = ("llama", "gpt2", "gemma2", "qwen3_moe", "gemma3-multimodal")


def in_training(name: str) -> Any:
    """A model as a training loop holds it: in training mode, gradients on, fused attention where it has one."""
    model = tiny_model(name, torch.float32).model.train().requires_grad_(True)
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    return model


def state(model: Any) -> dict[str, Any]:
    """Everything of a model that an analysis might change."""
    modules = dict(model.named_modules())
    configs = [m.config for m in modules.values() if hasattr(m, "config")]
    return {
        "parameters": {n: (id(p), p.data_ptr(), p.requires_grad, p._version) for n, p in model.named_parameters()},
        "buffers": {n: (id(b), b.data_ptr(), b._version) for n, b in model.named_buffers()},
        "modules": {n: (id(m), m.training, sorted(vars(m))) for n, m in modules.items()},
        "hooks": {n: [list(getattr(m, kind)) for kind in vars(m) if "_hooks" in kind] for n, m in modules.items()},
        "config": model.config.to_json_string(use_diff=False),
        "attention": [c._attn_implementation for c in configs],
        "experts": [getattr(c, "_experts_implementation", None) for c in configs],
    }


def logits_and_gradients(model: Any) -> list[Tensor]:
    """The model's own logits in its own mode, and the gradients of one step of training."""
    torch.manual_seed(1)  # what dropout draws
    logits = model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits
    model.zero_grad()
    logits.square().mean().backward()
    return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", NAMES)
def test_the_model_is_untouched_and_its_map_exact(name: str) -> None:
    model = in_training(name)
    model.get_decoder().register_forward_hook(lambda *_: None)
    before, values = state(model), logits_and_gradients(model)
    lm = LanguageModel.from_model(model)
    lin = eq.linearize(lm, token_ids=PROMPT)
    assert lin.exactness().exact
    lin.jacobian()
    eq.ordinary_jacobian(lm, token_ids=PROMPT[:3])
    assert state(model) == before
    after = logits_and_gradients(model)
    assert len(after) == len(values) > 10
    assert all(torch.equal(a, b) for a, b in zip(after, values, strict=True))
    assert FAMILIES[name].affine == bool(lin.bias.any())


def test_the_map_is_that_of_the_model_loaded_by_itself() -> None:
    wrapped = tiny_model("llama")
    seen = LanguageModel.from_model(tiny_model("llama").model)
    one, other = (eq.linearize(lm, token_ids=PROMPT) for lm in (wrapped, seen))
    assert torch.equal(one.jacobian(), other.jacobian())


def test_a_view_shares_the_weights_and_follows_training() -> None:
    model = in_training("llama")
    lm = LanguageModel.from_model(model)
    shared = {p.data_ptr() for p in model.parameters()}
    assert {p.data_ptr() for p in lm.model.parameters()} == shared
    before = eq.linearize(lm, token_ids=PROMPT).output
    logits_and_gradients(model)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    after = eq.linearize(lm, token_ids=PROMPT)
    assert not torch.equal(after.output, before)
    stock = model.eval().get_decoder()(input_ids=torch.tensor([PROMPT])).last_hidden_state[0, -1]
    torch.testing.assert_close(after.output, stock.detach())
    assert after.exactness().exact


def test_tied_weights_stay_tied() -> None:
    lm = LanguageModel.from_model(tiny_model("llama", tie_word_embeddings=True).model)
    assert lm.unembedding is lm.input_embeddings


def test_its_name_is_that_of_its_folder_or_its_class_and_its_weights_are_unsaved() -> None:
    model = tiny_model("llama").model
    assert LanguageModel.from_model(model).name == "LlamaForCausalLM"
    assert LanguageModel.from_model(model, name="mine").name == "mine"
    model.config._name_or_path = "somebody/llama-tuned"
    lm = LanguageModel.from_model(model)
    assert (lm.name, lm.revision, lm.tokenizer) == ("llama-tuned", "unsaved", None)


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter beside it, as PEFT puts it into a model."""

    def __init__(self, base_layer: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.ModuleDict({"default": nn.Linear(base_layer.in_features, rank, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(rank, base_layer.out_features, bias=False)})
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + 0.5 * self.lora_B["default"](self.lora_A["default"](self.dropout(x)))

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The one layer that does the same."""
        down, up = (adapter["default"].weight for adapter in (self.lora_A, self.lora_B))
        assert isinstance(down, Tensor)
        assert isinstance(up, Tensor)
        self.base_layer.weight += 0.5 * up @ down
        return self.base_layer


def test_adapters_need_not_be_merged() -> None:
    def adapted() -> Any:
        model = tiny_model("llama").model
        torch.manual_seed(2)
        for block in model.get_decoder().layers:
            block.self_attn.v_proj = Adapted(block.self_attn.v_proj).double()
            block.mlp.up_proj = Adapted(block.mlp.up_proj).double()
        return model.train()

    beside, merged = adapted(), adapted()
    for block in merged.get_decoder().layers:
        block.self_attn.v_proj = block.self_attn.v_proj.merged()
        block.mlp.up_proj = block.mlp.up_proj.merged()
    one, other = (eq.linearize(LanguageModel.from_model(model), token_ids=PROMPT) for model in (beside, merged))
    assert one.exactness().exact
    torch.testing.assert_close(one.jacobian(), other.jacobian(), rtol=1e-9, atol=1e-9)
    plain = eq.linearize(tiny_model("llama"), token_ids=PROMPT)
    assert not torch.allclose(one.output, plain.output), "the adapters do something"


@pytest.mark.filterwarnings("ignore::FutureWarning")  # PEFT asks transformers by an older name
def test_a_peft_model_is_taken_as_it_is() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["v_proj", "up_proj"], init_lora_weights=False)
    model = peft.get_peft_model(tiny_model("llama").model, config).train()
    before = state(model.get_base_model())
    lin = eq.linearize(LanguageModel.from_model(model), token_ids=PROMPT)
    assert lin.exactness().exact
    assert state(model.get_base_model()) == before
    ids = torch.tensor([PROMPT])
    with torch.no_grad():
        stock = model.eval()(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
    torch.testing.assert_close(lin.output, stock, rtol=1e-5, atol=1e-5)
    virtual = peft.get_peft_model(
        tiny_model("llama").model, peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    with pytest.raises(EqlinError, match="virtual tokens"):
        LanguageModel.from_model(virtual)


class Inside(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.module = inner


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: Inside(tiny_model("llama").model), "Inside wraps a transformers model: pass that one, model.module."),
        (lambda: Inside(nn.Linear(2, 2)), "Inside is no transformers model"),
        (lambda: "smollm2-135m", "str is no transformers model"),
        (lambda: tiny_model("llama").model.model, "LlamaModel has no unembedding: load it as a causal language model."),
    ],
)
def test_what_is_no_causal_language_model_is_refused_in_a_sentence(build: Any, sentence: str) -> None:
    with pytest.raises(EqlinError) as caught:
        LanguageModel.from_model(build())
    assert str(caught.value).startswith(sentence)


def test_a_model_that_holds_what_cannot_be_copied_is_refused() -> None:
    model = tiny_model("llama").model
    model.lines = (line for line in "ab")
    with pytest.raises(EqlinError, match="LlamaForCausalLM holds something that has no copy"):
        LanguageModel.from_model(model)
