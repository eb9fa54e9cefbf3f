"""How far a map reaches and what swapped tokens change, as the pages get it: against the engine's own numbers."""

from __future__ import annotations

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.analysis.prompt import next_logits, token_run
from eqlin_core.analysis.validity import alternative, counterfactual_run, validity_run
from eqlin_core.runs.split import TargetKind
from tests.cases import PROMPT, llama
from tests.eqlin_core.odd_calls import tiny_with_text

SWAPPED = [40, *PROMPT[1:3], 41, *PROMPT[4:]]


@pytest.fixture(scope="module")
def lin() -> eq.LinearMap:
    return eq.linearize(llama("affine"), token_ids=PROMPT)


def test_it_is_the_engine_s_measure_with_names(lin: eq.LinearMap) -> None:
    run, found = validity_run(lin, 2, 40, points=3), eq.validity(lin, 2, 40, points=3)
    np.testing.assert_allclose(run.divergence, found.divergence)
    np.testing.assert_allclose(np.stack(list(run.parts.values())), found.parts)
    np.testing.assert_allclose(run.change, found.parts.sum(0))
    assert run.agrees.tolist() == found.agrees.tolist()
    assert run.radius == (None if found.radius == float("inf") else found.radius)
    assert (run.way, run.towards_id, run.position, run.token) == ("token", 40, 2, lin.tokens[2])
    names = lin.lm.token_strings([*found.frozen_top.tolist(), *found.model_top.tolist(), 40])
    assert [*run.frozen_top, *run.model_top, run.towards] == names
    assert run.followed == run.model_top[0]


def test_without_a_token_it_is_the_model_s_own_other_one(lin: eq.LinearMap) -> None:
    logits = next_logits(lin.lm, PROMPT[:3])
    best = next(i for i in logits.argsort(descending=True).tolist() if i != PROMPT[3])
    run = validity_run(lin, 3, points=2)
    assert (run.way, run.towards_id) == ("alternative", best)
    assert alternative(lin, 0) != PROMPT[0], "the first token has one, too"


def test_along_v_1_it_goes_the_embedding_s_own_length(lin: eq.LinearMap) -> None:
    run = validity_run(lin, 1, along=True, points=2)
    assert (run.way, run.towards_id) == ("direction", None)
    assert run.length == pytest.approx(1.0)
    v = eq.spectrum(lin, 1).Vh[1, 0]
    v = v if float(v @ lin.inputs[1]) > 0 else -v
    np.testing.assert_allclose(run.divergence, eq.validity(lin, 1, v, points=2).divergence, rtol=1e-4, atol=1e-9)


def test_a_typed_token_is_taken_with_a_space_where_the_replaced_one_has_it() -> None:
    lm = tiny_with_text()
    lin = eq.linearize(lm, "the bridge of the")
    names = {name: i for i, name in enumerate(lm.token_strings(range(lm.vocab_size)))}
    word = next(name for name in names if name[:1] == " " and name[1:] in names and name not in lin.tokens)
    place = next(i for i, name in enumerate(lin.tokens) if name[:1] == " ")
    assert validity_run(lin, place, word[1:], points=2).towards == word
    with pytest.raises(eq.EqlinError, match="not a single token"):
        validity_run(lin, place, "no token at all", points=2)
    with pytest.raises(eq.EqlinError, match="already: choose another"):
        validity_run(lin, place, lin.token_ids[place], points=2)


@pytest.mark.parametrize("kind", ["logit", "log-probability"])
def test_the_parts_of_a_swap_sum_to_what_the_model_does(lin: eq.LinearMap, kind: TargetKind) -> None:
    run = counterfactual_run(lin, SWAPPED, 5, kind)
    assert run.positions == [0, 3]
    assert run.foreseen + sum(run.hidden.values()) == pytest.approx(run.measured, abs=1e-9)
    assert abs(run.rounding) < 1e-9
    found = eq.counterfactual(lin, SWAPPED, eq.direction(lin, 5, kind)[None])
    np.testing.assert_allclose(run.map, found.map[0])
    if kind == "logit":
        other = token_run(eq.linearize(lin.lm, token_ids=SWAPPED), "")
        assert run.after == pytest.approx(float(lin.lm.unembedding[5].numpy() @ other.output), abs=1e-5)
    else:
        logs = [next_logits(lin.lm, ids).log_softmax(-1)[5] for ids in (PROMPT, SWAPPED)]
        assert [run.before, run.after] == pytest.approx([float(log) for log in logs])
        assert tuple(run.hidden) == ("attention", "norms", "gates", "softmax")


def test_at_an_inner_position_the_tokens_up_to_it_count() -> None:
    whole = eq.linearize(llama("affine"), token_ids=PROMPT).positions([2])[0]
    run = counterfactual_run(whole, SWAPPED[:3], 5)
    alone = counterfactual_run(eq.linearize(llama("affine"), token_ids=PROMPT[:3]), SWAPPED[:3], 5)
    assert (run.tokens, run.positions) == (alone.tokens, [0])
    assert run.after == pytest.approx(alone.after)
    with pytest.raises(eq.EqlinError, match="has 2 tokens, this one 3"):
        counterfactual_run(whole, SWAPPED[:2], 5)
