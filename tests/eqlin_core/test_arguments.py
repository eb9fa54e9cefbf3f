"""What the public functions take is checked in one place; odd arguments end in a sentence and never in a raw error."""

from __future__ import annotations

import decimal
import fractions
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eqlin_core as eq
from eqlin_core import arguments
from eqlin_core.errors import InvalidType, InvalidValue
from tests.eqlin_core import odd_calls
from tests.profiles import passes_alone

ROOT = Path(__file__).resolve().parents[2]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_hypothesis_finds_no_argument_that_ends_raw() -> None:
    passes_alone("tests/eqlin_core/argument_properties.py", 8)


def test_every_public_function_is_tried_with_odd_arguments() -> None:
    tried = inspect.getsource(odd_calls.calls)
    functions = [name for name in eq.__all__ if inspect.isfunction(inspect.unwrap(getattr(eq, name)))]
    assert len(functions) > 20
    assert [name for name in functions if f'Call("{name}' not in tried] == []


@pytest.mark.slow
def test_no_odd_value_in_the_place_of_any_argument_ends_raw() -> None:
    command = [sys.executable, "-m", "tests.eqlin_core.odd_calls"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert re.search(r"\d{5} odd calls: \d+ refused, \d+ taken, 0 raw", ended.stdout), ended.stdout[-4000:]


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3), torch.tensor(3, dtype=torch.int16)])
def test_whole_numbers_of_every_library_are_whole_numbers(value: Any) -> None:
    found = arguments.whole("k", value, 1, 3)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize(
    "value",
    [3.0, 1.5, True, np.True_, np.float64(3), torch.tensor(3.0), torch.tensor([3]), torch.tensor(True), "3", None, 3j],
)
def test_what_merely_looks_like_a_whole_number_is_none(value: Any) -> None:
    with pytest.raises(InvalidType, match=r"^k is a whole number from 1 to 3 \(the width\), not .*\.$"):
        arguments.whole("k", value, 1, 3, of="the width")


@pytest.mark.parametrize("value", [0, 4, -1, 10**400])
def test_a_whole_number_out_of_range_is_a_value_error(value: int) -> None:
    with pytest.raises(ValueError, match=r"^k is a whole number from 1 to 3, not "):
        arguments.whole("k", value, 1, 3)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), fractions.Fraction(1, 2), torch.tensor(0.5)])
def test_numbers_of_every_library_are_numbers(value: Any) -> None:
    assert arguments.number("share", value, highest=1, above=0) == float(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1.1, 10**400, np.float32("nan")])
def test_a_number_out_of_range_or_not_finite_is_a_value_error(value: Any) -> None:
    with pytest.raises(InvalidValue, match=r"^share is a number above 0 and at most 1, not "):
        arguments.number("share", value, highest=1, above=0)


@pytest.mark.parametrize("value", [True, "0.5", None, decimal.Decimal("0.5"), torch.zeros(1), 1j])
def test_what_is_no_number_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="share is a number"):
        arguments.number("share", value, highest=1, above=0)


def test_half_a_surrogate_pair_is_named_by_its_place() -> None:
    with pytest.raises(ValueError, match=r"^prompt cannot be encoded: character 4 .* \(U\+D83D\); take it out\.$"):
        arguments.text("prompt", "the \ud83d")
    assert arguments.text("prompt", "the \U0001f600") == "the \U0001f600"


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800"])
def test_what_is_no_path_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"^path is a path \(a text or a pathlib\.Path\), not "):
        arguments.path("path", value)


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a"]])
def test_what_is_of_no_type_of_a_path_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match=r"^path is a path"):
        arguments.path("path", value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("x" * 500, "x…"),
        pytest.param(10**5000, "more than 20 digits", id="huge"),
        (Unprintable(), "Unprintable"),
        (torch.zeros(2, 3), "a tensor of shape [2, 3] in float32"),
        (np.zeros((2, 3)), "an array of shape [2, 3] in float64"),
        ("a\nb\ud800", "'a"),
        ([[["deep"] * 100] * 100] * 100, "[["),
        (dict.fromkeys(range(10**5)), "{0:"),
    ],
)
def test_a_value_is_shown_in_one_short_line(value: Any, text: str) -> None:
    found = arguments.shown(value)
    assert text in found or found.endswith("…'") or "..." in found
    assert len(found) <= 80
    assert found.isprintable()


def test_errors_are_of_the_engine_and_of_python() -> None:
    assert issubclass(InvalidValue, eq.EqlinError)
    assert issubclass(InvalidValue, ValueError)
    assert issubclass(InvalidType, eq.EqlinError)
    assert issubclass(InvalidType, TypeError)


def test_an_argument_is_refused_before_anything_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cases import llama

    monkeypatch.setattr("eqlin_core.maps.frozen_decoder.FrozenNetwork", lambda *_, **__: pytest.fail("recorded"))
    with pytest.raises(eq.EqlinError, match="memory_budget is a whole number from 1 on"):
        eq.linearize(llama(), token_ids=[1, 2], memory_budget=0)
