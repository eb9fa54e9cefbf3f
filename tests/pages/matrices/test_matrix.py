"""Page Matrix and the ranks of page Spectra on a tiny model: what is computed, shown and switched."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core.analysis.ranks import rank_run
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.ranks import RankRun
from pages.matrices.jobs import MatrixJobs
from pages.matrices.reconstruction import EVERY, RULES
from pages.matrices.view import _inside, _take_box
from pages.triplets.rank_dial import sentence, stops
from pages.widgets.inspector import cosine
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
    (popover,) = app.get("popover")
    return str(popover.proto.popover.label)


def test_the_chosen_tokens_matrix_its_lines_and_the_reconstruction_are_drawn(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    name = engine.lin.tokens[-1]
    assert headers(app)[:2] == [f"Matrix of {name} (position 4)", f"Largest columns and rows of {name}"]
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
    views = [job.snapshot().result for name, job in app.session_state["page_jobs"].jobs.items() if "view" in name]
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


def fails(progress: Reporter) -> None:
    raise eq.EqlinError("The matrix does not fit; shorten the prompt.")


def test_a_matrix_that_failed_is_said_in_its_place_and_the_rest_is_drawn(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MatrixJobs, "_matrix", lambda self, request, token, progress: fails(progress))
    app = opened("matrix", engine)
    assert [error.value for error in app.error] == ["The matrix does not fit; shorten the prompt."]
    assert len(app.get("plotly_chart")) == 2, "the reconstruction needs no matrix"


def test_a_matrix_that_was_cancelled_can_be_asked_for_again(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = threading.Event()

    def forever(self: MatrixJobs, request: Request, token: int, progress: Reporter) -> None:
        while True:
            started.set()
            progress(0.5, "Matrix")

    with monkeypatch.context() as patch:
        patch.setattr(MatrixJobs, "_matrix", forever)
        app = unsettled("matrix", engine)
        assert started.wait(5)
        app.session_state["page_jobs"].cancel()
        settled(app)
    assert any("Cancelled before the matrix was finished" in text.value for text in app.caption)
    app.button(key="again-matrix 4").click()
    settled(app.run())
    assert len(app.get("plotly_chart")) == 4


def test_jobs_of_a_page_that_was_left_are_given_up_and_results_are_kept(engine: TinyEngine) -> None:
    app = opened("matrix", engine)
    jobs = app.session_state["page_jobs"]
    before = jobs.jobs["matrix 4"]
    jobs.begin()
    jobs.jobs["unfinished"] = engine.worker.submit(
        "unfinished", lambda progress: threading.Event().wait(0.2), label="it", visitor=jobs.visitor
    )
    jobs.end()
    assert "unfinished" not in jobs.jobs
    assert jobs.jobs["matrix 4"] is before


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


def test_the_dial_starts_at_a_small_rank_and_says_which_one_keeps_the_top_token(engine: TinyEngine) -> None:
    app = opened("spectra", engine)
    found = rank_run(engine.lin, 6, every=True)
    assert app.select_slider(key="rank").value == 8
    assert any(f"**Rank {found.keeps}** is the smallest" in text.value for text in app.markdown)
    app.select_slider(key="rank").set_value(0)
    app.run()
    assert not app.exception
    assert any("every next token is equally likely" in text.value for text in app.info)


def test_the_joint_matrix_can_be_cut_instead_and_is_inspected(engine: TinyEngine) -> None:
    app = opened("spectra", engine)
    before = [text.value for text in app.markdown]
    app.segmented_control(key="cut").set_value("all together")
    settled(app.run())
    found = rank_run(engine.lin, 6, joint=True, every=True)
    assert sentence(found) in [text.value for text in app.markdown]
    assert sentence(found) not in before
    assert any(header.startswith("Joint triplet 1, v on") for header in headers(app))


def ranks(best: list[str], keeps: int | None, width: int) -> RankRun:
    """A run whose most likely token at each rank is given; the true one is " only"."""
    n = len(best)
    top = [[(token, 0.5)] if token else [] for token in best]
    key = RunKey("made-up", "0", "float32", (1,), "up")
    return RankRun(key, False, width, np.zeros(n), np.zeros(n), np.full(n, 0.5), top, [(" only", 0.5)], keeps)


def test_the_sentence_says_from_which_rank_on_the_top_token_stays() -> None:
    said = sentence(ranks(["", " only", " most", " only", " only"], 3, 4))
    assert said.startswith("**Rank 3** is the smallest that keeps the top token `·only`")
    assert "up to the whole matrices" in said
    assert "Rank 1 is the first that has it on top, but not for good" in said
    said = sentence(ranks(["", " only", " only"], 1, 40))
    assert "up to rank 2, the largest computed" in said
    assert "not for good" not in said
    assert sentence(ranks(["", " only", " most"], None, 40)).startswith("No rank up to 2 keeps the top token `·only`")


def test_the_dial_stops_at_every_small_rank_and_at_the_one_that_decides() -> None:
    assert stops(ranks([" only"] * 33, 0, 32)) == list(range(33))
    long = stops(ranks([" only"] * 577, 341, 576))
    assert long[:49] == list(range(49))
    assert {340, 341, 576} <= set(long)
    assert len(long) < 130


def test_the_cosine_of_a_vector_with_nothing_is_zero() -> None:
    v = np.array([3.0, 4.0])
    assert cosine(v, 2 * v) == pytest.approx(1.0)
    assert cosine(v, 0 * v) == 0.0
