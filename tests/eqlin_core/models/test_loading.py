"""A model is loaded whole, as asked for, from wherever it lies; or one sentence says what to do."""

import shutil
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.models import bundled, loading
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.loading import load_model
from tests.eqlin_core.models.model_cases import refusal, tiny_llama

PROMPT = "The bridge out of Marin is the"


@pytest.fixture(scope="module")
def default_model() -> LanguageModel:
    return load_model()


# The default model


def test_the_default_model_is_smollm2(default_model: LanguageModel) -> None:
    assert type(default_model.model).__name__ == "LlamaForCausalLM"
    assert (default_model.width, default_model.n_layers, default_model.vocab_size) == (576, 30, 49152)
    assert default_model.max_positions == 8192
    assert default_model.unembedding.shape == default_model.input_embeddings.shape == (49152, 576)
    assert default_model.revision == "b179c9523d0e"
    assert default_model.name == "smollm2-135m"


def test_the_default_model_tokenizes_the_known_prompt(default_model: LanguageModel) -> None:
    ids = default_model.encode(PROMPT)
    assert ids == [504, 7395, 578, 282, 43749, 314, 260]
    assert default_model.token_strings(ids) == ["The", " bridge", " out", " of", " Marin", " is", " the"]


@pytest.mark.parametrize(
    ("prompt", "continuation"),
    [
        ("The capital of France is", " Paris"),
        ("The opposite of hot is", " cold"),
        ("One, two, three, four,", " five"),
    ],
)
def test_the_default_model_continues_sensibly(default_model: LanguageModel, prompt: str, continuation: str) -> None:
    logits = default_model.model(torch.tensor([default_model.encode(prompt)])).logits
    assert default_model.token_strings([int(logits[0, -1].argmax())]) == [continuation]


def test_float64_and_float32_of_the_default_model_agree(default_model: LanguageModel) -> None:
    double = load_model(dtype="float64")
    assert double.dtype == torch.float64
    assert {parameter.dtype for parameter in double.model.parameters()} == {torch.float64}
    ids = torch.tensor([double.encode(PROMPT)])
    exact, single = double.model(ids).logits, default_model.model(ids).logits
    assert exact.dtype == torch.float64
    difference = (exact - single).norm() / exact.norm()
    assert 0 < difference < 1e-5


def test_a_loaded_model_is_ready_to_analyse(default_model: LanguageModel) -> None:
    assert not default_model.model.training
    assert not any(parameter.requires_grad for parameter in default_model.model.parameters())
    assert default_model.model.config._attn_implementation == "sdpa"


def test_broken_weights_in_the_cache_are_rebuilt_by_the_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    (broken / "model.safetensors").write_bytes(b"\xff" * 1000)
    offered = [broken, folder]
    discarded: list[Path] = []
    monkeypatch.setattr(bundled, "bundled_directory", lambda _report: offered[0])
    monkeypatch.setattr(bundled, "discard_bundled", lambda: discarded.append(offered.pop(0)))
    assert load_model().width == 16
    assert discarded == [broken]


# Precision and device


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16", torch.float64, torch.bfloat16])
def test_the_weights_have_the_precision_asked_for(folder: Path, dtype: str | torch.dtype) -> None:
    lm = load_model(folder, dtype=dtype)
    assert str(lm.dtype).removeprefix("torch.") == str(dtype).removeprefix("torch.")
    assert lm.model(torch.tensor([[1, 2, 3]])).logits.dtype == lm.dtype


