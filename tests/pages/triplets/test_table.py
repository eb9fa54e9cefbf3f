"""The table of singular triplets: its columns, its sums, and the row that is opened."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from tests.pages.run_cases import K, spectrum_run, target, token_run


def draw_table(run, spectra, token, first, row):
    import streamlit as st

    from pages.triplets.table import triplet_effects, triplet_table
    from pages.widgets.explained import Explained

    st.session_state.setdefault("triplet", row)
    triplet_table(run, spectra, token, Explained(first, None))
    triplet_effects(run, spectra, token, Explained(first, None))


def drawn(token: int = 1, row: int = 0, explained: int = 0) -> AppTest:
    run = token_run()
    values = {"run": run, "spectra": spectrum_run(run), "token": token, "first": target(explained), "row": row}
    app = AppTest.from_function(draw_table, kwargs=values)
    app.run(timeout=30)
    assert not app.exception
    return app


def test_the_table_has_one_row_a_triplet_with_what_it_does_to_the_explained_logit() -> None:
    (table,) = drawn().dataframe
    assert list(table.value.columns) == ["k", "σ", "u reads as", "v reads as", "σ (v · x)", "part of the logit"]
    assert table.value["k"].tolist() == [1, 2]
    assert table.value["σ"].tolist() == [2.0, 1.0]
    assert table.value["σ (v · x)"].tolist() == [2.0, 1.0]
    assert table.value["part of the logit"].tolist() == [2.0, 0.0]


def test_another_explained_token_moves_the_parts() -> None:
    (table,) = drawn(explained=1).dataframe
    assert table.value["part of the logit"].tolist() == [0.0, 1.0]


def test_what_the_parts_leave_of_the_token_s_term_is_said() -> None:
    assert any("The parts shown sum to 2.00 of the token's 3.00" in text.value for text in drawn().caption)


@pytest.mark.parametrize(("row", "shown"), [(0, 1), (1, 2), (23, K)])
def test_the_chosen_row_is_read_out_and_one_beyond_the_table_is_the_last(row: int, shown: int) -> None:
    assert f"Triplet {shown}: full read-out" in [header.value for header in drawn(row=row).header]
