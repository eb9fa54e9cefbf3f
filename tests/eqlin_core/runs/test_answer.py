"""An answer as a run: its sums over groups, what it says of itself, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.runs.answer import AnswerRun, ContinuedText, GroupDeletionRun, answer_groups
from eqlin_core.runs.groups import groups_of
from tests.eqlin_core.runs.file_cases import answer_run, group_deletion_run, same


@pytest.mark.parametrize("columns", ["token", "word", "role"])
@pytest.mark.parametrize("rows", ["token", "word", "role"])
def test_terms_folded_over_groups_are_their_sums(rows: str, columns: str) -> None:
    run = answer_run()
    of_rows, of_columns = answer_groups(groups_of(run.text, rows), run.text.first), groups_of(run.text, columns)
    found = run.folded(of_rows, of_columns)
    assert found.shape == (len(of_rows), len(of_columns))
    for i, row in enumerate(of_rows):
        for j, column in enumerate(of_columns):
            assert found[i, j] == sum(run.terms[r - 4, c] for r in row.members for c in column.members)
    assert found.sum() == run.terms.sum()


def test_groups_of_the_answer_are_its_words() -> None:
    run = answer_run()
    words = answer_groups(groups_of(run.text, "word"), run.text.first)
    assert [word.label for word in words] == ["Golden", "."]
    assert run.over(words, run.log_probabilities).tolist() == [-1.5, -0.25]


def test_what_groups_add_and_the_rest_sum_to_the_whole_answer() -> None:
    run = answer_run()
    for by in ("token", "word", "sentence", "line", "role"):
        assert run.parts(groups_of(run.text, by)).sum() + run.rest.sum() == run.total == run.values.sum()
    assert run.rest.tolist() == [-9.0, -18.0, -27.0]


def test_the_row_of_a_position_is_that_of_the_token_after_it() -> None:
    run = answer_run()
    assert [run.row_of(position) for position in range(-1, 8)] == [None] * 4 + [0, 1, 2, None, None]


def test_what_the_runs_say_of_themselves() -> None:
    assert repr(answer_run()) == (
        "AnswerRun(made-up, answer of 3 tokens, to 4 tokens, log-probability -1.75, float32, exact 3.0e-07)"
    )
    assert repr(group_deletion_run()) == "GroupDeletionRun(made-up, 3 groups, by removal, 3 rows)"
    assert repr(answer_run().text) == "RunText('<s>The bridge</s>Golden.', 4 tokens, answer of 3 tokens)"


def test_the_whole_answers_fall_without_a_group() -> None:
    run = group_deletion_run()
    assert [run.fall_of(i) for i in range(3)] == [9.0, 12.0, 15.0]
    with pytest.raises(eq.EqlinError, match="Group 3 does not exist: there are 3 groups"):
        run.fall_of(3)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (ContinuedText("a", (1,), False), ""),
        (ContinuedText("a", (1,), True), "The model ended its answer by itself."),
        (
            ContinuedText("a", (1,), False, 1),
            "The last token was left out: typed as text it would be another.",
        ),
        (
            ContinuedText("a", (1,), False, 2),
            "The last 2 tokens were left out: typed as text they would be read as other tokens.",
        ),
    ],
)
def test_how_an_answer_ended(made: ContinuedText, words: str) -> None:
    assert made.words == words


def test_an_analysed_answer_is_the_same_after_reading(tmp_path: Path) -> None:
    from eqlin_core.analysis.answer import group_deletion_run
    from tests.cases import PROMPT, llama

    lm = llama()
    text = eq.read_text(lm, token_ids=PROMPT[:6], answer=PROMPT[6:])
    lin = eq.linearize(lm, token_ids=text.token_ids)
    run = eq.answer_run(lin, text, "logit", 7)
    deleted = group_deletion_run(lin, text, groups_of(text, "token"), "mean")
    for made, kind in ((run, AnswerRun), (deleted, GroupDeletionRun)):
        assert isinstance(made, kind)
        eq.save_run(made, tmp_path / f"{kind.__name__}.npz")
    read = eq.load_run(tmp_path / "AnswerRun.npz")
    assert isinstance(read, AnswerRun)
    assert np.isnan([run.ends, read.ends]).all(), "no tokenizer, no token that ends a text"
    assert same(replace(read, ends=0.0), replace(run, ends=0.0))
    assert same(eq.load_run(tmp_path / "GroupDeletionRun.npz"), deleted)