@pytest.mark.parametrize("dtype", ["double", "int8", torch.int8, ""])
def test_an_unknown_precision_is_answered_with_the_choices(folder: Path, dtype: str | torch.dtype) -> None:
    assert "choose float64, float32, bfloat16, float16" in refusal(folder, dtype=dtype)


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "tpu", "mps", "meta", ""])
def test_an_absent_device_is_answered_with_the_choices(
    folder: Path, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert f"no device '{device}': choose auto, cpu." in refusal(folder, device=device)


def test_auto_never_puts_float64_where_the_device_lacks_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert load_model(folder, dtype="float64").device == torch.device("cpu")
    assert "no float64: choose float32" in refusal(folder, dtype="float64", device="mps")
    assert loading._device("auto", torch.float32) == torch.device("mps")
    assert loading._device("auto", torch.float32, in_four_bit=True) == torch.device("cpu")


def test_a_model_too_big_for_the_memory_is_refused_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = sum(tensor.numel() for tensor in load_file(folder / "model.safetensors").values())
    memory = psutil.virtual_memory()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=parameters * 5))
    messages: list[str] = []
    sentence = refusal(folder, dtype="float64", progress=lambda _fraction, message: messages.append(message))
    assert "in float64" in sentence
    assert "choose float32" in sentence
    assert not any("Reading" in message for message in messages)
    assert load_model(folder, dtype="float32").width == 16
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory._replace(available=parameters))
    assert "choose a smaller model" in refusal(folder, dtype="float32")


def test_the_memory_of_the_gpu_is_what_counts_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**12) if device.index == 1 else (0, 0))
    assert "is free on cuda:1" in refusal(folder, device="cuda:1")


def test_a_dtype_and_a_device_are_taken_like_their_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for dtype in ("float64", "float32", "bfloat16", "float16"):
        lm = load_model(folder, dtype=getattr(torch, dtype), device=torch.device("cpu"))
        assert lm.dtype == load_model(folder, dtype=dtype, device="cpu").dtype == getattr(torch, dtype)
        assert lm.device == torch.device("cpu")
    assert "'torch.int8' is no dtype for a model" in refusal(folder, dtype=torch.int8)
    assert "no device 'cuda:7'" in refusal(folder, device=torch.device("cuda:7"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**12) if device.index == 1 else (0, 0))
    assert "is free on cuda:1" in refusal(folder, device=torch.device("cuda:1"))
    assert "is free on cuda:1" in refusal(folder, device=torch.device("cuda", 1))


# Wherever it lies


def test_only_models_of_the_hub_have_revisions(folder: Path) -> None:
    assert "leave revision out" in refusal(folder, revision="main")
    assert "leave revision out" in refusal("smollm2-135m", revision="main")


def test_loading_is_silent(
    folder: Path, tiny_gguf: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    load_model(folder, dtype="float16")
    load_model(tiny_gguf)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_a_cancel_from_the_progress_callback_ends_the_load(folder: Path) -> None:
    def cancel(fraction: float | None, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        load_model(folder, progress=cancel)


# Models built by hand


def test_a_model_built_by_hand_can_be_wrapped() -> None:
    model = tiny_llama().train()
    lm = LanguageModel.wrap(model, name="mine")
    assert lm.model is model
    assert (lm.name, lm.dtype, lm.device) == ("mine", torch.float32, torch.device("cpu"))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert torch.equal(lm.unembedding, model.lm_head.weight)
    assert torch.equal(lm.input_embeddings, model.model.embed_tokens.weight)


def test_sizes_come_from_the_language_part_of_a_nested_config() -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3TextConfig, SiglipVisionConfig

    text = Gemma3TextConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        max_position_embeddings=99,
    )
    vision = SiglipVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, image_size=8, patch_size=4
    )
    config = Gemma3Config(text_config=text.to_dict(), vision_config=vision.to_dict(), mm_tokens_per_image=4)
    lm = LanguageModel.wrap(Gemma3ForConditionalGeneration(config))
    assert (lm.width, lm.n_layers, lm.vocab_size, lm.max_positions) == (16, 3, 40, 99)


def test_a_model_of_other_names_has_the_same_sizes() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(vocab_size=30, n_positions=20, n_embd=8, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=1)
    lm = LanguageModel.wrap(GPT2LMHeadModel(config))
    assert (lm.width, lm.n_layers, lm.vocab_size, lm.max_positions) == (8, 2, 30, 20)


def test_a_model_without_unembedding_says_so() -> None:
    with pytest.raises(EqlinError, match="no unembedding"):
        _ = LanguageModel.wrap(tiny_llama().model).unembedding


def test_an_answer_of_false_ends_the_loading(folder: Path) -> None:
    with pytest.raises(Cancelled):
        load_model(folder, progress=lambda _fraction, message: not message.startswith("Reading"))
