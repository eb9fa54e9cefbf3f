"""A lens that is kept in a file: the fit of the whole corpus, however often it was ended on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import eqlin_core as eq
from eqlin_core.lenses.kept import AT_ONCE, fit_kept, lens_file, prompts_read
from tests.cases import relative
from tests.eqlin_core.odd_calls import tiny_with_text

TEXTS = [f"The {word} of Italy is" for word in ("king", "capital", "name", "sea", "song", "map", "coast")]


@pytest.fixture(scope="module")
def lm() -> eq.LanguageModel:
    return tiny_with_text()


def ends_after(prompts: int) -> eq.Progress:
    def progress(fraction: float | None, _message: str) -> bool:
        return (fraction or 0.0) <= prompts / len(TEXTS) + 1e-9

    return progress


def test_a_fit_that_was_ended_goes_on_and_gives_the_lens_of_all_prompts(lm: eq.LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "deep" / "lens.safetensors"
    assert prompts_read(file) == 0
    with pytest.raises(eq.Cancelled):
        fit_kept(lm, TEXTS, "frozen", file, progress=ends_after(AT_ONCE))
    assert prompts_read(file) == AT_ONCE
    seen: list[float] = []
    found = fit_kept(lm, TEXTS, "frozen", file, progress=lambda fraction, _: seen.append(fraction or 0.0))
    whole = eq.fit_lens(lm, TEXTS, "frozen", positions="future", skip=1)
    assert relative(found.matrices, whole.matrices) < 1e-6
    assert (found.prompts, found.corpus, prompts_read(file)) == (len(TEXTS), whole.corpus, len(TEXTS))
    assert min(seen) >= AT_ONCE / len(TEXTS) - 1e-9, "what was there is not fitted again"
    again = fit_kept(lm, TEXTS, "frozen", file)
    assert torch.equal(again.matrices, eq.load_lens(file).matrices)


def test_what_cannot_be_used_is_fitted_anew(lm: eq.LanguageModel, tmp_path: Path) -> None:
    file = tmp_path / "lens.safetensors"
    fit_kept(lm, TEXTS[:2], "frozen", file, positions="last")
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2])
    assert prompts_read(file) == 0, "although the header is whole"
    assert fit_kept(lm, TEXTS[:3], "frozen", file, positions="last").prompts == 3
    for broken in (b"", b"\xff" * 64, b"\x02\x00\x00\x00\x00\x00\x00\x00{}", b"\x02\x00\x00\x00\x00\x00\x00\x00[]"):
        file.write_bytes(broken)
        assert prompts_read(file) == 0
    (tmp_path / "taken").write_text("")
    with pytest.raises(eq.EqlinError, match="folder for lenses cannot be made"):
        fit_kept(lm, TEXTS[:1], "frozen", tmp_path / "taken" / "lens", positions="last")


def test_what_a_lens_depends_on_has_a_file_of_its_own() -> None:
    files = {
        lens_file(Path(), *told, said)
        for told in (("a", "1", "float32"), ("a", "2", "float32"), ("a", "1", "float64"))
        for said in (("frozen",), ("jacobian",), ("frozen", ("skip", 1)))
    }
    assert len(files) == 9
    assert lens_file(Path(), "a", "1", "float32", ("frozen",)) in files
