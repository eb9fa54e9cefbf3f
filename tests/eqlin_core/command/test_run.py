"""``eqlin run``: the numbers it prints are the engine's, as tables and as JSON."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from rich.console import Console

import eqlin_core as eq
from eqlin_core.command import waiting as bars
from eqlin_core.command.analysis import Analysis, analyse
from eqlin_core.command.entry import main
from eqlin_core.command.json_text import json_text
from eqlin_core.command.run import Precision
from eqlin_core.command.tables import print_tables
from eqlin_core.command.waiting import waiting
from eqlin_core.models import four_bit
from eqlin_core.models.checkpoints import DTYPES
from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.exactness import BOUNDS
from eqlin_core.runs.prompt import TokenRun
from tests.cases import MARIN
from tests.eqlin_core.models.model_cases import byte_level_tokenizer, tiny_llama

PROMPT = "the bridge"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny Llama, biases and all, and a tokenizer."""
    folder = tmp_path_factory.mktemp("tiny")
    network = tiny_llama(vocab_size=300, mlp_bias=True)
    for name, parameter in network.named_parameters():
        if "bias" in name:
            parameter.data.fill_(0.05)
    network.save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def found(model: str) -> Analysis:
    return analyse(model, PROMPT, dtype="float64", device="cpu", convention=PUBLISHED, k=2, token=None)


def printed(found: Analysis, width: int) -> str:
    page = io.StringIO()
    print_tables(found, Console(width=width, highlight=False, emoji=False, markup=False, file=page))
    return page.getvalue()


# ---- the default model -----------------------------------------------------------------------------------------------


def test_the_default_model_prints_what_its_page_shows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "smollm2-135m", MARIN, "--dtype", "float64", "--k", "1", "--device", "cpu"]) == 0
    shown, warned = capsys.readouterr()
    assert warned == "", "no bar where nobody watches"
    assert max(map(len, shown.splitlines())) <= 80
    assert "smollm2-135m, float64, cpu" in shown
    assert re.search(r"^exact: reconstruction \de-1\d|^exact: reconstruction \d\.\de-1\d", shown, re.MULTILINE)
    rows = {
        line.split()[0]: line.split()[1:]
        for line in shown.partition("Singular triplets")[2].splitlines()
        if line.split()
    }
    sigmas = [float(rows[token][2]) for token in ("The", "·bridge", "·out", "·of", "·Marin", "·is", "·the")]
    assert sigmas == [63.9, 4.45, 2.99, 4.53, 13.1, 4.11, 5.10]
    assert "·Highway" in rows["·bridge"]
    (total,) = re.findall(r"^sum +(\S+)", shown, re.MULTILINE)
    (logit,) = re.findall(r"^logit, w · y +(\S+)", shown, re.MULTILINE)
    assert total == logit
    terms = re.findall(r"^(?:The|·\w+) +(-?\d+\.\d{4})(?: |$)", shown, re.MULTILINE)
    assert len(terms) == 7
    assert sum(map(float, terms)) == pytest.approx(float(logit), abs=7e-4)


# ---- the tables ------------------------------------------------------------------------------------------------------


def test_contributions_and_constant_sum_to_the_logit(found: Analysis) -> None:
    assert found.total == pytest.approx(found.target.logit, rel=1e-12)
    assert found.terms[1] != 0, "this model has biases"
    shown = printed(found, 80)
    assert "biases, w · b" in shown
    assert f"{found.total:.4f}" in shown


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_tables_keep_every_number_whatever_the_width(found: Analysis, width: int) -> None:
    shown = printed(found, width)
    assert max(map(len, shown.splitlines())) <= width
    terms, constant = found.terms
    for term in (*terms, constant):
        assert f" {term:.4f}" in shown
    assert found.spectra is not None
    for sigma in found.spectra.S[:, 0]:
        assert f"{sigma:.3g}"[:4] in shown


def test_tokens_are_printed_literally_and_never_as_commands_of_the_terminal(found: Analysis) -> None:
    nasty = ["[bold]", ":smile:", "\x1b[31m", "\n"][: len(found.run.tokens)]
    nasty += found.run.tokens[len(nasty) :]
    shown = printed(replace(found, run=replace(found.run, tokens=nasty), spectra=None), 80)
    assert "[bold]" in shown
    assert ":smile:" in shown
    assert "\x1b" not in shown


