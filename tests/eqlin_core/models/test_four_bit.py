"""Weights in four bits: the map of the quantised model, exact to float32. Needs the optional package bitsandbytes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis.prompt import run_key
from eqlin_core.audit.families import build_tiny
from eqlin_core.audit.report import audit
from tests.cases import PROMPT, relative

MODEL_TYPES = ["llama", "gpt_neox", "qwen3", "gemma3_text"]


@pytest.fixture
def _bitsandbytes() -> None:
    with warnings.catch_warnings(action="ignore"):
        pytest.importorskip("bitsandbytes")


def save(folder: Path, model_type: str = "llama") -> eq.LanguageModel:
    """A tiny model in float32, wide enough for blocks of 64 weights, and the same on the disk."""
    lm = build_tiny(model_type, {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}, torch.float32)
    lm.model.save_pretrained(folder)
    return lm


@pytest.mark.usefixtures("_bitsandbytes")
@pytest.mark.filterwarnings("ignore")  # bitsandbytes remarks on kernels that are not installed
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_the_map_of_a_model_in_four_bits_is_exact_in_float32(model_type: str, tmp_path: Path) -> None:
    whole = save(tmp_path, model_type)
    lm = eq.load_model(tmp_path, dtype="4bit", device="cpu")
    assert {p.dtype for p in lm.model.parameters()} == {torch.uint8, torch.float32}
    for _ in range(2):  # what the first analysis runs without gradients must not change the second
        found = audit(lm, token_ids=PROMPT)
        assert found.exact
        assert {m.exactness.dtype for m in found.measured} == {"float32"}
        assert any(t.class_name == "Linear4bit" for t in found.measured[0].treatments)
    lin = eq.linearize(lm, token_ids=PROMPT)
    lin.jacobian()
    assert lin.exactness().exact
    original = eq.linearize(whole, token_ids=PROMPT)
    assert relative(lin.output, original.output) > 1e-3, "the weights were not quantised"
    assert run_key(lin) != run_key(eq.linearize(eq.load_model(tmp_path, device="cpu"), token_ids=PROMPT))


def test_without_bitsandbytes_a_sentence_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eqlin_core.models.four_bit.find_spec", lambda _name: None)
    save(tmp_path)
    with pytest.raises(eq.EqlinError, match="pip install bitsandbytes, or choose float32"):
        eq.load_model(tmp_path, dtype="4bit")


def test_a_gguf_file_is_not_quantised_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eqlin_core.models.four_bit.require_bitsandbytes", lambda: None)
    (tmp_path / "some.gguf").write_bytes(b"GGUF")
    with pytest.raises(eq.EqlinError, match="is quantised already: choose float32"):
        eq.load_model(tmp_path / "some.gguf", dtype="4bit")
