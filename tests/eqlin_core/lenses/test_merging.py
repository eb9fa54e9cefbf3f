"""Parts of a corpus merged: the lens that one fit of all gives, and a reason where they do not belong together."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

import eqlin_core as eq
from tests.cases import relative
from tests.eqlin_core.lenses.lens_cases import PROMPTS, SKIP, fitted, shared


def part(start: int, stop: int, kind: str = "jacobian") -> eq.Lens:
    return eq.fit_lens(shared(), PROMPTS[start:stop], kind, skip=SKIP)


@pytest.mark.parametrize("cuts", [(0, 2, 4), (0, 1, 4), (0, 1, 3, 4)])
def test_merged_parts_are_the_fit_of_all(cuts: tuple[int, ...]) -> None:
    merged, whole = eq.merge_lenses([part(*cut) for cut in pairwise(cuts)]), fitted()
    assert relative(merged.matrices, whole.matrices) < 1e-7
    torch.testing.assert_close(merged.spread, whole.spread, rtol=1e-6, atol=0)
    for name in ("prompts", "source_positions", "prompt_digests", "corpus", "kind", "layers", "model"):
        assert getattr(merged, name) == getattr(whole, name), name
    assert merged.changes.shape == (0, 2)
    assert merged.convergence.shape == (0,)


def test_one_part_is_the_whole() -> None:
    assert eq.merge_lenses([fitted()]) is fitted()


@pytest.mark.parametrize(
    ("change", "called"),
    [
        ({"kind": "frozen"}, r"kind \('jacobian' and 'frozen'\)"),
        ({"positions": "last"}, "positions"),
        ({"skip": 3}, r"number of skipped positions \(2 and 3\)"),
        ({"layers": [0, 2]}, "layers"),
        ({"blocks": 9}, "number of blocks"),
        ({"model": "another"}, "model"),
        ({"revision": "another"}, "revision of the model"),
        ({"dtype": "float32"}, "precision"),
        ({"engine": "9"}, "version of the engine"),
        ({"matrices": torch.zeros(2, 4, 4)}, r"width \(32 and 4\)"),
    ],
)
def test_lenses_that_differ_in_more_than_their_prompts_are_refused(change: dict[str, Any], called: str) -> None:
    with pytest.raises(ValueError, match=f"The lenses differ in their {called}"):
        eq.merge_lenses([fitted(), replace(fitted(), **change)])


def test_a_lens_of_unknown_origin_is_not_merged() -> None:
    for change in ({"squares": None}, {"kind": "unrecorded"}):
        with pytest.raises(eq.EqlinError, match="does not say what it was averaged over cannot be merged"):
            eq.merge_lenses([fitted(), replace(fitted(), **change)])
