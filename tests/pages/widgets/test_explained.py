"""The choice of the explained next token: from the list, typed, compared with another, never kept for a new prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from pages.visit import jobs as jobs_module
from pages.widgets.explained import Explained, _names
from tests.pages.run_cases import MadeUpEngine, target, token_run
from tests.pages.worker.worker_cases import Gate


def test_what_is_explained_is_a_row_of_the_unembedding_or_the_difference_of_two() -> None:
    golden, bay = target(0), target(1)
    assert Explained(golden, None).direction.tolist() == [1, 0, 0, 0]
    assert Explained(golden, bay).direction.tolist() == [1, -1, 0, 0]
    assert Explained(golden, None).text == "logit of ·Golden"
    assert Explained(golden, bay).text == "logit of ·Golden − logit of ·Bay"
    assert Explained(golden, bay).name == (" Golden", " Bay")


def test_tokens_that_look_alike_are_told_apart_by_their_ids() -> None:
    named = _names([target(0, " a"), target(1, " a"), target(2, "a")], None)
    assert [(name, found.token_id) for name, found in named.items()] == [("·a", 0), ("·a #1", 1), ("a", 2)]


def draw_choice(run):
    import streamlit as st

    from pages.visit.session import Session
    from pages.widgets.explained import choose
    from pages.worker.request import Request

    request = Request(run.prompt)
    st.session_state.setdefault("eqlin", Session(asked=request, shown=request, tokens=run))
    st.session_state["draws"] = st.session_state.get("draws", 0) + 1
    chosen = choose(run)
    terms, bias, total = run.split(chosen.direction)
    st.session_state["answer"] = (chosen.text, [bias, *terms.tolist()], total)


def page(prompt: str = "The bridge", **state: Any) -> AppTest:
    app = AppTest.from_function(draw_choice, kwargs={"run": token_run(prompt)})
    for name, value in state.items():
        app.session_state[name] = value
    app.run(timeout=30)
    assert not app.exception
    return app


def test_the_most_likely_token_is_explained_until_another_is_chosen(engine: MadeUpEngine) -> None:
    app = page()
    assert app.session_state["answer"][0] == "logit of ·Golden"
    app.selectbox(key="explain").set_value("·Bay").run()
    text, parts, total = app.session_state["answer"]
    assert text == "logit of ·Bay"
    assert sum(parts) == total == 9.0


def test_the_difference_of_two_logits_is_the_difference_of_their_terms(engine: MadeUpEngine) -> None:
    app = page()
    first = np.array(app.session_state["answer"][1])
    app.selectbox(key="explain").set_value("·Bay").run()
    second = np.array(app.session_state["answer"][1])
    app.selectbox(key="explain").set_value("·Golden")
    app.selectbox(key="versus").set_value("·Bay").run()
    text, parts, total = app.session_state["answer"]
    assert text == "logit of ·Golden − logit of ·Bay"
    assert parts == (first - second).tolist()
    assert total == sum(parts) == 1.0


def test_a_token_compared_with_itself_is_explained_alone_and_that_is_said(engine: MadeUpEngine) -> None:
    app = page()
    app.selectbox(key="versus").set_value("·Golden").run()
    assert app.session_state["answer"][0] == "logit of ·Golden"
    assert "compared with itself" in app.caption[0].value


def test_a_typed_token_is_explained(engine: MadeUpEngine) -> None:
    app = page(explain="Venice")  # AppTest cannot type into a select box
    assert app.session_state["answer"][0] == "logit of ·Venice"
    assert not app.warning


def test_a_look_up_that_takes_longer_draws_the_page_again_so_that_the_strip_waits_for_it(
    engine: MadeUpEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "WAIT_BEFORE_DRAWING", 0.05)
    gate = Gate()
    engine.worker.submit("gate", gate, label="the gate", visitor="porter", interactive=True)
    app = page(explain="Venice")
    assert [warning.value for warning in app.warning] == [
        "Looking up 'Venice'; it is explained as soon as the model is free."
    ]
    assert app.session_state["draws"] == 2
    assert app.session_state["eqlin"].busy
    assert app.session_state["answer"][0] == "logit of ·Golden"
    gate.open.set()


def test_nonsense_gives_one_sentence_and_the_likeliest_token_is_explained(engine: MadeUpEngine) -> None:
    app = page(explain="zzqqzz")
    assert [warning.value for warning in app.warning] == ["'zzqqzz' is not a single token of made-up."]
    assert app.session_state["answer"][0] == "logit of ·Golden"


def test_a_sentence_does_not_move_what_stands_below_the_choice(engine: MadeUpEngine) -> None:
    quiet, said = page(), page(explain="zzqqzz")
    assert len(said.warning) == 1
    assert len(said.main.children) == len(quiet.main.children)


def test_a_newline_is_chosen_by_its_visible_sign(engine: MadeUpEngine) -> None:
    app = page()
    app.selectbox(key="explain").set_value("⏎").run()
    assert app.session_state["answer"][2] == 8.0


def test_a_new_prompt_is_explained_by_its_own_likeliest_token(engine: MadeUpEngine) -> None:
    app = page()
    app.selectbox(key="explain").set_value("·Bay").run()
    app.selectbox(key="versus").set_value("·red").run()
    kept = {name: app.session_state[name] for name in ("explain", "versus", "explained_for")}
    other = page("The tower", **kept)
    assert other.session_state["answer"][0] == "logit of ·Golden"
    assert other.selectbox(key="versus").value == "nothing"


def draw_followed(run):
    import streamlit as st

    from pages.visit.session import Session
    from pages.widgets.explained import choose
    from pages.worker.request import Request

    class Followed(Session):
        """A visit whose text goes on with a token that is said."""

        @property
        def followed_by(self):
            return st.session_state["followed_by"]

    request = Request(run.prompt)
    st.session_state["eqlin"] = Followed(asked=request, shown=request, tokens=run)
    st.session_state["answer"] = choose(run).text


def followed(followed_by: int | None, **state: Any) -> AppTest:
    app = AppTest.from_function(draw_followed, kwargs={"run": token_run()})
    for name, value in {"followed_by": followed_by, **state}.items():
        app.session_state[name] = value
    app.run(timeout=30)
    assert not app.exception
    return app


def test_the_token_that_follows_in_the_text_is_explained_as_soon_as_it_is_known(engine: MadeUpEngine) -> None:
    assert followed(1).session_state["answer"] == "logit of ·Bay"
    app = followed(None)
    assert app.session_state["answer"] == "logit of ·Golden"
    for token, name in ((1, "·Bay"), (3, "·red")):  # the text was read; another answer was typed
        app.session_state["followed_by"] = token
        app.run()
        assert app.session_state["answer"] == f"logit of {name}"
        assert app.selectbox(key="explain").value == name


def test_a_token_that_was_chosen_stays_when_the_text_is_read(engine: MadeUpEngine) -> None:
    app = followed(None)
    app.selectbox(key="explain").set_value("·red").run()
    app.session_state["followed_by"] = 1
    app.run()
    assert app.session_state["answer"] == "logit of ·red"


def test_a_position_whose_text_is_read_late_is_explained_by_what_follows_it(engine: MadeUpEngine) -> None:
    app = followed(None, explain="·red", explained_for=("made-up", (1,)))
    assert app.session_state["answer"] == "logit of ·Golden", "of another prompt"
    app.session_state["followed_by"] = 1
    app.run()
    assert app.session_state["answer"] == "logit of ·Bay"


def test_a_token_that_follows_is_found_by_its_id_where_its_text_names_another(engine: MadeUpEngine) -> None:
    app = followed(4)
    assert app.session_state["answer"] == "logit of Venice", "and not of ·Venice, which that text would find"
    assert app.selectbox(key="explain").options[:2] == ["Venice", "·Golden"]
    assert not app.warning
