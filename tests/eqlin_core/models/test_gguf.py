"""GGUF files are read with progress, or refused with one sentence."""

from pathlib import Path

import pytest
import torch

from eqlin_core.errors import Cancelled
from eqlin_core.models.language_model import load_model
from tests.eqlin_core.models.model_cases import refusal


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
