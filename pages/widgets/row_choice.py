"""Tables whose rows show read-outs and are chosen by a click, not only on the row's box but anywhere in it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from eqlin_core.figures import visible_token

if TYPE_CHECKING:
    from eqlin_core.runs.values import Row

ROW, HEADER = 28, 37  # pixels; Streamlit sets the height of the header, which is here with the table's border
IN_CELL = 5  # tokens of a read-out


def chosen_row(choice: str, count: int) -> int:
    """The row that is chosen under the name ``choice``, or the last of ``count`` where that lies beyond them."""
    row: int = st.session_state.setdefault(choice, 0)
    return min(row, count - 1)


def choice_table(
    columns: Mapping[str, Any], config: Mapping[str, Any], *, key: str, choice: str, row: int, in_view: int
) -> None:
    """A table of which ``in_view`` rows are seen before it scrolls; a click in a row sets ``choice`` to it."""
    st.dataframe(
        columns,
        hide_index=True,
        on_select=partial(_choose, key, choice),
        selection_mode=["single-row-required", "single-cell"],
        selection_default={"selection": {"rows": [row]}},
        key=key,
        row_height=ROW,
        height=HEADER + in_view * ROW,
        column_config=config,
    )


def words(row: Row, most: int = IN_CELL) -> str:
    """The first tokens of a read-out, as they stand in a cell."""
    return "  ".join(visible_token(token) for token, _ in row[:most])


def _choose(key: str, choice: str) -> None:
    selection = st.session_state[key]["selection"]
    if selection["cells"]:
        row = selection["cells"][0][0]
    else:
        row = selection["rows"][0] if selection["rows"] else st.session_state[choice]
    st.session_state[choice] = row
    st.session_state[key] = {"selection": {"rows": [row], "columns": [], "cells": []}}
