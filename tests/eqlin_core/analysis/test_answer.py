"""What a model answers, against transformers' own generation, and the run of an answer against the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import eqlin_core as eq
from eqlin_core.analysis import answer as module
from eqlin_core.analysis.answer import continue_text, group_deletion_run
from eqlin_core.attribution.group_deletion import group_deletion
from eqlin_core.errors import Cancelled
from eqlin_core.runs.groups import groups_of
from tests.cases import MARIN, PROMPT, default_model, llama
from tests.eqlin_core.odd_calls import is_sentence, tiny_with_text

CHAT = [{"role": "user", "content": "What is 2 + 2? Answer with the number only."}]


@torch.no_grad()
def generated(lm: eq.LanguageModel, ids: Sequence[int], new: int) -> list[int]:
    """What transformers generates itself, with what ends it."""
    tensor = torch.tensor([list(ids)])
    out = lm.model.generate(tensor, attention_mask=torch.ones_like(tensor), do_sample=False, max_new_tokens=new)
    return out[0, len(ids) :].tolist()


def forced(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    """Let the model go on with these ids whatever it reads."""

    def rows(lm: Any, prompt: Any, n: int, settings: Any, *, progress: Any = None, on_tokens: Any = None) -> Any:
        for length in range(1, len(ids) + 1):
            on_tokens([ids[:length]])
        return [ids], []

    monkeypatch.setattr(module, "generate_rows", rows)


def test_the_likeliest_answer_is_the_one_that_transformers_generates() -> None:
    lm = default_model("float32")
    made = continue_text(lm, MARIN, max_new_tokens=12)
    assert list(made.token_ids) == generated(lm, lm.encode(MARIN), 12)
    assert lm.tokenizer is not None
    assert made.text == lm.tokenizer.decode(made.token_ids)
    assert (made.ended, made.cut) == (False, 0)
    assert eq.read_text(lm, MARIN, answer=made.text).token_ids == [*lm.encode(MARIN), *made.token_ids]


def test_a_chats_answer_ends_by_itself_without_the_token_that_ends_it() -> None:
    lm = default_model("float32")
    asked = eq.read_text(lm, chat=CHAT)
    made = continue_text(lm, chat=CHAT, max_new_tokens=24)
    whole = generated(lm, asked.token_ids, 24)
    assert lm.tokenizer is not None
    assert whole[-1] == lm.tokenizer.eos_token_id
    assert list(made.token_ids) == whole[:-1]
    assert made.ended
    assert eq.read_text(lm, chat=CHAT, answer=made.text).token_ids == asked.token_ids + whole[:-1]


@pytest.mark.parametrize("of_the_chat", [True, False])
def test_an_answer_that_is_begun_is_gone_on_with(of_the_chat: bool) -> None:
    lm = default_model("float32")
    begun = {"role": "assistant", "content": "The answer is"}
    given: dict[str, Any] = {"chat": [*CHAT, begun]} if of_the_chat else {"chat": CHAT, "answer": begun["content"]}
    asked = eq.read_text(lm, **given).token_ids
    made = continue_text(lm, **given, max_new_tokens=4)
    assert list(made.token_ids) == generated(lm, asked, 4)[: len(made.token_ids)]
    assert len(made.token_ids) > 1


def test_what_is_drawn_depends_on_the_seed_alone() -> None:
    lm = default_model("float32")
    drawn = [continue_text(lm, MARIN, max_new_tokens=6, temperature=1.0, seed=seed) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1]
    assert drawn[0].token_ids != drawn[2].token_ids


def test_a_stop_text_ends_the_answer_before_it() -> None:
    lm = default_model("float32")
    whole = continue_text(lm, MARIN, max_new_tokens=12)
    stop = lm.token_strings(whole.token_ids)[4].strip()
    seen: list[str] = []
    made = continue_text(lm, MARIN, max_new_tokens=12, stop=stop, progress=lambda _, message: seen.append(message))
    before = whole.text[: whole.text.index(stop)]
    assert before.startswith(made.text)
    assert made.token_ids == whole.token_ids[: len(made.token_ids)]
    assert stop not in made.text
    assert len(made.token_ids) <= 4
    assert len(seen) <= 5, "nothing is computed after it"
    assert not made.ended


def test_a_stop_text_over_several_tokens_takes_all_of_them() -> None:
    lm = tiny_with_text()
    assert lm.tokenizer is not None
    with pytest.MonkeyPatch.context() as patch:
        forced(patch, lm.encode("the bridge. Stop here"))
        made = continue_text(lm, "the ", stop="Stop", max_new_tokens=24)
    assert made.text == lm.tokenizer.decode(list(made.token_ids))
    assert "the bridge. ".startswith(made.text)
    assert len(made.text) > len("the bridg"), "a token that ends before it stays"


def test_it_is_told_before_every_token_and_can_be_cancelled() -> None:
    lm = default_model("float32")
    seen: list[float] = []
    continue_text(lm, MARIN, max_new_tokens=4, progress=lambda fraction, _: seen.append(fraction))
    assert seen == [0, 0.25, 0.5, 0.75, 1]
    with pytest.raises(Cancelled):
        continue_text(lm, MARIN, max_new_tokens=4, progress=lambda fraction, _: fraction < 0.5)


def test_tokens_whose_text_reads_as_others_are_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_with_text()
    assert lm.tokenizer is not None
    (t,), whole = lm.encode("t"), lm.encode("the")
    assert len(whole) < 3, "letters alone are never read back as such"
    forced(monkeypatch, [*lm.encode("caf"), t, *lm.encode("h"), *lm.encode("e")])
    made = continue_text(lm, "a ", max_new_tokens=9)
    assert made.text.startswith("caf")
    assert made.cut > 0
    assert len(made.token_ids) + made.cut == len(lm.encode("caf")) + 3
    assert eq.read_text(lm, "a ", answer=made.text).token_ids == [*lm.encode("a "), *made.token_ids]
    assert "left out" in made.words


def test_half_a_character_at_the_end_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_with_text()
    bridge = lm.encode("a\U0001f309")
    forced(monkeypatch, bridge[:-1])
    made = continue_text(lm, "the ", max_new_tokens=9)
    assert (made.text, made.cut) == ("a", len(bridge) - 2)
    forced(monkeypatch, bridge)
    assert continue_text(lm, "the ", max_new_tokens=9).text == "a\U0001f309"


def test_an_answer_that_ends_at_once_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_with_text()
    assert lm.tokenizer is not None
    forced(monkeypatch, [lm.tokenizer.eos_token_id])
    made = continue_text(lm, "the")
    assert (made.text, made.token_ids, made.ended, made.cut) == ("", (), True, 0)
    assert made.words == "The model ended its answer by itself."


def test_ids_are_gone_on_with_where_there_is_no_tokenizer() -> None:
    lm = llama()
    made = continue_text(lm, token_ids=PROMPT, max_new_tokens=5)
    ids = list(PROMPT)
    with torch.no_grad():
        for _ in range(5):
            ids.append(int(lm.model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert list(made.token_ids) == ids[len(PROMPT) :]
    assert made.text == "".join(f"<{i}>" for i in made.token_ids)


@pytest.mark.parametrize("begun", ["", " the"])
@pytest.mark.parametrize("new", [[10, 10], [9, 10]])  # " the the", "the the"
def test_a_tokenizer_that_marks_the_beginning_of_words_reads_its_answers_back(
    monkeypatch: pytest.MonkeyPatch, new: list[int], begun: str
) -> None:
    lm = marking_words()
    forced(monkeypatch, new)
    said = [{"role": "assistant", "content": begun}] if begun else []
    chats: list[dict[str, Any]] = [{"chat": [{"role": "user", "content": "the"}, *said]}]
    for given in chats if begun else [*chats, {"prompt": "the x"}]:
        made = continue_text(lm, **given, max_new_tokens=9)
        assert (list(made.token_ids), made.cut) == (new, 0)
        text = eq.read_text(lm, **given, answer=made.text)
        assert text.token_ids == [*eq.read_text(lm, **given).token_ids, *new]


def marking_words() -> eq.LanguageModel:
    """A tiny model whose tokenizer puts a mark before every word, the first one of a text as well, as SentencePiece."""
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    lm = tiny_with_text()
    pieces = ["<unk>", "<s>", "</s>", "▁", "e", "h", "t", "x", "th", "the", "▁the"]
    merges = [("t", "h"), ("th", "e"), ("▁", "the")]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    lm.tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m.content }} x{% endfor %}"
    return lm


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_a_run_of_an_answer_is_its_split_with_what_was_likely() -> None:
    lm = default_model("float32")
    text = eq.read_text(lm, chat=CHAT, answer="4")
    lin = eq.linearize(lm, token_ids=text.token_ids)
    run, split = eq.answer_run(lin, text, baseline="mean"), eq.answer_split(lin, text.first, baseline="mean")
    assert run.text == text
    for name in ("terms", "constants", "normalisers", "values", "log_probabilities", "errors"):
        assert getattr(run, name).tolist() == getattr(split, name).tolist()
    assert run.exactness.exact
    with torch.no_grad():
        p = lm.model(input_ids=torch.tensor([text.token_ids])).logits[0, text.first - 1 :].double().softmax(-1)
    assert len(run.likely) == 1 == len(p) - 1
    for row, likely in zip(p, run.likely, strict=False):
        best = row.topk(3)
        assert [token for token, _ in likely] == lm.token_strings(best.indices.tolist())
        assert [value for _, value in likely] == pytest.approx(best.values.tolist(), rel=1e-3)
    assert lm.tokenizer is not None
    assert run.ends == pytest.approx(float(p[-1, lm.tokenizer.eos_token_id]), rel=1e-3)


def test_parts_of_the_rows_change_nothing_of_what_was_likely(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_with_text()
    text = eq.read_text(lm, "the", answer=" bridge is a bridge")
    lin = eq.linearize(lm, token_ids=text.token_ids)
    whole = eq.answer_run(lin, text)
    monkeypatch.setattr(module, "ROWS", 2)
    parts = eq.answer_run(lin, text)
    assert [[t for t, _ in row] for row in parts.likely] == [[t for t, _ in row] for row in whole.likely]
    assert parts.ends == pytest.approx(whole.ends)
    assert len(whole.likely) == len(text.token_ids) - text.first


def test_a_run_of_groups_deleted_is_what_the_model_loses() -> None:
    lm = tiny_with_text()
    text = eq.read_text(lm, "the bridge", answer=" is red")
    groups = groups_of(text, "word")
    run = group_deletion_run(eq.linearize(lm, token_ids=text.token_ids), text, groups, "removal")
    expected = group_deletion(lm, text.token_ids, text.first, [g.members for g in groups], "removal")
    assert run.falls.tolist() == expected.tolist()
    assert run.fall_of(0) == pytest.approx(float(expected[:, 0].sum()))


def test_a_map_of_another_text_and_an_answer_that_is_none_are_refused() -> None:
    lm = tiny_with_text()
    text = eq.read_text(lm, "the", answer=" bridge")
    other = eq.linearize(lm, "the bridges")
    for call in (lambda: eq.answer_run(other, text), lambda: group_deletion_run(other, text, [])):
        with pytest.raises(eq.EqlinError, match="The map is of another text"):
            call()
    alone = eq.read_text(lm, "the bridge")
    with pytest.raises(eq.EqlinError, match="first is a whole number"):
        eq.answer_run(eq.linearize(lm, "the bridge"), alone)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"prompt": " "}, "The prompt is empty"),
        ({"prompt": "a", "max_new_tokens": 0}, "max_new_tokens is a whole number from 1"),
        ({"prompt": "a", "max_new_tokens": 64}, "The prompt of 1 tokens with 64 new ones is longer than the 64"),
        ({"prompt": "a", "temperature": -1.0}, "temperature is a number at least 0"),
        ({"prompt": "a", "stop": "\ud83d"}, "stop cannot be encoded"),
        ({"chat": CHAT}, "has no chat template"),
        ({}, "Give one of"),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused_in_a_sentence(given: Any, sentence: str) -> None:
    with pytest.raises(eq.EqlinError) as caught:
        continue_text(tiny_with_text(), **given)
    assert sentence in str(caught.value)
    assert is_sentence(str(caught.value))
