"""Groups of tokens deleted from the untouched model's text: row by row against the deletion of single prompts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution import group_deletion as module
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.attribution.group_deletion import group_deletion
from eqlin_core.errors import Cancelled
from tests.cases import PROMPT, default_model, family, llama

N, FIRST = len(PROMPT), 5
# Of the prompt, of both, of the answer, apart from each other, the last token, and all before the last.
GROUPS = [[0], [1, 2], [4, 5, 6], [7], [2, 8], [N - 1], [0, 1, 2, 3, 9]]


@pytest.mark.parametrize("deletion", ["mean", "removal", "zero", 7])
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "mixtral"])
def test_every_row_falls_as_the_prompt_before_it_does(name: str, deletion: str | int) -> None:
    lm = family(name)
    found = group_deletion(lm, PROMPT, FIRST, GROUPS, deletion)
    assert found.shape == (N - FIRST, len(GROUPS))
    assert found.dtype == torch.float64
    for row in range(N - FIRST):
        before = FIRST + row
        deleter = Deleter(lm, PROMPT[:before], [PROMPT[before]], deletion)
        kept = [{p for p in group if p < before} for group in GROUPS]
        _, log_p = deleter.measure([set(), *kept])
        expected = log_p[0, 0] - log_p[1:, 0]
        torch.testing.assert_close(found[row], expected, rtol=1e-5, atol=1e-6)
        for column, group in enumerate(GROUPS):
            assert (found[row, column] == 0) == (min(group) >= before), "what comes later changes nothing, exactly"


def test_removal_is_the_model_on_the_shorter_text() -> None:
    lm = llama()
    found = group_deletion(lm, PROMPT, FIRST, [[1, 6]], "removal")[:, 0]

    def log_p(ids: list[int], token: int) -> torch.Tensor:
        with torch.no_grad():
            return lm.model(input_ids=torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token]

    for row, falls in enumerate(found):
        whole = PROMPT[: FIRST + row]
        ids = [token for i, token in enumerate(whole) if i not in (1, 6)]
        token = PROMPT[FIRST + row]
        torch.testing.assert_close(falls, log_p(whole, token) - log_p(ids, token), rtol=1e-5, atol=1e-6)


def test_a_group_that_holds_a_row_and_all_before_but_one_is_predicted_from_that_one() -> None:
    lm = llama()
    found = group_deletion(lm, PROMPT, 2, [[1, 2, 3, 4]], "removal")
    with torch.no_grad():
        only = lm.model(input_ids=torch.tensor([PROMPT[:1]])).logits[0, -1].log_softmax(-1)
        whole = lm.model(input_ids=torch.tensor([PROMPT])).logits[0].log_softmax(-1)
    for row in range(3):
        fall = whole[1 + row, PROMPT[2 + row]] - only[PROMPT[2 + row]]
        torch.testing.assert_close(found[row, 0], fall, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("deletion", ["mean", "removal"])
def test_how_many_go_together_changes_nothing(monkeypatch: pytest.MonkeyPatch, deletion: str) -> None:
    together = group_deletion(llama(), PROMPT, FIRST, GROUPS, deletion)
    monkeypatch.setattr(module, "_LOGITS", 1)
    torch.testing.assert_close(group_deletion(llama(), PROMPT, FIRST, GROUPS, deletion), together, rtol=0, atol=1e-9)


def test_the_real_model_misses_the_word_that_it_answers_from() -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, "Paris is the capital of France. Rome is the capital of", answer=" Italy")
    rome = text.tokens.index(" Rome")
    falls = group_deletion(lm, text.token_ids, text.first, [[i] for i in range(text.first)])[0]
    assert falls[rome] > 1
    assert falls[rome] > falls[text.tokens.index(" Paris") if " Paris" in text.tokens else 0]


def test_no_group_is_no_column_and_it_is_told_of() -> None:
    assert group_deletion(llama(), PROMPT, FIRST, []).shape == (N - FIRST, 0)
    seen: list[float] = []
    group_deletion(llama(), PROMPT, FIRST, GROUPS, "removal", lambda fraction, message: seen.append(fraction))
    assert seen == [n / len(GROUPS) for n in range(1, len(GROUPS) + 1)]
    with pytest.raises(Cancelled):
        group_deletion(llama(), PROMPT, FIRST, GROUPS, progress=lambda fraction, message: False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"groups": [[]]}, "A group is a list of positions"),
        ({"groups": [[0, N]]}, r"A position is a whole number from 0 to 10 \(the text has 11 tokens\), not 11"),
        ({"groups": [[-1]]}, "A position is a whole number from 0 to 10"),
        ({"groups": [[0, 1, 2, 3, 4, 8]], "deletion": "removal"}, "nothing is left to predict it"),
        ({"first": 0}, "first is a whole number from 1 to 10"),
        ({"first": N}, "first is a whole number from 1 to 10"),
        ({"deletion": "the"}, "no tokenizer"),
        ({"deletion": 10**9}, "outside this model's vocabulary"),
        ({"token_ids": [3, 10**9]}, "outside this model's vocabulary"),
    ],
)
def test_what_cannot_be_deleted_is_refused_in_a_sentence(change: Any, sentence: str) -> None:
    given = {"token_ids": PROMPT, "first": FIRST, "groups": GROUPS, **change}
    with pytest.raises(eq.EqlinError, match=sentence):
        group_deletion(llama(), **given)


def test_everything_before_the_answer_can_be_replaced() -> None:
    falls = group_deletion(llama(), PROMPT, FIRST, [range(FIRST)], "mean")
    assert falls.abs().min() > 0
