"""A folder is read as it was saved, or refused with one sentence before its weights are read."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from eqlin_core.errors import EqlinError
from eqlin_core.models.loading import load_model
from tests.eqlin_core.models.model_cases import byte_level_tokenizer, refusal, tiny_llama


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


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


@pytest.mark.parametrize(
    "text",
    ["[" * 10**5, "[1, 2]", "null", '{"model_type": ["llama"]}', '{"model_type": "llama", "architectures": [1]}', "{"],
)
def test_a_configuration_that_is_none_is_said_to_be_damaged(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    assert "is damaged: fetch the model again" in refusal(folder)


@pytest.mark.parametrize(
    "text", ["[" * 10**5, "{}", '{"weight_map": {}}', '{"weight_map": {"a": "../../x"}}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none_or_leads_elsewhere_is_said_to_be_damaged(folder: Path, text: str) -> None:
    (folder / "model.safetensors").rename(folder / "part.safetensors")
    (folder / "model.safetensors.index.json").write_text(text)
    assert "is damaged: fetch the model again" in refusal(folder)


@pytest.mark.parametrize(
    "header", [b"[" * 10**5, b"[]", b"null", b'{"a": {"data_offsets": [0, 1], "shape": ["x"]}}', b'{"a": {"shape": 3}}']
)
def test_a_header_that_is_none_is_said_to_be_damaged(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert "is damaged or cut short: fetch the model again" in refusal(folder)


def test_a_damaged_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").write_text('{"version": "1.0", "model"')
    assert "tokenizer of" in refusal(folder)
