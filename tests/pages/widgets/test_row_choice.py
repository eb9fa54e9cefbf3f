"""Rows of read-outs that a click chooses: what a click does, and what a cell says."""

from __future__ import annotations

from typing import Any

import pytest
import streamlit as st

from pages.widgets.row_choice import _choose, chosen_row, words


@pytest.fixture
def state(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    found: dict[str, Any] = {"row": 4}
    monkeypatch.setattr(st, "session_state", found)
    return found


@pytest.mark.parametrize(
    ("rows", "cells", "chosen"),
    [([2], [], 2), ([4], [[1, "σ"]], 1), ([], [], 4)],
    ids=["its box", "any cell of it", "a click that takes the choice back"],
)
def test_a_click_anywhere_in_a_row_chooses_it(
    state: dict[str, Any], rows: list[int], cells: list[Any], chosen: int
) -> None:
    state["table"] = {"selection": {"rows": rows, "columns": [], "cells": cells}}
    _choose("table", "row")
    assert state["row"] == chosen
    assert state["table"]["selection"] == {"rows": [chosen], "columns": [], "cells": []}


@pytest.mark.parametrize(("count", "shown"), [(24, 4), (5, 4), (2, 1)])
def test_a_row_stays_chosen_in_another_table_or_is_its_last(state: dict[str, Any], count: int, shown: int) -> None:
    assert chosen_row("row", count) == shown
    assert state["row"] == 4


def test_the_first_row_is_chosen_to_begin_with(state: dict[str, Any]) -> None:
    assert chosen_row("another", 3) == 0


def test_a_read_out_shows_its_first_tokens_with_visible_spaces() -> None:
    row = [(" a", 0.9), ("\n", 0.8), ("b", 0.7), ("c", 0.6), ("d", 0.5), ("e", 0.4)]
    assert words(row) == "·a  ⏎  b  c  d"
    assert words(row, 2) == "·a  ⏎"
