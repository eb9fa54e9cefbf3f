"""The check in float64: asked for by a button, followed, and said in a sentence, also when it fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core import EqlinError
from eqlin_core.maps.precision import PrecisionCheck
from pages.visit.jobs import Jobs
from pages.visit.session import Session
from pages.worker.analysis import precision
from pages.worker.question import Question
from pages.worker.request import Request
from pages.worker.worker import Job, Reporter, Worker
from tests.pages.run_cases import give, token_run
from tests.pages.worker.worker_cases import Gate, giving, raising

CHECK = PrecisionCheck(contributions=3e-7, output=4e-7, same_token=True, dtype="float32")


class Engine:
    """In place of the engine: the check runs ``work``."""

    def __init__(self, worker: Worker, work: Callable[[Reporter], Any]) -> None:
        self.worker, self.work = worker, work

    def submit(self, question: Question[Any], visitor: str) -> Job:
        assert question.key == precision(Request("The bridge")).key
        return self.worker.submit(question.key, self.work, label=question.label, visitor=visitor)


def page() -> None:
    import streamlit as st

    from pages.frame.precision import check_in_float64
    from pages.visit.session import Session
    from pages.worker.request import Request

    if "eqlin" not in st.session_state:
        st.session_state["eqlin"] = Session(shown=Request("The bridge"))
    check_in_float64()


def opened(monkeypatch: pytest.MonkeyPatch, worker: Worker, work: Callable[[Reporter], Any]) -> AppTest:
    give(monkeypatch, Engine(worker, work))
    return AppTest.from_function(page, default_timeout=20).run()


def pressed(app: AppTest) -> AppTest:
    app.button(key="precision-button").click().run()
    jobs: Jobs = app.session_state["precision_check"]
    (name,) = jobs.snapshots
    assert jobs.wait(name, 5)
    return app.run()


def test_nothing_is_computed_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    app = opened(monkeypatch, worker, raising(AssertionError("computed without being asked")))
    assert [button.label for button in app.button] == ["Check in float64"]
    assert worker.queue() == []


def test_its_result_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    app = pressed(opened(monkeypatch, worker, giving(CHECK)))
    (said,) = app.markdown
    assert "3.0e-7" in said.value
    assert "4.0e-7" in said.value
    assert "the same next token" in said.value
    assert not app.button


def test_a_check_that_ran_elsewhere_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.frame import precision as module

    on_a_gpu = dataclasses.replace(token_run(), device="mps")
    monkeypatch.setattr(module, "session", lambda: Session(shown=Request("The bridge"), tokens=on_a_gpu))
    elsewhere = module._sentence(dataclasses.replace(CHECK, device="cpu"))
    assert elsewhere.endswith("is the most likely. The run in float64 was computed on the CPU.")
    assert module._sentence(dataclasses.replace(CHECK, device="mps")).endswith("is the most likely.")


def test_a_failure_is_said(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    app = pressed(opened(monkeypatch, worker, raising(EqlinError("The float64 copy does not fit."))))
    assert [said.value for said in app.markdown] == ["The float64 copy does not fit."]
    assert not app.exception


def test_while_it_runs_the_page_says_so(monkeypatch: pytest.MonkeyPatch, worker: Worker) -> None:
    gate = Gate(CHECK)
    app = opened(monkeypatch, worker, gate)
    app.button(key="precision-button").click().run()
    assert gate.entered.wait(5)
    app.run()
    assert [caption.value for caption in app.caption] == ["at the gate"]
    gate.open.set()
