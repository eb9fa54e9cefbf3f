"""A prompt or a chat with the answer after it: ids, roles, messages, and where the answer begins."""

from __future__ import annotations

from typing import Any

import pytest

import eqlin_core as eq
from eqlin_core.models.texts import chat_ids
from tests.cases import MARIN, default_model, llama
from tests.eqlin_core.odd_calls import is_sentence

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Name a bridge."}]


def test_a_prompt_and_its_answer_are_tokens_of_the_whole_text() -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, MARIN, answer=" longest.")
    assert text.token_ids == lm.encode(MARIN + " longest.")
    assert text.first == len(lm.encode(MARIN)) == 7
    assert text.roles == ["prompt"] * 7 + ["answer"] * 2
    assert text.messages == [0] * 7 + [1] * 2
    assert "".join(text.tokens) == MARIN + " longest."


@pytest.mark.parametrize(("prompt", "answer"), [("The brid", "ge"), ("1", "2 "), ("Hello ", "there")])
def test_an_answer_that_would_change_the_prompts_tokens_is_read_by_itself(prompt: str, answer: str) -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, prompt, answer=answer)
    assert text.token_ids[: text.first] == lm.encode(prompt)
    assert text.token_ids[text.first :] == lm.encode(answer)
    assert "".join(text.tokens) == prompt + answer


def test_without_an_answer_the_text_is_the_prompt() -> None:
    lm = default_model("float32")
    nothing: list[Any] = [None, "", []]
    for answer in nothing:
        text = eq.read_text(lm, MARIN, answer=answer)
        assert (text.token_ids, text.first) == (lm.encode(MARIN), 7)
        assert set(text.roles) == {"prompt"}


def test_an_answer_can_be_token_ids_where_there_is_no_tokenizer() -> None:
    text = eq.read_text(llama(), token_ids=[5, 6], answer=[7, 8, 9])
    assert (text.token_ids, text.first) == ([5, 6, 7, 8, 9], 2)
    assert text.tokens == ["<5>", "<6>", "<7>", "<8>", "<9>"]


def test_a_chats_answer_is_the_assistants() -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, chat=CHAT, answer="Golden Gate")
    assert lm.tokenizer is not None
    asked = lm.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    assert text.token_ids == [*asked, *lm.encode("Golden Gate")]
    assert text.first == len(asked)
    said = dict.fromkeys(("system", "user", "assistant"), "")
    for token, role, message in zip(text.tokens, text.roles, text.messages, strict=True):
        assert (role == "template") == (message == -1)
        if role != "template":
            said[role] += token
            assert message == list(said).index(role)
    assert list(said.values()) == ["Be brief.", "Name a bridge.", "Golden Gate"]


def test_what_the_assistant_has_begun_is_the_beginning_of_its_answer() -> None:
    lm = default_model("float32")
    begun = [*CHAT, {"role": "assistant", "content": "Golden"}]
    text = eq.read_text(lm, chat=begun, answer=" Gate")
    assert text == eq.read_text(lm, chat=CHAT, answer="Golden Gate")
    assert chat_ids(lm, begun) == text.token_ids[:-1]


def test_a_begin_of_text_token_stands_before_the_prompt_and_is_the_templates() -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, MARIN, answer=" longest", begin=True)
    assert text.token_ids == [1, *lm.encode(MARIN + " longest")]
    assert (text.first, text.roles[:2], text.messages[:2]) == (8, ["template", "prompt"], [-1, 0])
    chat = eq.read_text(lm, chat=CHAT, begin=True)  # which begins with it
    assert chat == eq.read_text(lm, chat=CHAT)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "Give one of a prompt, token_ids=[...] and chat=[...]."),
        ({"prompt": "a", "chat": CHAT}, "Give one of"),
        ({"prompt": " "}, "The prompt is empty"),
        ({"prompt": "a", "answer": [49152]}, "Token id 49152 is outside"),
        ({"prompt": "a", "answer": "\ud83d"}, "answer cannot be encoded"),
        ({"prompt": "a", "answer": [5] * 8192}, "has 8193 tokens and this model reads at most 8192"),
    ],
)
def test_a_text_that_cannot_be_used_is_refused_in_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError) as caught:
        eq.read_text(default_model("float32"), **given)
    assert sentence in str(caught.value)
    assert is_sentence(str(caught.value))


def test_a_written_answer_needs_a_tokenizer() -> None:
    with pytest.raises(eq.EqlinError, match="give the answer as token ids"):
        eq.read_text(llama(), token_ids=[5], answer="the")
