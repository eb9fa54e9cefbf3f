"""Page Matrix on a tiny model: what is computed, shown and switched."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from pages.matrices import jobs
from pages.matrices.reconstruction import EVERY, RULES
from pages.matrices.view import _inside, _take_box
from pages.worker.engine import Engine
from pages.worker.question import question
from pages.worker.request import Request
from pages.worker.worker import Reporter
from tests.pages.tiny_cases import TinyEngine, opened, settled, tiny_engine, unsettled


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


def headers(app: AppTest) -> list[str]:
    return [header.value for header in app.header]


def badge(app: AppTest) -> str:
    labels = [str(popover.proto.popover.label) for popover in app.get("popover")]
    (label,) = [label for label in labels if "badge[" in label]
    return label


def test_the_chosen_tokens_matrix_its_lines_and_the_reconstruction_are_drawn(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    name = engine.lin.tokens[-1]
    assert headers(app)[0].startswith("What freezing is for")
    assert headers(app)[2:] == [f"Matrix of {name} (position 4)", f"Largest columns and rows of {name}"]
    columns, rows = (table.value for table in app.dataframe)
    matrix = engine.lin.jacobian()[4]
    assert columns["column"][0] == int(matrix.norm(dim=0).argmax())
    assert rows["norm"][0] == pytest.approx(float(matrix.norm(dim=1).max()))
    assert len(app.get("plotly_chart")) == 4


def test_a_second_token_stands_beside_the_first(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    app.selectbox(key="beside").select_index(2)
    settled(app.run())
    assert [h for h in headers(app) if h.startswith("Matrix of")] == [
        f"Matrix of {engine.lin.tokens[i]} (position {i})" for i in (4, 1)
    ]
    assert len(app.dataframe) == 4


def test_a_window_is_asked_of_the_worker_and_the_button_gives_the_whole_back(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    app.slider(key="rows").set_range(3, 10)
    settled(app.run())
    wanted = app.session_state["page_jobs"].jobs
    views = [snapshot.result for name, snapshot in wanted.snapshots.items() if "view" in name]
    assert [(view.rows, view.columns, view.cells.shape) for view in views] == [((3, 11), (0, 32), (8, 32))]
    np.testing.assert_allclose(views[0].cells, engine.lin.jacobian()[4, 3:11].numpy())
    app.button(key="whole").click()
    settled(app.run())
    assert app.slider(key="rows").value == (0, 31)


def test_a_rule_switched_off_turns_the_badge_red(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    assert badge(app).startswith(":green-badge[exact]")
    for rule in RULES:
        app.toggle(key=f"hold_{rule}").set_value(False)
        settled(app.run())
        assert badge(app).startswith(":red-badge[not exact]"), rule
        part = eq.partly_frozen(engine.lin, set(EVERY) - {rule})
        assert f"misses the output embedding by **{part.reconstruction:.3g}" in "".join(m.value for m in app.markdown)
        app.toggle(key=f"hold_{rule}").set_value(True)
        settled(app.run())
        assert badge(app).startswith(":green-badge[exact]")


@question("the token's matrix")
def failing(engine: Engine, progress: Reporter, request: Request, token: int) -> None:
    raise eq.EqlinError("The matrix does not fit; shorten the prompt.")


def test_a_matrix_that_failed_is_said_in_its_place_and_the_rest_is_drawn(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "matrix", failing)
    app = opened("matrix", engine)
    assert [error.value for error in app.error] == ["The matrix does not fit; shorten the prompt."]
    assert len(app.get("plotly_chart")) == 2, "the reconstruction needs no matrix"


def test_a_matrix_that_was_cancelled_can_be_asked_for_again(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()

    @question("the token's matrix")
    def forever(engine: Engine, progress: Reporter, request: Request, token: int) -> None:
        while True:
            started.set()
            progress(0.5, "Matrix")

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "matrix", forever)
        app = unsettled("matrix", engine)
        assert started.wait(5)
        app.session_state["page_jobs"].jobs.cancel()
        settled(app)
    assert any("Cancelled before the matrix was finished" in text.value for text in app.caption)
    app.button(key="again-matrix 4").click()
    settled(app.run())
    assert len(app.get("plotly_chart")) == 4


@question("it")
def unfinished(engine: Engine, progress: Reporter) -> None:
    threading.Event().wait(0.6)


def test_jobs_of_a_page_that_was_left_are_given_up_and_results_are_kept(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    wanted = app.session_state["page_jobs"]
    before = wanted.jobs.snapshots["matrix 4"]
    wanted.want("unfinished", unfinished())
    assert "unfinished" in wanted.jobs.under_way
    wanted.begin()
    wanted.end()
    assert "unfinished" not in wanted.jobs.snapshots
    assert wanted.jobs.snapshots["matrix 4"].result is before.result is not None


def test_a_box_drawn_in_a_heat_map_becomes_whole_rows_and_columns() -> None:
    assert _inside([4.4, 10.6], 32) == (4, 11)
    assert _inside([10.6, 4.4], 32) == (4, 11), "drawn upwards"
    assert _inside([-3.0, 99.0], 32) == (0, 31)
    assert _inside([31.2, 31.4], 32) == (28, 31), "a window has some rows at least"


def test_a_box_in_the_inset_changes_nothing() -> None:
    app = AppTest.from_function(draw_box, kwargs={"take": _take_box}).run()
    assert not app.exception
    assert "rows" not in app.session_state


def draw_box(take):
    import streamlit as st

    st.session_state["chart"] = {"selection": {"box": [{"xref": "x2", "yref": "y2", "x": [1, 2], "y": [1, 2]}]}}
    take("chart", 32)