def test_what_is_not_exact_says_so_and_ends_with_1(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(BOUNDS, "float32", (1e-12, 1e-3))
    assert main(["run", model, PROMPT, "--k", "0"]) == 1
    shown = capsys.readouterr().out
    assert "NOT EXACT: reconstruction" in shown
    assert "leak: " in shown


# ---- JSON and files --------------------------------------------------------------------------------------------------


def test_json_is_all_that_is_printed_and_holds_the_engines_numbers(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "runs" / "bridge.npz"
    options = ["--dtype", "float64", "--k", "3", "--gated-path", "gate", "--json", "--save", str(file)]
    assert main(["run", model, PROMPT, *options]) == 0
    shown, warned = capsys.readouterr()
    assert warned == ""
    said = json.loads(shown)
    lin = eq.linearize(eq.load_model(model, "float64", "cpu"), PROMPT, gated_path="gate")
    spectrum = eq.spectrum(lin, 3)
    assert [token["id"] for token in said["tokens"]] == lin.token_ids
    np.testing.assert_allclose(
        [[t["sigma"] for t in token["triplets"]] for token in said["spectra"]], spectrum.S.numpy(), rtol=1e-9
    )
    np.testing.assert_allclose([t["stable_rank"] for t in said["spectra"]], spectrum.stable_rank.numpy(), rtol=1e-9)
    explained = said["explained"]
    w = lin.lm.unembedding[explained["id"]][None]
    terms, constant = lin.logit_split(w)
    np.testing.assert_allclose(explained["contributions"], terms[0].numpy(), rtol=1e-9, atol=1e-12)
    assert explained["constant"] == pytest.approx(float(constant[0]))
    assert explained["sum"] == pytest.approx(explained["logit"], rel=1e-12)
    assert said["next_tokens"][0]["id"] == explained["id"]
    assert said["exactness"]["exact"] is True
    assert said["gated_path"] == "gate"
    saved = eq.load_run(file)
    assert isinstance(saved, TokenRun)
    assert saved.tokens == [token["token"] for token in said["tokens"]]
    np.testing.assert_allclose(saved.contributions, lin.contributions().numpy(), rtol=1e-9, atol=1e-12)


def test_without_triplets_no_matrix_is_computed(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(eq.LinearMap, "jacobian", lambda *_: pytest.fail("a matrix was computed"))
    assert main(["run", model, PROMPT, "--k", "0", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["spectra"] is None


def test_a_number_that_json_does_not_know_is_null(found: Analysis) -> None:
    assert found.spectra is not None
    holes = replace(found.spectra, stable_rank=np.full_like(found.spectra.stable_rank, np.nan))
    said = json.loads(json_text(replace(found, spectra=holes)), parse_constant=pytest.fail)
    assert said["spectra"][0]["stable_rank"] is None


def test_another_token_can_be_explained(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", model, PROMPT, "--k", "0", "--json", "--token", "b"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["explained"]["token"] == "b"
    assert said["explained"]["id"] != said["next_tokens"][0]["id"]
    assert main(["run", model, PROMPT, "--k", "0", "--token", "no token"]) == 2
    assert "is not a single token" in capsys.readouterr().err


def test_a_run_that_cannot_be_saved_is_printed_all_the_same(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["run", model, PROMPT, "--k", "0", "--save", str(tmp_path / "file" / "run.npz")]) == 2
    shown, warned = capsys.readouterr()
    assert "logit, w · y" in shown
    assert warned.startswith("The run cannot be written to run.npz")
    assert len(warned.splitlines()) == 1


# ---- what it offers, and what a person sees on the way ---------------------------------------------------------------


def test_it_offers_what_the_engine_knows() -> None:
    assert set(get_args(Precision)) == {*DTYPES, four_bit.NAME}


def test_a_bar_is_drawn_on_a_terminals_stderr_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with waiting() as told:
        assert told is None
    monkeypatch.setattr(bars, "Console", lambda **options: Console(**options, force_terminal=True, width=60))
    with waiting() as told:
        assert told is not None
        told(None, "Reading weights")
        told(0.5, "[/b] Matrix")
    shown, drawn = capsys.readouterr()
    assert shown == ""
    assert "[/b] Matrix" in drawn
