"""The plan of an answer's split, and what is refused before it starts."""

from __future__ import annotations

import re
from typing import Any

import pytest

import eqlin_core as eq
from eqlin_core.resources import answers, plan
from eqlin_core.resources.answers import plan_answer, require_room_for_answer
from eqlin_core.runs.convention import PUBLISHED, Convention
from tests.cases import default_model, llama

GIB, MIB = 2**30, 2**20


def free(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("eqlin_core.resources.budget.free_bytes", lambda device: size)


def test_the_plan_says_in_a_line_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 64 * GIB)
    planned = plan_answer(default_model("float32"), 300, 40)
    assert planned.sentence() == (
        f"Plan for an answer of 40 tokens to 260 tokens: about {plan.duration_text(planned.seconds)} for one reverse "
        f"pass a token, at most {plan.size_text(planned.bytes)} of memory beside the model."
    )
    assert planned.seconds > 0
    assert "answer of 1 token to 1 token:" in plan_answer(llama(), 2, 1).sentence()


def test_it_grows_with_the_rows_and_with_the_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 64 * GIB)
    lm = default_model("float32")
    base, rows, tokens = (plan_answer(lm, *of, memory_budget=MIB) for of in ((300, 250), (300, 290), (600, 250)))
    assert tokens.bytes > base.bytes == rows.bytes, "rows are looked back from a few at a time"
    for more in (rows, tokens):
        assert more.seconds > base.seconds
    least = plan.recording_bytes(lm, 300) + plan.recorded_bytes(lm, 300)
    assert least < plan_answer(lm, 300, 1, memory_budget=MIB).bytes < 1.1 * least, "the recording and what it leaves"
    live = plan_answer(lm, 300, 250, Convention("up", "half"), memory_budget=MIB)
    assert live.seconds > base.seconds
    alike = [answers._needed(lm, 300, 250, 64, live=live) for live in (False, True)]
    assert alike[1] > alike[0], "each row has scores of its own"


def test_the_distributions_over_a_large_vocabulary_are_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 64 * GIB)
    lm = llama()
    before = plan_answer(lm, 60, 40)
    monkeypatch.setattr(type(lm), "vocab_size", 262_144)
    assert plan_answer(lm, 60, 40).bytes - before.bytes > 32 * 260_000 * 8 * 3


def test_rows_go_together_as_far_as_the_budget_lets_them(monkeypatch: pytest.MonkeyPatch) -> None:
    free(monkeypatch, 64 * GIB)
    lm = default_model("float32")
    assert plan_answer(lm, 300, 4).chunk == 4, "no more than there are"
    narrow = plan_answer(lm, 300, 200, memory_budget=8 * MIB)
    wider = plan_answer(lm, 300, 200, memory_budget=80 * MIB)
    assert 1 <= narrow.chunk < wider.chunk < 200
    assert narrow.seconds > wider.seconds, "the weights are read for every chunk"


def test_what_cannot_fit_is_refused_and_what_is_said_to_fit_does(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = default_model("float32")
    needed = answers._needed(lm, 900, 600, 1, live=False)
    free(monkeypatch, needed - 1)
    with pytest.raises(eq.EqlinError, match=r"of 600 tokens to 300 tokens needs .* and .* are free on cpu") as caught:
        plan_answer(lm, 900, 600)
    found = re.search(r"its first (\d+) tokens fit\.$", str(caught.value))
    assert found is not None
    fits = int(found[1])
    assert 0 < fits < 600
    assert plan_answer(lm, 300 + fits, fits).bytes > 0
    with pytest.raises(eq.EqlinError):
        require_room_for_answer(lm, 301 + fits, fits + 1, PUBLISHED)
    free(monkeypatch, needed)
    require_room_for_answer(lm, 900, 600, PUBLISHED)


def test_where_not_one_token_fits_the_prompt_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = default_model("float32")
    free(monkeypatch, answers._needed(lm, 301, 1, 1, live=False) - 1)
    with pytest.raises(eq.EqlinError, match=r"An answer of 50 tokens to 300 tokens needs .*; shorten the prompt\.$"):
        require_room_for_answer(lm, 350, 50, PUBLISHED)
    free(monkeypatch, MIB)
    with pytest.raises(eq.EqlinError, match=r"An answer of 50 tokens to 300 tokens needs .* are free on cpu; shorten"):
        plan_answer(lm, 350, 50)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"tokens": 1, "rows": 1}, "tokens is a whole number from 2"),
        ({"tokens": 5, "rows": 5}, r"rows is a whole number from 1 to 4 \(the text has 5 tokens\), not 5"),
        ({"tokens": 5, "rows": 0}, "rows is a whole number from 1 to 4"),
        ({"tokens": 5, "rows": 1, "memory_budget": 0}, "memory_budget is a whole number from 1 on"),
    ],
)
def test_numbers_that_are_none_are_refused(given: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError, match=sentence):
        plan_answer(llama(), **given)
