"""``eqlin run --report`` and ``eqlin verify``: what was written is computed again; a changed number is named."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eqlin_core as eq
from eqlin_core.command.entry import main
from eqlin_core.reports.stored import run_bytes, run_from
from eqlin_core.runs.files import load_run
from eqlin_core.runs.prompt import TokenRun
from tests.eqlin_core.models.model_cases import byte_level_tokenizer, tiny_llama

PROMPT = "the bridge"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny Llama and a tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_llama(vocab_size=300).save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def files(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report with spectra and a saved run, of float32."""
    folder = tmp_path_factory.mktemp("files")
    places = {"report": folder / "r.html", "run": folder / "r.npz"}
    told = ["--report", str(places["report"]), "--save", str(places["run"]), "--token", "b", "--gated-path", "half"]
    assert main(["run", str(model), PROMPT, "--k", "2", "--device", "cpu", "--baseline", "mean", *told]) == 0
    return places


def verified(file: Path, *options: str) -> int:
    return main(["verify", str(file), "--device", "cpu", *options])


def test_what_was_written_is_verified(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert verified(files["report"]) == 0
    shown, warned = capsys.readouterr()
    assert warned == ""
    assert "The page shows what its runs say." in shown
    assert shown.splitlines()[-1].startswith("Verified: all that r.html holds")
    for said in ("contributions", "probabilities", "singular values", "what v reads", "weights, prompt"):
        assert said in shown
    assert verified(files["run"]) == 0
    assert "page" not in capsys.readouterr().out
    found = eq.read_report(files["report"])
    assert (found.sides[0].target.token, found.run.baseline, found.run.key.gated_path) == ("b", "mean", "half")
    assert list(found.sides[0].weights) == ["model.safetensors"]


def in_report(page: str, name: str, change: Any) -> str:
    """A report with a changed run in it, whose checksum in the proof is the new one's."""
    (old,) = re.findall(f'id="{name}">([^<]*)<', page)
    content = base64.b64decode(old)
    new = run_bytes(change(run_from(content)))
    page = page.replace(old, base64.b64encode(new).decode())
    return page.replace(hashlib.sha256(content).hexdigest(), hashlib.sha256(new).hexdigest())


def nudged(field: str, place: tuple[int, ...], by: float) -> Any:
    def change(run: Any) -> Any:
        array = getattr(run, field).copy()
        array[place] *= 1 + by
        return replace(run, **{field: array})

    return change


CHANGED = {
    "contributions": ("run-a", nudged("contributions", (1, 3), 0.01), "contributions"),
    "output": ("run-a", nudged("output", (5,), 0.01), "output"),
    "bias": ("run-a", nudged("bias", (2,), 0.01), "bias"),
    "inputs": ("run-a", nudged("inputs", (0, 0), 0.01), "inputs"),
    "expected": ("run-a", nudged("expected", (4,), 0.05), "mean row of the unembedding"),
    "a probability": (
        "run-a",
        lambda run: replace(run, targets=[replace(run.targets[0], probability=0.9), *run.targets[1:]]),
        "probabilities",
    ),
    "a logit": (
        "run-a",
        lambda run: replace(run, targets=[replace(run.targets[0], logit=run.targets[0].logit + 0.1), *run.targets[1:]]),
        "logits",
    ),
    "an error": (
        "run-a",
        lambda run: replace(run, exactness=replace(run.exactness, reconstruction=1e-12)),
        "reconstruction error, as a factor",
    ),
    "the prompt": ("run-a", lambda run: replace(run, prompt="the brigde"), "prompt"),
    "a token": ("run-a", lambda run: replace(run, tokens=["x", *run.tokens[1:]]), "tokens"),
    "a singular value": ("spectra-a", nudged("S", (1, 1), 0.01), "singular values"),
    "a stable rank": ("spectra-a", nudged("stable_rank", (1,), 0.01), "stable ranks"),
    "u": ("spectra-a", nudged("U", (0, 3, 0), 0.05), "J v = σ u"),
    "v": ("spectra-a", nudged("Vh", (0, 1, 3), 0.05), "Jᵀ u = σ v"),
    "signs": ("spectra-a", lambda s: replace(s, U=-s.U, Vh=-s.Vh), "signs of U"),
    "a projection": ("spectra-a", nudged("projections", (0, 0), 0.05), "projections v · x"),
    "a score": (
        "spectra-a",
        lambda s: replace(s, reads_u=[[[("t", 9.0), *s.reads_u[0][0][1:]], *s.reads_u[0][1:]], *s.reads_u[1:]]),
        "what u writes",
    ),
}


@pytest.fixture(scope="module")
def loaded(model: Path) -> eq.LanguageModel:
    return eq.load_model(model, "float32", "cpu")


@pytest.mark.parametrize("what", CHANGED)
def test_one_changed_number_is_named(what: str, files: dict[str, Path], loaded: eq.LanguageModel) -> None:
    report = eq.read_report(files["report"])
    name, change, named = CHANGED[what]
    run = report.run if name == "run-a" else report.spectra
    assert run is not None
    assert all(check.agrees for check in eq.verify_run(run, loaded))
    assert named in [check.what for check in eq.verify_run(change(run), loaded) if not check.agrees]


@pytest.mark.slow
def test_a_report_that_was_forged_as_a_whole_is_not_verified(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, change, named = CHANGED["contributions"]
    forged = in_report(files["report"].read_text(encoding="utf-8"), name, change)
    (tmp_path / "forged.html").write_text(forged, encoding="utf-8", newline="")
    assert verified(tmp_path / "forged.html", "--numbers") == 1
    assert f"(run: {named})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
def test_a_changed_claim_or_page_is_named(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, forged = files["report"].read_text(encoding="utf-8"), tmp_path / "forged.html"
    digest = eq.read_report(files["report"]).sides[0].weights["model.safetensors"]
    for old, new, said in (
        (digest, "0" * 64, "weights"),
        ("eqlin 0.1.0", "eqlin 9.9.9", "'proof'"),
        (eq.read_report(files["report"]).programs.fingerprint, "0" * 64, "The engine was 00000"),
        ('"forward":', '"forward":1', "forward of run A"),
        ("<h1>The", "<h1>Not the", "'top'"),
    ):
        assert old in page
        forged.write_text(page.replace(old, new), encoding="utf-8", newline="")
        assert verified(forged) == 1
        shown = " ".join(capsys.readouterr().out.split())
        assert said in shown
        assert "NOT VERIFIED" in shown


def test_a_changed_number_of_a_saved_run_is_named(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = load_run(files["run"])
    assert isinstance(run, TokenRun)
    eq.save_run(nudged("contributions", (0, 0), 0.01)(run), tmp_path / "changed.npz")
    assert verified(tmp_path / "changed.npz") == 1
    assert "(run: contributions)" in capsys.readouterr().out


@pytest.mark.slow
def test_a_copy_of_the_model_verifies_and_another_model_does_not(
    model: Path, files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(model, copy, copy_function=shutil.copy)  # which keeps no times
    assert verified(files["report"], "--model", str(copy)) == 0
    network = tiny_llama(vocab_size=300)
    with torch.no_grad():
        network.lm_head.weight[7, 3] += 0.01
    network.save_pretrained(copy)
    assert verified(files["report"], "--model", str(copy)) == 1
    assert "run: weights" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"<!doctype html>", b"\xff\xfe\x00"])
def test_a_file_of_something_else_ends_with_2_and_one_sentence(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.html").write_bytes(content)
    for place in (tmp_path / "x.html", tmp_path / "missing.html", tmp_path):
        assert verified(place) == 2
        shown, warned = capsys.readouterr()
        assert shown == ""
        assert re.fullmatch(r".+\.\n", warned)


def test_a_report_that_cannot_be_written_ends_with_2(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", str(model), PROMPT, "--k", "0", "--report", str(tmp_path / "file" / "r.html")]) == 2
    assert capsys.readouterr().err.startswith("The report cannot be written to r.html")


@pytest.mark.slow
def test_two_runs_in_one_report_are_both_computed_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = eq.load_model(model, "float64", "cpu")
    a, b = (eq.token_run(eq.linearize(lm, prompt), prompt) for prompt in (PROMPT, "the ridge"))
    weights = eq.weights_of(lm)
    eq.write_report(tmp_path / "two.html", a, compared_with=b, weights=weights, compared_weights=weights)
    assert verified(tmp_path / "two.html") == 0
    shown = capsys.readouterr().out
    assert "run A: " in shown
    assert "run B: " in shown


@pytest.mark.slow
def test_another_thread_count_is_no_difference(files: dict[str, Path]) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert verified(files["report"]) == 0
    finally:
        torch.set_num_threads(threads)


def test_a_run_is_compared_with_a_model_of_its_own_dtype_alone(model: Path, files: dict[str, Path]) -> None:
    run = eq.read_report(files["report"]).run
    with pytest.raises(eq.EqlinError, match=r"^The run is in float32 and the model in float64: load it in float32\.$"):
        eq.verify_run(run, eq.load_model(model, "float64", "cpu"))
    checks = eq.verify_run(run, eq.load_model(model, "float32", "cpu"))
    assert all(check.agrees for check in checks)
    assert np.isfinite([check.difference for check in checks]).all()
