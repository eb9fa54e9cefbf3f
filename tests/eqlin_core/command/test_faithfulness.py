"""``eqlin faithfulness``: what it prints is the study, what it saves reads back, and errors are sentences."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from eqlin_core.attribution.prompts import Prompt
from eqlin_core.command.entry import main
from eqlin_core.command.faithfulness_table import print_study
from eqlin_core.errors import EqlinError
from eqlin_core.runs.faithfulness import RANK, RANK_REST, Faithfulness
from tests.eqlin_core.studies.study_cases import saved_model


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str, str, Faithfulness]:
    """(status, stdout, stderr, what was saved) of a study of two prompts."""
    file = tmp_path_factory.mktemp("study") / "study.json"
    model = str(saved_model(tmp_path_factory.mktemp("model") / "tiny"))
    with pytest.MonkeyPatch.context() as patch:
        shown, warned = io.StringIO(), io.StringIO()
        patch.setattr("sys.stdout", shown)
        patch.setattr("sys.stderr", warned)
        arguments = ["faithfulness", model, "--list", "facts", "--first", "2", "--ranks-only", "--device", "cpu"]
        status = main([*arguments, "--save", str(file)])
    return status, shown.getvalue(), warned.getvalue(), Faithfulness.from_json(file.read_text(encoding="utf-8"))


def test_it_prints_every_method_the_best_first_and_saves_the_same(ended: tuple[int, str, str, Faithfulness]) -> None:
    status, shown, warned, saved = ended
    assert (status, warned) == (0, "")
    assert "tiny, 2 prompts of " in " ".join(shown.split())
    assert set(saved.values) >= {RANK, RANK_REST}
    flat = " ".join(shown.split())
    for words in ("leave-one-out 1.00 [1.00, 1.00]", "the best that is not exact", "95 % intervals over prompts"):
        assert words in flat
    assert len(saved.tokens) == 2
    assert sum(saved.exact) == 24


def test_the_table_is_sorted_and_leaves_out_what_was_not_measured() -> None:
    rank = np.array([[0.1, 0.2], [0.8, 0.6], [1.0, 1.0]])
    nothing = np.full((3, 2), np.nan)
    found = Faithfulness(
        "made-up", "mean", ["low", "high", "leave-one-out"], [True, True, False], ["a", "b"], [4, 9],
        {RANK: rank, RANK_REST: rank, "truth first": nothing},
    )  # fmt: skip
    page = io.StringIO()
    print_study(found, Console(width=100, file=page, highlight=False, emoji=False, markup=False))
    lines = page.getvalue().splitlines()
    assert lines[0] == "made-up, 2 prompts of 4 to 9 tokens, deletion by mean"
    order = [line.split()[0] for line in lines if line[:3] in ("low", "hig", "lea")]
    assert order == ["leave-one-out", "high", "low"]
    assert "truth" not in page.getvalue()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--list", "poems"], "There is no list 'poems'; the lists are facts, patterns, paragraphs."),
        (["no such model"], "There is no model or folder 'no such model': check the spelling."),
        (["--first", "0"], "Invalid value for '--first'"),
        (["--first", "1", "--deletion", "two words", "--ranks-only"], "'two words' is not a single token"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["faithfulness", *arguments]) == 2
    shown, warned = capsys.readouterr()
    assert shown == ""
    assert warned.startswith(sentence)
    assert len(warned.splitlines()) == 1


def test_every_prompt_of_a_list_can_be_a_chat(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def study(lm: object, prompts: list[Prompt], **_: object) -> None:
        asked.extend(prompts)
        raise EqlinError("Enough.")

    monkeypatch.setattr("eqlin_core.attribution.study.faithfulness", study)
    monkeypatch.setattr("eqlin_core.models.loading.load_model", lambda *_, **__: None)
    for options, chat in ([], False), (["--chat"], True):
        asked.clear()
        assert main(["faithfulness", "--first", "2", *options]) == 2
        assert [prompt.chat for prompt in asked] == [chat, chat]


@pytest.mark.slow
def test_json_is_the_study_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["faithfulness", "--first", "1", "--ranks-only", "--json"]) == 0
    shown, _ = capsys.readouterr()
    assert json.loads(shown)["model"] == "smollm2-135m"
