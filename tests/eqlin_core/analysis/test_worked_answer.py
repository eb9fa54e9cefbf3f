"""The worked example of docs/answers.md: the sums that it tells, and the deletions that bear it out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.answer import group_deletion_run
from eqlin_core.runs.answer import answer_groups
from tests.cases import default_model

CHAT = [
    {"role": "user", "content": "What is the capital of France?"},
    {"role": "assistant", "content": "The capital of France is Paris."},
    {"role": "user", "content": "And of Italy?"},
]
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "answers.md").read_text(encoding="utf-8")
# Of two rows: (the word, which of its name before the row, its term, what is lost without it), in the page's order.
TOLD = {
    " Italy": [(" Italy", -1, 0.187, 4.87), (" France", -1, -0.001, 3.98), (" of", -1, 0.003, 3.73)],
    " Rome": [
        (" is", -1, 0.044, 5.76),
        (" Paris", -1, 0.023, 4.97),
        ("template", 0, -0.007, 3.08),
        (" capital", -1, 0.017, 0.02),
    ],
}


@pytest.fixture(scope="module")
def worked() -> tuple[eq.AnswerRun, list[eq.Group], np.ndarray, np.ndarray]:
    lm = default_model("float32")
    answer = eq.continue_text(lm, chat=CHAT, max_new_tokens=24)
    assert answer.text == "The capital of Italy is Rome."
    assert answer.ended
    text = eq.read_text(lm, chat=CHAT, answer=answer.text)
    lin = eq.linearize(lm, token_ids=text.token_ids, gated_path="half", attention="half")
    run = eq.answer_run(lin, text)
    words = eq.groups_of(run.text, "word")
    falls = group_deletion_run(lin, run.text, words).falls
    return run, words, run.folded(answer_groups(words, text.first), words), falls


def test_the_answer_is_as_likely_as_the_page_says(worked: tuple) -> None:
    run = worked[0]
    assert run.exactness.exact
    assert run.total == pytest.approx(-0.525, abs=1e-3)
    assert run.ends == pytest.approx(0.99, abs=0.01)
    assert "−0.525" in PAGE


@pytest.mark.parametrize("row", list(TOLD))
def test_terms_and_losses_are_those_of_the_page(worked: tuple, row: str) -> None:
    run, words, terms, falls = worked
    r = [group.label for group in answer_groups(words, run.text.first)].index(row)
    before = [i for i, word in enumerate(words) if word.members[0] < run.text.first + r]
    for label, which, term, loss in TOLD[row]:
        place = [i for i in before if words[i].label == label][which]
        assert terms[r, place] == pytest.approx(term, abs=6e-4)
        assert falls[r, place] == pytest.approx(loss, abs=6e-3)
        assert f"{abs(term):.3f}" in PAGE
        assert f"{loss:.2f}" in PAGE
    first = words[max(before, key=lambda i: terms[r, i])].label, words[max(before, key=lambda i: falls[r, i])].label
    assert first == (TOLD[row][0][0],) * 2, "the largest term and the largest loss are of the same word"
