"""A visitor whose analysis of a tiny model is finished, on an engine whose worker has that one map."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core.analysis.prompt import spectrum_run, token_run
from pages.visit.page_jobs import PageJobs
from pages.visit.session import Session
from pages.worker.engine import Engine
from pages.worker.request import Request
from tests.cases import PROMPT, llama
from tests.pages.run_cases import give

REQUEST = Request("a tiny prompt")


class TinyEngine(Engine):
    """The engine with the maps of a tiny model at one prompt in place of every request's."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = eq.linearize(llama("grouped", torch.float32), token_ids=PROMPT[:5])
        self.of = {self.lin.convention: self.lin}

    def linear_map(self, request: Request, progress: Any, said: str = "") -> Any:
        progress(None, "Recording the frozen network")
        wanted = request.convention
        if wanted not in self.of:
            self.of[wanted] = eq.linearize(self.lin.lm, token_ids=PROMPT[:5], **wanted.keywords)
        return self.of[wanted]


@contextmanager
def tiny_engine(patch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    """The engine that all pages get within the context."""
    made = TinyEngine()
    give(patch, made)
    yield made
    assert made.worker.shutdown()


def finished_visit(engine: TinyEngine) -> Session:
    """A visitor's session in which contributions and spectra are there."""
    session = Session()
    session.shown = session.asked = REQUEST
    session.tokens = token_run(engine.lin, REQUEST.prompt)
    session.spectra = spectrum_run(engine.lin, 6)
    return session


def opened(page: str, engine: TinyEngine, **state: Any) -> AppTest:
    """A page of the finished visit, drawn until everything that it wants is there."""
    return settled(unsettled(page, engine, **state))


def unsettled(page: str, engine: TinyEngine, **state: Any) -> AppTest:
    """A page of the finished visit, drawn once."""
    app = AppTest.from_file(f"../../pages/{page}.py", default_timeout=30)
    app.session_state["in_app"] = True
    app.session_state["eqlin"] = finished_visit(engine)
    for key, value in state.items():
        app.session_state[key] = value
    return app.run()


def settled(app: AppTest) -> AppTest:
    """The page once its jobs have ended; without a traceback."""
    assert not app.exception, app.exception
    wanted: PageJobs = app.session_state["page_jobs"]
    for name in wanted.jobs.snapshots:
        assert wanted.jobs.wait(name, 20)
    app.run()
    assert not app.exception, app.exception
    return app
