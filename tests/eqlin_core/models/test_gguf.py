"""GGUF files are read with progress, or refused with one sentence."""

from pathlib import Path

import pytest
import torch

from eqlin_core.errors import Cancelled
from eqlin_core.models.gguf import PATCHED_TRANSFORMERS, _release, fast_reading
from eqlin_core.models.loading import load_model
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


def test_the_tensor_count_of_a_gguf_file_becomes_a_rising_fraction(tiny_gguf: Path) -> None:
    from transformers import AutoModelForCausalLM

    fractions: list[float] = []
    with fast_reading(fractions.append):
        AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
    assert fractions == sorted(set(fractions))
    assert len(fractions) == 20
    assert max(fractions) < 1


def test_the_patch_is_tried_with_the_transformers_that_is_installed(tiny_gguf: Path) -> None:
    """Where this fails, transformers has changed its reader: look at it, then widen PATCHED_TRANSFORMERS or mend."""
    import gguf as package
    import transformers
    from transformers import AutoModelForCausalLM
    from transformers import modeling_gguf_pytorch_utils as loader

    assert PATCHED_TRANSFORMERS[0] <= _release(transformers.__version__) <= PATCHED_TRANSFORMERS[1]
    owners = [(package, "GGUFReader"), (package, "get_tensor_name_map"), (loader, "tqdm")]
    before = [getattr(owner, name) for owner, name in owners]
    with fast_reading():
        AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
        assert package.GGUFReader.cache_info().hits > 0, "the file is parsed more than once"
    assert [getattr(owner, name) for owner, name in owners] == before


@pytest.mark.parametrize("version", ["99.0.0", "6.0rc1", "unknown"])
def test_an_unknown_transformers_reads_the_file_by_itself(
    tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    import transformers

    expected = load_model(tiny_gguf).unembedding
    monkeypatch.setattr(transformers, "__version__", version)
    fractions: list[float] = []
    with fast_reading(fractions.append):
        pass
    assert fractions == []
    assert torch.equal(load_model(tiny_gguf).unembedding, expected)


def test_the_reader_is_as_before_after_an_error() -> None:
    import gguf as package

    before = package.GGUFReader
    with pytest.raises(Cancelled), fast_reading():
        raise Cancelled
    assert package.GGUFReader is before
