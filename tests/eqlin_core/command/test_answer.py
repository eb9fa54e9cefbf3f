"""``eqlin run`` with a chat, an answer and a position: the numbers are the engine's, and what is saved verifies."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import eqlin_core as eq
from eqlin_core.analysis.answer import answer_run, continue_text
from eqlin_core.command.analysis import Analysis, analyse
from eqlin_core.command.answer_table import extremes
from eqlin_core.command.asked import Asked
from eqlin_core.command.entry import main
from eqlin_core.command.tables import print_tables
from eqlin_core.models.written import reads_as
from eqlin_core.resources import budget
from eqlin_core.runs.convention import PUBLISHED
from eqlin_core.runs.prompt import TokenRun
from tests.cases import default_model
from tests.eqlin_core.models.model_cases import CHAT_TEMPLATE, byte_level_tokenizer, tiny_llama

PROMPT, ANSWER = "the bridge", " the caf\u00e9"
CHAT = "system: be brief\nuser: the bridge\nassistant: the"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny Llama, and a tokenizer that has a chat template."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny_llama(vocab_size=300).save_pretrained(folder)
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def lm(model: str) -> eq.LanguageModel:
    return eq.load_model(model, "float64", "cpu")


def said(model: str, capsys: pytest.CaptureFixture[str], *options: str, prompt: str = PROMPT) -> dict[str, Any]:
    """What ``--json`` prints in float64."""
    capsys.readouterr()
    assert main(["run", model, prompt, "--k", "0", "--device", "cpu", "--dtype", "float64", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def analysed(model: str, asked: Asked, prompt: str = PROMPT) -> Analysis:
    return analyse(model, prompt, dtype="float64", device="cpu", convention=PUBLISHED, k=0, token=None, asked=asked)


def printed(found: Analysis, width: int) -> str:
    page = io.StringIO()
    print_tables(found, Console(width=width, highlight=False, emoji=False, markup=False, file=page))
    return page.getvalue()


# ---- the answer ------------------------------------------------------------------------------------------------------


def test_every_token_of_an_answer_is_the_engines_sum(
    model: str, lm: eq.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(model, capsys, "--answer", ANSWER, "--gated-path", "half", "--baseline", "mean")
    text = eq.read_text(lm, PROMPT, answer=ANSWER)
    shown = eq.answer_run(eq.linearize(lm, token_ids=text.token_ids, gated_path="half"), text, baseline="mean")
    answer = found["answer"]
    assert [token["id"] for token in answer["tokens"]] == text.token_ids
    assert (answer["roles"], answer["first"]) == (text.roles, text.first)
    for name in ("terms", "constants", "normalisers", "values", "log_probabilities", "errors"):
        np.testing.assert_allclose(answer[name], getattr(shown, name), rtol=1e-9, atol=1e-12)
    sums = np.sum(answer["terms"], 1) + answer["constants"] + answer["normalisers"]
    np.testing.assert_allclose(sums, answer["log_probabilities"], rtol=1e-9)
    assert answer["log_probability"] == pytest.approx(sum(answer["log_probabilities"]))
    assert answer["exactness"]["exact"] is True
    assert found["position"] == text.first - 1
    assert len(found["tokens"]) == text.first, "the usual tables explain the answer's first token"
    assert said(model, capsys)["answer"] is None


def test_what_it_takes_is_said_before_and_only_json_is_on_stdout(
    model: str, lm: eq.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", model, PROMPT, "--k", "0", "--answer", ANSWER, "--json", "--device", "cpu"]) == 0
    shown, warned = capsys.readouterr()
    json.loads(shown)
    assert warned.startswith("Plan for an answer of ")
    assert len(warned.splitlines()) == 1


def test_what_cannot_fit_is_refused(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(budget, "free_bytes", lambda *_: 1000)
    assert main(["run", model, PROMPT, "--k", "0", "--answer", ANSWER, "--device", "cpu"]) == 2
    shown, warned = capsys.readouterr()
    assert shown == ""
    assert "are free on cpu" in warned
    assert len(warned.splitlines()) == 1


def test_an_answer_that_is_not_exact_ends_with_1(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = analysed(model, Asked(answer=ANSWER))
    assert found.exact
    assert found.answer is not None
    off = replace(found.answer, exactness=replace(found.answer.exactness, exact=False))
    assert not replace(found, answer=off).exact
    monkeypatch.setattr("eqlin_core.command.analysis.analyse", lambda *_, **__: replace(found, answer=off))
    assert main(["run", model, PROMPT, "--answer", ANSWER]) == 1
    assert "NOT EXACT" in capsys.readouterr().out


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_the_table_has_a_row_for_every_token_whatever_the_width(model: str, width: int) -> None:
    found = analysed(model, Asked(answer=ANSWER))
    answer = found.answer
    assert answer is not None
    shown = printed(found, width)
    assert max(map(len, shown.splitlines())) <= width
    table, _, total = shown.partition("Every token of the answer")[2].partition("The whole answer")
    for value in answer.log_probabilities:
        assert f" {value:.4f}" in table
    assert total.count(f"{answer.total:.4f}") == 2, "the sum, and the log-probability"
    assert "exact: reconstruction" in total


def test_those_that_add_most_and_least_are_before_the_token_and_none_is_both(model: str) -> None:
    answer = analysed(model, Asked(answer=ANSWER * 3)).answer
    assert answer is not None
    for row in range(len(answer.terms)):
        before = answer.terms[row, : answer.text.first + row]
        most, least = extremes(answer, row)
        assert not set(most) & set(least)
        assert len(most) + len(least) == min(6, len(before))
        assert before[most].tolist() == sorted(before, reverse=True)[: len(most)]
        assert before[least].tolist() == sorted(before)[: len(least)]


# ---- what the model answers ------------------------------------------------------------------------------------------


def test_the_model_goes_on_after_the_answer(
    model: str, lm: eq.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(model, capsys, "--answer", ANSWER, "--generate", "4")
    new = continue_text(lm, PROMPT, answer=ANSWER, max_new_tokens=4)
    ids = eq.read_text(lm, PROMPT, answer=ANSWER).token_ids
    assert [token["id"] for token in found["answer"]["tokens"]] == [*ids, *new.token_ids]


# ---- chats and positions ---------------------------------------------------------------------------------------------


def test_a_chat_is_read_in_the_models_template(
    model: str, lm: eq.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(model, capsys, "--chat", "--answer", ANSWER, prompt=CHAT)
    text = eq.read_text(lm, chat=eq.read_chat(CHAT), answer=ANSWER)
    assert [token["id"] for token in found["answer"]["tokens"]] == text.token_ids
    assert found["answer"]["roles"] == text.roles
    assert {"system", "user", "assistant", "template"} == set(text.roles)
    assert found["chat"] is True
    assert found["prompt"] == "system: be brief\nuser: the bridge", "what the assistant has begun is of the answer"
    assert len(found["tokens"]) == text.first


@pytest.mark.parametrize("position", [0, 3, -1, -2])
def test_the_usual_tables_are_of_the_text_up_to_a_position(
    position: int, model: str, lm: eq.LanguageModel, capsys: pytest.CaptureFixture[str]
) -> None:
    found = said(model, capsys, "--answer", ANSWER, "--position", str(position))
    ids = eq.read_text(lm, PROMPT, answer=ANSWER).token_ids
    there = position % len(ids)
    lin = eq.linearize(lm, token_ids=ids[: there + 1])
    assert found["position"] == there
    terms, _ = lin.logit_split(lm.unembedding[found["explained"]["id"]][None])
    np.testing.assert_allclose(found["explained"]["contributions"], terms[0].numpy(), rtol=1e-9, atol=1e-12)
    assert len(found["answer"]["tokens"]) == len(ids)


@pytest.mark.parametrize(
    "options",
    [
        ["--chat"],
        ["--chat", "--position", "-1"],
        ["--chat", "--position", "4", "--answer", ANSWER],
        ["--answer", ANSWER, "--position", "-1"],
    ],
)
def test_what_is_saved_of_a_chat_or_a_position_verifies(
    options: list[str], model: str, lm: eq.LanguageModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "run.npz"
    told = ["--k", "0", "--device", "cpu", "--dtype", "float64", "--save", str(file)]
    assert main(["run", model, CHAT, *told, *options]) == 0
    assert main(["verify", str(file), "--device", "cpu"]) == 0
    run = eq.load_run(file)
    assert isinstance(run, TokenRun)
    assert reads_as(lm, run.prompt, run.key.token_ids)
    forged = replace(run, prompt=run.prompt[:-1] + "#")
    assert [c.what for c in eq.verify_run(forged, lm) if not c.agrees] == ["prompt"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--position", "9999"], "--position 9999 does not exist: the text has "),
        (["--position", "-9999"], "--position -9999 does not exist: the text has "),
        (["--answer", ""], "The answer is empty"),
        (["--generate", "0"], "Invalid value for '--generate'"),
        (["--generate", "1000"], "The prompt of "),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    options: list[str], sentence: str, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", model, PROMPT, "--k", "0", "--device", "cpu", *options]) == 2
    shown, warned = capsys.readouterr()
    assert shown == ""
    assert warned.startswith(sentence)
    assert len(warned.splitlines()) == 1


def test_a_model_without_a_template_reads_no_chat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_llama(vocab_size=300).save_pretrained(tmp_path)
    byte_level_tokenizer().save_pretrained(tmp_path)
    assert main(["run", str(tmp_path), CHAT, "--chat", "--k", "0", "--device", "cpu"]) == 2
    assert "has no chat template" in capsys.readouterr().err


# ---- the default model -----------------------------------------------------------------------------------------------


def test_the_default_model_answers_a_chat(capsys: pytest.CaptureFixture[str]) -> None:
    written = "user: What is the capital of France? One word."
    options = ["--chat", "--generate", "3", "--k", "0", "--device", "cpu"]
    assert main(["run", "smollm2-135m", written, *options]) == 0
    shown, warned = capsys.readouterr()
    assert "Plan for an answer of " in warned
    lm = default_model("float32")
    new = continue_text(lm, chat=eq.read_chat(written), max_new_tokens=3)
    text = eq.read_text(lm, chat=eq.read_chat(written), answer=new.text)
    total = answer_run(eq.linearize(lm, token_ids=text.token_ids), text).total
    (line,) = [line for line in shown.splitlines() if line.startswith("log-probability")]
    assert float(line.split()[-1]) == pytest.approx(total, abs=1e-3)
    assert f"the first {text.first} of {len(text.token_ids)} tokens" in " ".join(shown.split())
