"""Page Answer with what stands round every page, with a tiny model, and one that answers when a test lets it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core.runs.answer import ContinuedText
from pages.visit.page_jobs import PageJobs
from pages.visit.session import Session
from pages.worker.request import DEFAULT_MODEL, Request

PAGES = Path(__file__).resolve().parents[3] / "pages"
# The name of the default model, which the sidebar offers.
MODEL, DTYPE = DEFAULT_MODEL, "float64"
SOON = 8.0  # seconds


class Answering:
    """In place of `continue_text`: it says some of its answer at once, and the rest when it is let through."""

    def __init__(self, so_far: str = " is", whole: str = " is red") -> None:
        self.so_far, self.whole = so_far, whole
        self.asked: list[tuple[Any, str]] = []  # prompt and the answer that was begun
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, lm: Any, prompt: str | None, *, answer: str, progress: Any, on_text: Any, **_: Any) -> Any:
        self.asked.append((prompt, answer))
        before = eq.read_text(lm, prompt, answer=answer or None).token_ids

        def said(text: str, ended: bool) -> ContinuedText:
            ids = eq.read_text(lm, prompt, answer=answer + text).token_ids
            return ContinuedText(text, tuple(ids[len(before) :]), ended)

        on_text(said(self.so_far, False))
        self.entered.set()
        while not self.open.wait(0.005):
            progress(0.5, "Token 2 of 2")
        return said(self.whole, True)


class Published:
    """What a job reports to: ``published`` holds what it published, ``order`` the names of that among its messages."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Any]] = []
        self.order: list[str] = []

    def __call__(self, fraction: float | None = None, message: str = "") -> None:
        self.order.append(message)

    def publish(self, name: str, value: Any) -> None:
        self.published.append((name, value))
        self.order.append(name)

    def alone_with(self, thing: Any) -> Any:
        return nullcontext()


def app_of_one_page() -> None:
    """What app.py draws, but for what a test of pages has none of: AppTest knows no st.navigation."""
    import runpy

    import streamlit as st

    from pages.frame.entry import ask, enter_app
    from pages.frame.sidebar import sidebar
    from pages.frame.strip import strip
    from pages.visit import polling

    polling.begin()
    request = sidebar()
    if request is not None:
        ask(request)
    strip()
    enter_app()
    runpy.run_path(st.session_state["page"])
    polling.draw_parts()


def page(name: str = "answer", prompt: str = "the bridge", **address: str) -> AppTest:
    """A page, opened by its address and drawn until its analysis is there."""
    app = AppTest.from_function(app_of_one_page, default_timeout=60)
    for key, value in {"prompt": prompt, "model": MODEL, "dtype": DTYPE, **address}.items():
        app.query_params[key] = value
    return turned(app, name)


def turned(app: AppTest, name: str) -> AppTest:
    """The visitor goes to another page."""
    app.session_state["page"] = str(PAGES / f"{name}.py")
    app.run()
    return analysed(app)


def analyse(app: AppTest, prompt: str | None = None, answer: str | None = None) -> AppTest:
    """Type a prompt and what follows it, and press Analyse."""
    for key, text in (("prompt", prompt), ("answer", answer)):
        if text is not None:
            app.text_area(key=key).set_value(text)
    app.button(key="FormSubmitter:request-Analyse").click().run()
    return analysed(app)


def analysed(app: AppTest) -> AppTest:
    """The page once no analysis is under way, whatever else it waits for."""
    return until(app, lambda: not visit(app).busy)


def settled(app: AppTest) -> AppTest:
    """The page once nothing is under way."""
    return until(app, lambda: not visit(app).busy and not wanted(app).jobs.busy)


def until(app: AppTest, there: Callable[[], bool]) -> AppTest:
    """The page, drawn again until something is so, as a browser that polls does; without a traceback."""
    end = time.monotonic() + SOON
    while True:
        assert not app.exception, app.exception
        if there():
            return app
        assert time.monotonic() < end, (app.error, visit(app).jobs.snapshots)
        time.sleep(0.02)
        app.run()


def visit(app: AppTest) -> Session:
    found: Session = app.session_state["eqlin"]
    return found


def wanted(app: AppTest) -> PageJobs:
    found: PageJobs = app.session_state["page_jobs"]
    return found


def shown(app: AppTest) -> Request:
    """What is on the screen, with its answer."""
    found = visit(app).shown_whole
    assert found is not None
    return found


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception
    return app
