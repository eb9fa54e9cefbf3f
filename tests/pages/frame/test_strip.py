"""The status strip: the facts of a run, and its badge."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

from streamlit.testing.v1 import AppTest

from eqlin_core.runs.exactness import Exactness
from tests.pages.run_cases import EXACT, LEAKING, token_run


def draw_strip(run, error, cancelled):
    import streamlit as st

    from pages.frame.strip import strip
    from pages.visit.session import Session
    from pages.worker.request import Request

    request = Request("The bridge")
    state = Session(asked=request, shown=request if run else None, tokens=run, error=error, cancelled=cancelled)
    st.session_state["eqlin"] = state
    strip()


def drawn(exactness: Exactness | None = EXACT, error: str = "", cancelled: bool = False) -> AppTest:
    run = None if exactness is None else token_run(exactness=exactness)
    app = AppTest.from_function(draw_strip, kwargs={"run": run, "error": error, "cancelled": cancelled})
    app.run(timeout=30)
    assert not app.exception
    return app


def html(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def badge(app: AppTest) -> str:
    (found,) = app.get("popover")
    label: str = found.proto.popover.label
    return label


def test_the_strip_names_what_ran_and_the_five_likeliest_next_tokens() -> None:
    shown = html(drawn())
    for fact in ("made-up", "float32", "cpu", "up", "2 tokens", "·Golden", "50.0%", "⏎"):
        assert fact in shown


def test_an_exact_run_has_a_green_badge_with_its_error_and_both_bounds_behind_it() -> None:
    app = drawn()
    assert badge(app) == ":green-badge[exact] error 3.0e-7"
    shown = html(app)
    for number in ("3.0e-7", "4.0e-7", "1.0e-5", "1.0e-4"):
        assert number in shown


def test_a_run_whose_products_were_cut_to_tf32_says_so() -> None:
    app = drawn(dataclasses.replace(EXACT, products="tf32"))
    assert badge(app) == ":green-badge[exact in TF32] error 3.0e-7"
    assert "float32, products in TF32" in html(app)


def test_a_run_that_is_not_exact_has_a_red_badge_and_names_the_module_that_leaks() -> None:
    app = drawn(LEAKING)
    assert badge(app) == ":red-badge[not exact] error 2.0e-1"
    assert any("model.layers.3.mlp" in text.value for text in app.markdown)


def test_behind_the_badge_every_module_class_has_its_count_and_how_it_is_frozen() -> None:
    app = drawn(LEAKING)
    shown = html(app)
    row = "<td class='eq-m'>MadeUpMLP</td><td class='eq-n'>2</td><td>gate held whole, up linear</td>"
    assert f"<tr title='model.layers.0.mlp'>{row}" in shown
    assert "<tr class=eq-leak title='model.layers.0.norm'><td class='eq-m'>MadeUp&lt;Norm&gt;" in shown
    assert any("In every gated MLP, act(gate) is held" in text.value for text in app.caption)


def test_an_error_is_one_sentence_and_says_that_the_old_result_stays() -> None:
    (shown,) = drawn(error="The prompt is empty: type at least one word.").error
    assert shown.value == "The prompt is empty: type at least one word. What you see below is the previous result."


def test_an_error_before_any_result_does_not_speak_of_one() -> None:
    (shown,) = drawn(exactness=None, error="There is no model or folder 'x': check the spelling.").error
    assert shown.value == "There is no model or folder 'x': check the spelling."


def test_a_cancelled_matrix_can_be_asked_for_again() -> None:
    app = drawn(cancelled=True)
    assert "the contributions are complete" in app.caption[-1].value
    assert app.button(key="resume").label == "Compute the spectra"


def test_no_sentence_moves_what_stands_below_the_strip() -> None:
    places = [len(app.main.children) for app in (drawn(None), drawn(), drawn(error="Failed."), drawn(cancelled=True))]
    assert len(set(places)) == 1


def draw_finished():
    from types import SimpleNamespace
    from typing import Any, cast

    import streamlit as st

    from pages.frame.announce import announce
    from pages.visit.session import Session

    state = Session()
    state.jobs = cast("Any", SimpleNamespace(snapshots=st.session_state["states"]))
    st.session_state["eqlin"] = state
    announce()


def test_what_finishes_is_said_once_in_a_line_for_screen_readers_alone() -> None:
    def job(key: int, state: str) -> SimpleNamespace:
        return SimpleNamespace(key=key, state=state, label=f"the answer <{key}>")

    app = AppTest.from_function(draw_finished)
    app.session_state["states"] = {"tokens": job(1, "running")}
    app.run(timeout=30)
    assert html(app) == '<div role="status" aria-live="polite"></div>'
    for states, said in (
        ({"tokens": job(1, "done"), "spectra": job(2, "running")}, "Finished: the answer &lt;1&gt;."),
        ({"tokens": job(1, "done"), "spectra": job(2, "running")}, "Finished: the answer &lt;1&gt;."),
        ({"tokens": job(1, "done"), "spectra": job(2, "done")}, "Finished: the answer &lt;2&gt;."),
        ({"tokens": job(3, "failed"), "spectra": job(2, "done")}, "Finished: the answer &lt;2&gt;."),
    ):
        app.session_state["states"] = states
        app.run()
        assert not app.exception
        assert said in html(app)
