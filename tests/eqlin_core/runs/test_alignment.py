"""Which token of one prompt stands for which of another: whole, in order, with the fewest edits."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eqlin_core.runs.alignment import Pair, aligned
from tests import profiles  # noqa: F401 - chosen when it is imported

FEW = st.lists(st.sampled_from("abc"), max_size=8)
MARIN = ["The", " bridge", " out", " of", " Marin", " is", " the"]


def edits(rows: list[Pair], first: list[str], second: list[str]) -> tuple[int, int]:
    """(edits, less the equal tokens) of an alignment."""
    equal = sum(i is not None and j is not None and first[i] == second[j] for i, j in rows)
    return len(rows) - equal, -equal


def fewest(first: list[str], second: list[str]) -> tuple[int, int]:
    """The same of the best alignment there is, by trying all of them."""

    @cache
    def best(i: int, j: int) -> tuple[int, int]:
        if i == len(first) or j == len(second):
            return len(first) - i + len(second) - j, 0
        equal = first[i] == second[j]
        ways = [(best(i + 1, j + 1), 0 if equal else 1, -1 if equal else 0)]
        ways += [(best(i + 1, j), 1, 0), (best(i, j + 1), 1, 0)]
        return min((edits + more, gained + equals) for (edits, gained), more, equals in ways)

    return best(0, 0)


@given(first=FEW, second=FEW)
def test_every_token_has_one_row_and_the_rows_keep_both_orders(first: list[str], second: list[str]) -> None:
    rows = aligned(first, second)
    assert [i for i, _ in rows if i is not None] == list(range(len(first)))
    assert [j for _, j in rows if j is not None] == list(range(len(second)))
    assert (None, None) not in rows


@given(first=FEW, second=FEW)
def test_no_alignment_has_fewer_edits_or_as_few_with_more_equal_tokens(first: list[str], second: list[str]) -> None:
    assert edits(aligned(first, second), first, second) == fewest(first, second)


@given(first=FEW, second=FEW)
@example(["a", "b"], ["b", "a"])  # either letter may stand beside itself
def test_exchanged_prompts_are_aligned_alike(first: list[str], second: list[str]) -> None:
    assert aligned(second, first) == [(j, i) for i, j in aligned(first, second)]


@given(tokens=st.lists(st.text(max_size=3), max_size=30))
def test_equal_prompts_align_one_to_one(tokens: list[str]) -> None:
    assert aligned(tokens, tokens) == [(i, i) for i in range(len(tokens))]


@pytest.mark.parametrize(
    ("other", "rows"),
    [
        (["The", " tower", " in", " of", " Paris", " is", " the"], [(i, i) for i in range(7)]),
        (
            ["The", " tower", " in", " Paris", " is", " the"],
            [(0, 0), (1, None), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)],
        ),
        (
            ["Now", "The", " bridge", " of", " Marin", " is", " the"],
            [(None, 0), (0, 1), (1, 2), (2, None), (3, 3), (4, 4), (5, 5), (6, 6)],
        ),
        ([], [(i, None) for i in range(7)]),
    ],
)
def test_replaced_added_and_missing_tokens_of_a_prompt(other: list[str], rows: list[Pair]) -> None:
    assert aligned(MARIN, other) == rows


def test_long_prompts_that_share_nothing_are_aligned_token_by_token() -> None:
    first, second = ([f"{name}{i}" for i in range(1500)] for name in "ab")
    assert aligned(first, second) == [(i, i) for i in range(1500)]
