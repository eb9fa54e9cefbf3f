"""A model is loaded whole, as asked for, from wherever it lies; or one sentence says what to do."""

import errno
import json
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors.torch import load, load_file, save, save_file

from eqlin_core import bundled
from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.models import LanguageModel, load_model
from eqlin_core.presets import PRESETS
from tests.eqlin_core.test_bundled import write_tiny_gguf

PROMPT = "The bridge out of Marin is the"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_ID = "someone/tiny-llama"


def tiny_llama(**changes: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128}
    return LlamaForCausalLM(LlamaConfig(**(sizes | changes))).eval()


def byte_level_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=["<|end|>"], show_progress=False
    )
    backend.train_from_iterator(["the bridge the bridge café café"], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")


def sentencepiece_tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = ["<s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "b", "r", "▁b", "▁br"]
    vocabulary = {piece: i for i, piece in enumerate(letters)}
    backend = Tokenizer(models.BPE(vocabulary, [("▁", "b"), ("▁b", "r")], byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>")


@pytest.fixture(scope="module")
def default_model() -> LanguageModel:
    return load_model()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny_llama().save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def refusal(name: Path | str, **options: Any) -> str:
    """The one sentence with which the model is refused."""
    with pytest.raises(EqlinError) as caught:
        load_model(name, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


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


# Folders


def test_a_folder_gives_the_logits_of_the_model_that_was_saved(folder: Path) -> None:
    ids = torch.tensor([[1, 2, 3, 4]])
    lm = load_model(folder)
    assert torch.equal(lm.model(ids).logits, tiny_llama()(ids).logits)
    assert (lm.width, lm.n_layers, lm.vocab_size, lm.max_positions) == (16, 2, 64, 128)


def test_weights_in_parts_load_too(tmp_path: Path, folder: Path) -> None:
    tiny_llama().save_pretrained(tmp_path / "parts", max_shard_size=6000)
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 2
    ids = torch.tensor([[1, 2, 3, 4]])
    assert torch.equal(load_model(tmp_path / "parts").model(ids).logits, load_model(folder).model(ids).logits)


def test_a_folder_without_a_tokenizer_takes_token_ids_only(folder: Path) -> None:
    lm = load_model(folder)
    assert lm.tokenizer is None
    assert lm.token_strings([17, 3]) == ["<17>", "<3>"]
    with pytest.raises(EqlinError, match=r"pass token_ids=\[\.\.\.\]"):
        lm.encode("hello")


def test_a_folder_with_a_tokenizer_takes_prompts(folder: Path) -> None:
    byte_level_tokenizer().save_pretrained(folder)
    lm = load_model(folder)
    assert "".join(lm.token_strings(lm.encode("the bridge"))) == "the bridge"


def test_the_revision_of_a_folder_changes_with_its_weights_and_its_config(folder: Path) -> None:
    first = load_model(folder).revision
    assert load_model(folder).revision == first
    weights = load_file(folder / "model.safetensors")
    save_file({name: tensor * 2 for name, tensor in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    second = load_model(folder).revision
    change_config(folder, rms_norm_eps=1e-3)
    assert len({first, second, load_model(folder).revision}) == 3


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


def test_encoding_a_long_prompt_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    import logging

    said: list[str] = []
    logger = logging.getLogger("transformers")
    monkeypatch.setattr(logger, "handlers", [handler := logging.Handler()])
    monkeypatch.setattr(handler, "emit", lambda record: said.append(record.getMessage()))
    first, second = byte_level_tokenizer(), byte_level_tokenizer()
    first.model_max_length = second.model_max_length = 3
    assert len(LanguageModel.wrap(tiny_llama(), first).encode("the bridge over the river")) > 3
    assert said == []
    second("the bridge over the river")
    assert "longer than" in said[0], "transformers itself warns"


def test_a_cancel_from_the_progress_callback_ends_the_load(folder: Path) -> None:
    def cancel(fraction: float | None, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        load_model(folder, progress=cancel)


# Folders that are no model


def test_a_folder_without_a_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "has no config.json" in refusal(folder)


@pytest.mark.parametrize("content", ["{", "[]", '{"model_type": "llama", "hidden_size": "wide"}'])
def test_a_config_that_cannot_be_read(folder: Path, content: str) -> None:
    (folder / "config.json").write_text(content)
    assert "fetch the model again" in refusal(folder)


def test_an_architecture_that_transformers_does_not_know(folder: Path) -> None:
    change_config(folder, model_type="llama99")
    assert "does not know" in refusal(folder)


def test_code_that_comes_with_a_model_is_never_run(folder: Path, tmp_path: Path) -> None:
    (folder / "modeling_own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: ...\nclass OwnConfig: ...\n"
    )
    auto_map = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.Own"}
    change_config(folder, auto_map=auto_map)
    assert type(load_model(folder).model).__name__ == "LlamaForCausalLM"
    change_config(folder, model_type="own")
    assert "code of its own, which eqlin never runs" in refusal(folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        ("t5", "T5ForConditionalGeneration"),
        ("bart", "BartForCausalLM"),
        ("bert", "BertForMaskedLM"),
        ("vit", "ViTModel"),
    ],
)
def test_a_model_that_is_no_causal_language_model(folder: Path, kind: str, architecture: str) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": kind, "architectures": [architecture]}))
    assert f"no causal language model ({architecture})" in refusal(folder)


def test_a_classifier_of_a_causal_family(folder: Path) -> None:
    change_config(folder, architectures=["LlamaForSequenceClassification"])
    assert "no causal language model" in refusal(folder)


def test_weights_without_an_unembedding_are_not_filled_with_noise(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert "lack lm_head.weight" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    change_config(folder, intermediate_size=48)
    assert "could not be loaded" in refusal(folder)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth"])
def test_pickled_weights_are_not_opened(folder: Path, suffix: str) -> None:
    (folder / "model.safetensors").rename(folder / f"pytorch_model{suffix}")
    assert "save it as safetensors" in refusal(folder)


def test_a_folder_without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "has no weights" in refusal(folder)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path, max_shard_size=6000)
    missing = sorted(tmp_path.glob("*.safetensors"))[1]
    missing.unlink()
    assert f"lacks {missing.name}" in refusal(tmp_path)


@pytest.mark.parametrize("damage", ["empty", "cut short", "too long", "garbage", "header"])
def test_damaged_weights_are_found_before_they_are_read(folder: Path, damage: str) -> None:
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    spoilt = {
        "empty": b"",
        "cut short": whole[:-1],
        "too long": whole + b"\0",
        "garbage": b"\xff" * len(whole),
        "header": whole[:8] + b"\0" * 100 + whole[108:],
    }
    path.write_bytes(spoilt[damage])
    messages: list[str] = []
    assert "damaged or cut short" in refusal(folder, progress=lambda _fraction, message: messages.append(message))
    assert not any("Reading" in message for message in messages)


def test_files_that_may_not_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert "check its files (Permission denied)" in refusal(folder)


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model"')
    assert "tokenizer of" in refusal(folder)


# GGUF files


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_a_gguf_file_gives_the_logits_that_transformers_gives(tiny_gguf: Path) -> None:
    from transformers import AutoModelForCausalLM

    lm = load_model(tiny_gguf)
    stock = AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name, dtype=torch.float32)
    ids = torch.tensor([lm.encode("hello")])
    assert torch.equal(lm.model(ids).logits, stock(ids).logits)
    assert lm.token_strings(lm.encode("hello")) == ["hel", "l", "o"]
    assert load_model(tiny_gguf, dtype="float64").dtype == torch.float64


def test_a_gguf_file_shows_real_progress_and_can_be_cancelled(tiny_gguf: Path) -> None:
    seen: list[float] = []

    def cancel(fraction: float | None, message: str) -> None:
        if fraction is not None:
            seen.append(fraction)
        if fraction is not None and fraction >= 0.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        load_model(tiny_gguf, progress=cancel)
    assert seen[0] == 0
    assert seen[-1] == 0.5


def test_gguf_files_that_are_none(tiny_gguf: Path, tmp_path: Path) -> None:
    assert "There is no file" in refusal(tmp_path / "absent.gguf")
    (tmp_path / "page.gguf").write_text("<html>")
    assert "is not a GGUF file" in refusal(tmp_path / "page.gguf")
    (tmp_path / "short.gguf").write_bytes(tiny_gguf.read_bytes()[:-1000])
    assert "damaged or cut short" in refusal(tmp_path / "short.gguf")


# Models built by hand, and tokens as text


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


@pytest.mark.parametrize("text", ["the bridge", " the\n\tbridge", "café", "~!", "<|end|>"])
def test_byte_level_tokens_join_to_the_text(text: str) -> None:
    lm = LanguageModel.wrap(tiny_llama(), byte_level_tokenizer())
    assert "".join(lm.token_strings(lm.encode(text))) == text


@pytest.mark.parametrize(("text", "bytes_"), [("日", b"\xe6\x97\xa5"), ("\u00a0", b"\xc2\xa0"), ("\x00", b"")])
def test_bytes_that_are_no_text_alone_are_shown_as_bytes(text: str, bytes_: bytes) -> None:
    lm = LanguageModel.wrap(tiny_llama(), byte_level_tokenizer())
    assert lm.token_strings(lm.encode(text)) == ([f"<0x{byte:02X}>" for byte in bytes_] or [text])


def test_a_fragment_of_a_letter_shows_its_bytes(default_model: LanguageModel) -> None:
    strings = default_model.token_strings(default_model.encode("😀"))
    assert all(string.strip() and "\ufffd" not in string for string in strings)
    assert "<0xF0>" in strings[0]


def test_sentencepiece_tokens_keep_their_leading_space() -> None:
    lm = LanguageModel.wrap(tiny_llama(), sentencepiece_tokenizer())
    ids = lm.encode("br\né")
    assert ids[0] == 0, "the tokenizer's own BOS comes first"
    assert lm.token_strings(ids) == ["<s>", " br", "\n", "<0xC3>", "<0xA9>"]


def test_ids_beyond_the_tokenizer_are_shown_as_numbers(default_model: LanguageModel) -> None:
    assert default_model.token_strings([2, 10**6]) == ["<|im_end|>", "<1000000>"]


# The hub


@dataclass
class Hub:
    """What a hub on this machine answers: one repository, whose weights come in two halves with a gate between."""

    files: dict[str, bytes]
    error: str = ""
    gated_files: bool = False
    total: int | None = None

    def __post_init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub.requests.append(f"{self.command} {self.path}")
                path = self.path.split("?")[0]
                if hub.error or (hub.gated_files and "/resolve/" in path):
                    self.answer(403 if hub.gated_files else 404, {"X-Error-Code": hub.error or "GatedRepo"}, b"{}")
                elif path.startswith("/api/") and "/tree/" in path:
                    rows = [{"type": "file", "path": f, "size": len(b), "oid": f} for f, b in hub.files.items()]
                    self.answer(200, {"Content-Type": "application/json"}, json.dumps(rows).encode())
                elif path.startswith("/api/"):
                    self.answer(200, {"Content-Type": "application/json"}, hub.info())
                else:
                    file = path.rsplit("/", 1)[1]
                    self.answer(200, {"X-Repo-Commit": COMMIT, "ETag": f'"{file}"'}, hub.files[file])

            do_HEAD = do_GET

            def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command == "HEAD":
                    return
                with suppress(ConnectionError):
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    if self.path.endswith(".safetensors"):
                        hub.gate.wait(60)
                    self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def info(self) -> bytes:
        siblings = [{"rfilename": file, "size": len(body)} for file, body in self.files.items()]
        info: dict[str, Any] = {"id": HUB_ID, "sha": COMMIT, "private": False, "tags": [], "downloads": 0, "likes": 0}
        info |= {"siblings": siblings, "config": {}}
        if self.total:
            info["safetensors"] = {"parameters": {"F32": self.total}, "total": self.total}
        return json.dumps(info).encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    hub = Hub({path.name: path.read_bytes() for path in folder.iterdir()})
    shutil.rmtree(folder)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN", "none")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield hub
    hub.close()


def add_padding(hub: Hub) -> None:
    """Weights that arrive in several of the pieces of 10 MB that the hub's client writes at a time."""
    weights = load(hub.files["model.safetensors"]) | {"padding": torch.zeros(10_000_000)}
    hub.files["model.safetensors"] = save(weights, {"format": "pt"})


def hub_files(tmp_path: Path) -> list[str]:
    """Everything that was downloaded or begun."""
    return sorted(path.name for path in (tmp_path / "hub").rglob("blobs/*"))


def test_a_hub_model_is_downloaded_once_with_progress(hub: Hub) -> None:
    add_padding(hub)
    hub.gate.clear()
    seen: list[float] = []

    def watch(fraction: float | None, message: str) -> None:
        if "Downloading" in message and fraction is not None:
            seen.append(fraction)
            if 0.2 < fraction < 0.9:
                hub.gate.set()

    lm = load_model(HUB_ID, progress=watch)
    assert lm.revision == COMMIT
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(lm.model(ids).logits, tiny_llama()(ids).logits)
    assert any(0.2 < fraction < 0.9 for fraction in seen)
    hub.requests.clear()
    assert load_model(HUB_ID).revision == COMMIT
    assert len(hub.requests) == 1


def test_a_downloaded_model_loads_without_a_network(hub: Hub) -> None:
    load_model(HUB_ID)
    hub.close()
    lm = load_model(HUB_ID)
    assert lm.revision == COMMIT
    assert load_model(HUB_ID, revision=COMMIT).revision == COMMIT
    assert "cannot be reached" in refusal(HUB_ID, revision="other")


def test_only_what_is_needed_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    extra = (
        "pytorch_model.bin",
        "consolidated.safetensors",
        "model-00001-of-00002.safetensors",
        "modeling_own.py",
        "README.md",
        "picture.png",
    )
    hub.files |= dict.fromkeys(extra, b"not wanted")
    load_model(HUB_ID)
    assert hub_files(tmp_path) == ["config.json", "generation_config.json", "model.safetensors"]


def test_a_cancelled_download_stops_and_leaves_nothing_unfinished(hub: Hub, tmp_path: Path) -> None:
    add_padding(hub)
    hub.gate.clear()

    def cancel(fraction: float | None, message: str) -> None:
        if fraction is not None and fraction > 0.2:
            raise Cancelled

    with pytest.raises(Cancelled):
        load_model(HUB_ID, progress=cancel)
    assert not [name for name in hub_files(tmp_path) if name.endswith(".incomplete")]
    assert not [child for child in psutil.Process().children() if "snapshot_download" in " ".join(child.cmdline())]
    hub.gate.set()
    assert load_model(HUB_ID).revision == COMMIT


def test_a_hub_model_too_big_for_the_memory_is_not_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.total = 10**15
    assert "takes 4.2e+06 GB in float32" in refusal(HUB_ID)
    assert hub_files(tmp_path) == []


def test_a_hub_model_too_big_for_the_disk_is_not_downloaded(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=1000))
    assert "disk is too full" in refusal(HUB_ID)
    assert hub_files(tmp_path) == []


def test_an_unknown_hub_model(hub: Hub) -> None:
    hub.error = "RepoNotFound"
    assert "shows no model 'someone/tiny-llama'" in refusal(HUB_ID)
    assert "did you mean 'qwen3-0.6b'?" in refusal("qwen3-0.6")


def test_an_unknown_revision(hub: Hub) -> None:
    hub.error = "RevisionNotFound"
    assert "has no revision 'v9'" in refusal(HUB_ID, revision="v9")


def test_a_gated_model_says_how_to_get_in(hub: Hub) -> None:
    hub.gated_files = True
    assert "accept its terms" in refusal(HUB_ID)
    hub.error = "GatedRepo"
    assert "accept its terms" in refusal(HUB_ID)


@pytest.mark.parametrize(
    ("removed", "sentence"), [("config.json", "no config.json"), ("model.safetensors", "no safetensors weights")]
)
def test_a_repository_that_is_no_model(hub: Hub, removed: str, sentence: str) -> None:
    del hub.files[removed]
    assert sentence in refusal(HUB_ID)


def test_without_a_network_an_unknown_model_is_answered_within_seconds(hub: Hub) -> None:
    hub.close()
    start = time.monotonic()
    assert "cannot be reached" in refusal(HUB_ID)
    assert "did you mean 'smollm2-135m'?" in refusal("smolm2-135m")
    assert time.monotonic() - start < 5


def test_a_hub_that_never_answers_is_given_up_within_15_seconds(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    monkeypatch.setattr(HfApi, "model_info", lambda *_arguments, **_options: time.sleep(60))
    start = time.monotonic()
    assert "cannot be reached" in refusal(HUB_ID)
    assert time.monotonic() - start < 15


def test_asking_the_hub_can_be_cancelled(hub: Hub) -> None:
    def cancel(fraction: float | None, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        load_model(HUB_ID, progress=cancel)


@pytest.mark.parametrize(
    "name", ["no/such/folder", "./nothing", "two words", " ", "a\\b", "~nobody/model", "a\0b", "word " * 1000]
)
def test_a_name_that_can_be_no_hub_model_is_refused_at_once(hub: Hub, name: str) -> None:
    assert "check the spelling" in refusal(name)
    assert hub.requests == []


def test_presets_name_hub_models(hub: Hub) -> None:
    hub.error = "RepoNotFound"
    for name, preset in PRESETS.items():
        assert preset.hub_id in refusal(name)
