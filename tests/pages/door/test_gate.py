"""The gate: one password for all visitors, asked for before anything else is drawn or computed."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages.door import gate
from tests.pages.door.conftest import Serve
from tests.pages.door.test_admission import drawn


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WRONG_SECONDS", 0.0)


def guarded() -> None:
    import streamlit as st

    from pages.door.gate import ask_in

    ask_in()
    st.write("inside")


def before_the_gate() -> AppTest:
    """A new visitor of a page behind the gate."""
    app = AppTest.from_function(guarded, default_timeout=30).run()
    assert not app.exception
    return app


def give(app: AppTest, password: str) -> AppTest:
    app.text_input[0].input(password)
    app.button[0].click().run()
    assert not app.exception
    return app


def is_inside(app: AppTest) -> bool:
    return [text.value for text in app.markdown] == ["inside"]


def test_without_a_password_there_is_no_gate(serve: Serve) -> None:
    serve(public="1")
    assert is_inside(before_the_gate())


def test_every_other_word_is_wrong_and_the_password_opens(serve: Serve) -> None:
    serve(public="1", password="Öffne dich")
    app = before_the_gate()
    for wrong in ("", "offne dich", "Öffne dich ", "x" * 10_000):
        assert [error.value for error in give(app, wrong).error] == [gate.WRONG]
        assert not is_inside(app)
    assert is_inside(give(app, "Öffne dich"))


def test_it_is_asked_once_a_session(serve: Serve) -> None:
    serve(public="1", password="x")
    assert is_inside(give(before_the_gate(), "x").run())
    assert not is_inside(before_the_gate()), "another visitor is asked"


def test_a_private_dashboard_has_its_password_too(serve: Serve) -> None:
    serve(password="x")
    assert not is_inside(before_the_gate())


def test_the_app_draws_and_begins_nothing_before_the_password(serve: Serve) -> None:
    serve(public="1", password="x")
    app = drawn("/etc")
    assert [box.label for box in app.text_input] == ["Password"]
    assert not app.selectbox
    assert not app.sidebar.children
    assert "eqlin" not in app.session_state
    app.session_state["let_in"] = True
    assert [box.label for box in app.run().selectbox][:2] == ["Example prompts", "Model"]


def test_with_a_login_configured_the_gate_leads_to_it(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    serve()
    monkeypatch.setattr(gate, "has_login", lambda: True)
    monkeypatch.setattr("streamlit.user", type("Nobody", (), {"is_logged_in": False})())
    app = before_the_gate()
    assert [button.label for button in app.button] == ["Log in"]
    assert not is_inside(app)
    monkeypatch.setattr("streamlit.user", type("Somebody", (), {"is_logged_in": True})())
    assert is_inside(app.run())
