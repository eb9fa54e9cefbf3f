"""Tokens in words, sentences, lines and messages: what reads as one is one, and every token is in one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlin_core.errors import EqlinError
from eqlin_core.runs.groups import GROUPINGS, Group, groups_of, summed
from eqlin_core.runs.text import RunText
from tests import profiles  # noqa: F401 - chosen when it is imported


def text_of(*tokens: str, roles: list[str] | None = None, messages: list[int] | None = None) -> RunText:
    n = len(tokens)
    return RunText(list(range(n)), list(tokens), roles or ["prompt"] * n, messages or [0] * n, n)


def labels(by: str, *tokens: str) -> list[str]:
    return [group.label for group in groups_of(text_of(*tokens), by)]


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (["The", " brid", "ge", " of", " Mar", "in", "."], ["The", " bridge", " of", " Marin", "."]),
        (["don", "'t", ' "', "No", '!"', " don", "’t"], ["don't", ' "', "No", '!"', " don’t"]),
        (["3", ".", "14", " (", "a", "_", "b", ")"], ["3", ".", "14", " (", "a_b", ")"]),
        (["東", "京", "の橋", "。", "東"], ["東京の橋", "。", "東"]),
        (["line", "\n", "next", "\n\n", "\tb"], ["line", "\n", "next", "\n\n", "\tb"]),
        (["<0xE2>", "<0x82><0xAC>", " a"], ["<0xE2><0x82><0xAC>", " a"]),
        (["a", " <0xF0><0x9F>", "<0x8C>", "<0x89>", " b"], ["a", " <0xF0><0x9F><0x8C><0x89>", " b"]),
        (["caf", "<0xC3>", "<0xA9>", "s", "!"], ["caf<0xC3><0xA9>s", "!"]),
        (["हि", "न्", "दी", " cafe", "\u0301", "s"], ["हिन्दी", " cafe\u0301s"]),  # vowel signs, accents
        (["two ", "words", "", "one"], ["two ", "wordsone"]),  # a token without a text ends no word
    ],
)  # fmt: skip
def test_words(tokens: list[str], words: list[str]) -> None:
    assert labels("word", *tokens) == words


@pytest.mark.parametrize(
    ("tokens", "sentences"),
    [
        (["It", " costs", " 3", ".", "14", ".", " Then", " it", "'s", " free", "!"],
         ["It costs 3.14.", " Then it's free!"]),
        (["He", " said", ' "', "No", '!"', " She", " left", "."], ['He said "No!"', " She left."]),
        (["“", "No", "?", "”", " She", " left", "…", " (", "Yes", ".", ")", " End"],
         ["“No?”", " She left…", " (Yes.)", " End"]),
        (["東京", "。", "橋", "！", "」", "赤", "い"], ["東京。", "橋！」", "赤い"]),
        (["A", " title", "\n", "Its", " text", " without", " end", "\n\n", "x"],
         ["A title\n", "Its text without end\n\n", "x"]),
        (["v", "1", ".", "2", " of", " eqlin", ".", "py", "?"], ["v1.2 of eqlin.py?"]),
        (["One", ". ", "Two", ".", "  ", "Three"], ["One. ", "Two.", "  Three"]),
        (["<0xE2>", "<0x80>", "<0xA6>", " a", "."], ["<0xE2><0x80><0xA6> a."]),
    ],
)  # fmt: skip
def test_sentences(tokens: list[str], sentences: list[str]) -> None:
    assert labels("sentence", *tokens) == sentences


def test_lines_and_tokens_and_a_prompt_with_its_answer() -> None:
    tokens = ["a", ". b", "\n", "c", "\n\n", "d", " e\nf", "g"]
    assert labels("line", *tokens) == ["a. b\n", "c\n\n", "d e\nf", "g"]
    assert labels("token", *tokens) == tokens
    text = text_of("a", " b", " c", roles=["prompt", "prompt", "answer"], messages=[0, 0, 1])
    assert groups_of(text, "role") == [Group("a b", (0, 1), "prompt"), Group(" c", (2,), "answer")]
    joined = text_of("brid", "ge", roles=["prompt", "answer"], messages=[0, 1])
    assert [g.members for g in groups_of(joined, "word")] == [(0,), (1,)], "no group holds two roles"


CHAT = text_of(
    "<s>", "user", "\n", "Hi", " you", "</s>", "user", "Be", "ass", "Well", ",", " yes",
    roles=["template"] * 3 + ["user"] * 2 + ["template"] * 2 + ["user"] + ["template"] + ["assistant"] * 3,
    messages=[-1, -1, -1, 0, 0, -1, -1, 1, -1, 2, 2, 2],
)  # fmt: skip


def test_the_template_is_one_group_wherever_it_stands() -> None:
    assert groups_of(CHAT, "role") == [
        Group("template", (0, 1, 2, 5, 6, 8), "template"),
        Group("Hi you", (3, 4), "user"),
        Group("Be", (7,), "user"),
        Group("Well, yes", (9, 10, 11), "assistant"),
    ]
    words = [group.label for group in groups_of(CHAT, "word")]
    assert words == ["template", "Hi", " you", "Be", "Well", ",", " yes"]


@pytest.mark.parametrize("by", ["role", "token"])
def test_or_a_group_at_each_place_that_it_stands(by: str) -> None:
    found = [g for g in groups_of(CHAT, by, template_together=False) if g.role == "template"]
    assert found == [
        Group("template", (0, 1, 2), "template"),
        Group("template", (5, 6), "template"),
        Group("ass", (8,), "template"),
    ]


PIECES = st.sampled_from(["a", " b", ".", "!", '"', "\n", " ", "", "。", "」", "<0xE2>", "3", "'", " <0xF0>"])
ROLES = st.sampled_from([("template", -1), ("user", 0), ("assistant", 1), ("user", 2)])


@given(
    tokens=st.lists(st.tuples(PIECES, ROLES), min_size=1, max_size=20),
    by=st.sampled_from(GROUPINGS),
    together=st.booleans(),
)
def test_every_token_is_in_one_group_of_its_own_role(
    tokens: list[tuple[str, tuple[str, int]]], by: str, together: bool
) -> None:
    text = text_of(*(t for t, _ in tokens), roles=[r for _, (r, _) in tokens], messages=[m for _, (_, m) in tokens])
    groups = groups_of(text, by, template_together=together)
    assert sorted(i for group in groups for i in group.members) == list(range(len(tokens)))
    assert [g.members[0] for g in groups] == sorted(g.members[0] for g in groups)
    assert not together or len([g for g in groups if g.role == "template"]) <= 1
    for group in groups:
        assert {tokens[i][1] for i in group.members} == {tokens[group.members[0]][1]}
        assert list(group.members) == sorted(group.members)
        if group.role != "template":
            assert group.label == "".join(tokens[i][0] for i in group.members)
            assert group.members == tuple(range(group.members[0], group.members[-1] + 1))


def test_sums_over_groups_are_those_of_the_columns() -> None:
    table = np.arange(24.0).reshape(2, 12) ** 2
    groups = groups_of(CHAT, "role")
    found = summed(table, groups)
    assert found[1].tolist() == [sum(table[1, i] for i in group.members) for group in groups]
    assert np.allclose(found.sum(1), table.sum(1))


def test_another_way_to_group_is_refused() -> None:
    with pytest.raises(EqlinError, match="by is 'token', 'word', 'sentence', 'line' or 'role', not 'letter'"):
        groups_of(CHAT, "letter")
