"""What each page says while it has nothing to draw, and that it says nothing beside an error."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pages.visit.session import Session

FIRST = "The first analysis is on its way: the model is loaded once, then"
SAID = {
    "tokens": f"{FIRST} the contributions appear here.",
    "spectra": "Type a prompt on the left and choose Analyse: its spectra appear here.",
    "matrix": f"{FIRST} the matrices appear here.",
    "layers": f"{FIRST} the layers appear here.",
    "steering": "The model is being loaded. Then the steered texts appear here.",
}


def empty(page: str, session: Session) -> list[str]:
    """What a page says to a visitor who has no result yet."""
    app = AppTest.from_file(f"../../../pages/{page}.py", default_timeout=30)
    app.session_state["in_app"], app.session_state["eqlin"] = True, session
    app.run()
    assert not app.exception, app.exception
    return [info.value for info in app.info]


@pytest.mark.parametrize("page", SAID)
def test_an_empty_page_says_what_will_appear(page: str) -> None:
    assert empty(page, Session()) == [SAID[page]]


@pytest.mark.parametrize("page", SAID)
def test_beside_an_error_it_promises_nothing(page: str) -> None:
    assert empty(page, Session(error="There is no model or folder 'x': check the spelling.")) == []
