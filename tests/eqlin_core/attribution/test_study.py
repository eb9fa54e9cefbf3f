"""The study: its measures on methods whose answer is known, its prompts, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import eqlin_core as eq
from eqlin_core.attribution.deletion import Deleter
from eqlin_core.attribution.methods import Explained, Method, random_scores, split_method
from eqlin_core.attribution.prompts import LISTS, Prompt, prompt_list
from eqlin_core.attribution.study import LEAVE_ONE_OUT, faithfulness, standard_methods
from eqlin_core.runs.faithfulness import AREA, RANK, RANK_REST, TRUTH_FIRST, TRUTH_RANK, Faithfulness
from eqlin_core.runs.split import Split
from tests.cases import PROMPT, default_model, llama


def falls_of(prompt: Explained) -> torch.Tensor:
    return Deleter(prompt.lm, prompt.token_ids, [prompt.token]).leave_one_out()[1][:, 0]


ORACLE = Method("oracle", False, falls_of)
REVERSED = Method("reversed", False, lambda prompt: -falls_of(prompt))


@pytest.fixture(scope="module")
def found() -> Faithfulness:
    prompts = [list(PROMPT), list(PROMPT[::-1]), list(PROMPT[:5])]
    return faithfulness(llama(), prompts, [ORACLE, REVERSED, random_scores(), split_method(Split())])


def test_the_ceiling_and_its_reverse_are_at_both_ends(found: Faithfulness) -> None:
    for measure in (RANK, RANK_REST):
        assert found.of(measure, "oracle") == pytest.approx(1.0)
        assert found.of(measure, "reversed") == pytest.approx(-1.0)
        assert found.of(measure, LEAVE_ONE_OUT) == pytest.approx(1.0)
    assert found.of(AREA, "oracle") == pytest.approx(-found.of(AREA, "reversed"))
    assert (found.of("drop 1", "oracle") >= found.of("drop 1", "random") - 1e-12).all(), "no single token does more"
    assert found.exact == [False, False, False, True, False]


def test_drops_and_keeps_are_what_the_model_does(found: Faithfulness) -> None:
    prompt = Explained(llama(), list(PROMPT))
    deleter = Deleter(llama(), PROMPT, [prompt.token])
    order = np.argsort(-falls_of(prompt).numpy(), kind="stable")
    sets = [set(), set(order[:2].tolist()), set(order[2:].tolist())]
    whole, two, all_but_two = deleter.measure(sets)[1][:, 0].tolist()
    assert found.of("drop 2", "oracle")[0] == pytest.approx(whole - two)
    assert found.of("keep 2", "oracle")[0] == pytest.approx(whole - all_but_two)
    share = math.ceil(0.2 * len(PROMPT))
    assert share == 3
    np.testing.assert_allclose(found.of("drop 20 %", "oracle")[0], found.of("drop 3", "oracle")[0])


def test_begin_of_text_is_never_deleted_nor_counted() -> None:
    lm = default_model("float32")
    plain = faithfulness(lm, ["The capital of France is"], [ORACLE], ks=None, curve=0)
    begun = faithfulness(
        lm, ["The capital of France is"], [Method("oracle", False, falls_of)], ks=(1,), begin=True, curve=0
    )
    assert plain.tokens == begun.tokens == [5]
    assert list(plain.values) == [RANK, RANK_REST, TRUTH_FIRST, TRUTH_RANK]
    assert float(begun.of(RANK, "oracle")[0]) == pytest.approx(1.0)


def test_a_known_answer_is_looked_for_among_the_tokens_of_its_word() -> None:
    lm = default_model("float32")
    text = "The keys to the cabinet"
    assert [lm.token_strings(lm.encode(text))[i] for i in (1,)] == [" keys"]
    at_keys = Method("keys", False, lambda prompt: torch.eye(prompt.n_tokens)[1])
    second = Method("second", False, lambda prompt: torch.eye(prompt.n_tokens)[0] + torch.eye(prompt.n_tokens)[1] / 2)
    found = faithfulness(lm, [Prompt(text, "agreement", "keys", 4), text], [at_keys, second], ks=None, curve=0)
    assert found.of(TRUTH_FIRST, "keys").tolist()[0] == 1
    assert found.of(TRUTH_FIRST, "second").tolist()[0] == 0
    assert found.of(TRUTH_RANK, "second").tolist()[0] == 0.5
    assert math.isnan(found.of(TRUTH_FIRST, "keys")[1]), "nothing is known of a plain text"
    assert found.kinds == ["agreement", ""]


def test_a_chat_is_studied_in_the_models_template() -> None:
    lm = default_model("float32")
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where do the keys lie?"}]
    at_keys = Method(
        "keys", False, lambda prompt: torch.tensor([float(t == " keys") for t in lm.token_strings(prompt.token_ids)])
    )
    written = Prompt("Where do the keys lie?", "question", "keys", 13, chat=True)
    found = faithfulness(lm, [chat, written, "Where do the keys lie?"], [at_keys], ks=None, curve=0)
    assert found.tokens[0] == len(eq.read_text(lm, chat=chat).token_ids)
    assert found.tokens[1] == len(eq.read_text(lm, chat=chat[1:]).token_ids)
    assert found.chats == [True, True, False]
    assert found.kinds == ["", "question", ""]
    assert found.of(TRUTH_FIRST, "keys").tolist()[1] == 1, "the answer is found behind the template"
    assert Faithfulness.from_json(found.to_json()).chats == found.chats
    assert found.only("question").chats == [True]


def test_a_chat_that_cannot_be_written_is_refused() -> None:
    for wrong, sentence in (
        ({"role": "tool", "content": "x"}, "The role of a message"),
        ({"role": "user"}, "A message of chat"),
    ):
        with pytest.raises(eq.EqlinError, match=sentence):
            faithfulness(llama(), [[wrong]])


def test_removal_leaves_a_token() -> None:
    found = faithfulness(llama(), [list(PROMPT[:4])], [ORACLE], "removal", ks=(9,), curve=3)
    assert np.isfinite(found.of("drop 9", "oracle")).all()


def test_it_can_be_cancelled_between_prompts() -> None:
    with pytest.raises(eq.Cancelled):
        faithfulness(llama(), [list(PROMPT)] * 3, [ORACLE], progress=lambda fraction, _: fraction < 0.3)


def test_what_cannot_be_studied_is_refused() -> None:
    with pytest.raises(eq.EqlinError, match="at least one prompt"):
        faithfulness(llama(), [])
    with pytest.raises(eq.EqlinError, match="The prompt has no tokens"):
        faithfulness(llama(), [[]])
    with pytest.raises(eq.EqlinError, match="There is no list 'poems'; the lists are facts, patterns, paragraphs"):
        prompt_list("poems")


def test_every_baseline_of_the_field_has_both_targets_and_both_baselines() -> None:
    names = [m.name for m in standard_methods()]
    assert len(set(names)) == len(names)
    for method in ("input x gradient", "integrated gradients"):
        assert sum(name.startswith(method) for name in names) == 4
    assert sum(m.exact for m in standard_methods()) == 4 * 6


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_are_long_enough_and_their_answers_stand_where_they_say(name: str) -> None:
    prompts = prompt_list(name)
    assert len(prompts) >= 100
    assert len({p.text for p in prompts}) == len(prompts)
    for prompt in prompts:
        assert prompt.text == prompt.text.strip()
        assert prompt.kind
        if prompt.truth:
            assert prompt.text[prompt.start : prompt.start + len(prompt.truth)] == prompt.truth
    if name == "patterns":
        assert {p.kind for p in prompts if p.truth} == {"agreement", "induction"}


def test_no_prompt_is_in_two_lists() -> None:
    texts = [p.text for name in LISTS for p in prompt_list(name)]
    assert len(set(texts)) == len(texts)
