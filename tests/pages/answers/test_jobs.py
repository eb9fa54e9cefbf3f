"""What page Answer asks of the worker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import eqlin_core
from eqlin_core.analysis.answer import group_deletion_run
from eqlin_core.resources.answers import plan_answer
from eqlin_core.runs.answer import ContinuedText
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.groups import groups_of
from pages.answers.jobs import Asking, answer, generated, without_groups
from pages.worker.engine import Engine
from pages.worker.request import DEFAULT_SPLIT, Request
from pages.worker.texts import read
from tests.pages.answers.answer_cases import DTYPE, MODEL, Published

BRIDGE = Request("the bridge", MODEL, DTYPE)
ANSWERED = replace(BRIDGE, answer=" is red")


@pytest.mark.parametrize("text", ["", " red", " café €"])
@pytest.mark.parametrize("more", ["nothing", "half", "end"])
def test_an_answer_that_is_cut_short_ends_in_no_half_character_and_no_end_token(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, text: str, more: str
) -> None:
    tokenizer = engine.models.loaded[MODEL, DTYPE].model.tokenizer
    assert tokenizer is not None
    euro = tokenizer("€").input_ids
    assert len(euro) == 3, "a token a byte"
    ids = tokenizer(text).input_ids
    found = ids + {"nothing": [], "half": euro[:2], "end": [tokenizer.eos_token_id]}[more]

    def continued(*_: Any, on_text: Any, **__: Any) -> None:
        on_text(ContinuedText(tokenizer.decode(found), tuple(found), False))

    monkeypatch.setattr(eqlin_core, "continue_text", continued)
    told = Published()
    generated(BRIDGE, Asking()).work(engine, told)  # type: ignore[arg-type]
    assert told.published == [("so_far", ContinuedText(text, tuple(ids), False))]


@pytest.mark.parametrize("convention", [Convention(), Convention("half", "half")])
def test_what_the_model_does_without_groups_needs_no_map(engine: Engine, convention: Convention) -> None:
    request, told = ANSWERED.by(convention), Published()
    found = without_groups(request, "word", True, "mean").work(engine, told)  # type: ignore[arg-type]
    assert not engine.models.loaded[MODEL, DTYPE].maps
    assert told.published == [], "no plan of what nobody asked for"
    lin = engine.linear_map(request, told)  # type: ignore[arg-type]
    text = read(lin.lm, request)
    by_map = group_deletion_run(lin, text, groups_of(text, "word"), "mean")
    assert (found.key, found.groups, found.deletion) == (by_map.key, by_map.groups, by_map.deletion)
    np.testing.assert_array_equal(found.falls, by_map.falls)


def test_the_plan_that_is_said_while_an_answer_is_split_is_the_answers(engine: Engine) -> None:
    told = Published()
    run = answer(ANSWERED, DEFAULT_SPLIT).work(engine, told)  # type: ignore[arg-type]
    model, text = engine.models.loaded[MODEL, DTYPE].model, run.text
    plan = plan_answer(model, len(text.token_ids), len(run.terms), DEFAULT_SPLIT.convention)
    words = plan.sentence().partition(": about")[0]
    assert {name for name, _ in told.published} == {"plan"}
    assert all(said.startswith(words) for _, said in told.published), told.published
    assert told.order.index("plan") < told.order.index("Recording the frozen network")
