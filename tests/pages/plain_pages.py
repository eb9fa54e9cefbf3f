"""Every page of the app as it opens at its plain address, and its tabs; what it then asks for beside the analysis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from pages.worker import shipped
from pages.worker.engine import Engine
from pages.worker.question import Question
from pages.worker.saved_analyses import SWITCH
from pages.worker.worker import Job
from tests.pages.run_cases import give

APP = Path(__file__).resolve().parents[2] / "app.py"
PAGES = ("start", "tokens", "spectra", "matrix", "layers", "steering", "compare")
PATIENT = 600.0  # seconds; steered texts take most of a minute on a busy machine


class NotingEngine(Engine):
    """The engine, which notes the questions that may have an answer that is shipped, in the order they were asked."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: dict[tuple[Hashable, ...], Question[Any]] = {}

    def shipped(self, question: Question[Any], visitor: str) -> Job | None:
        """What the engine gives."""
        self.noted[question.key] = question
        return super().shipped(question, visitor)


@contextmanager
def fresh_engine(folder: Path, made: Callable[[], NotingEngine] = NotingEngine) -> Iterator[NotingEngine]:
    """The engine that all pages get within the context; ``folder`` is that of its own saved runs.

    What is shipped is read once: with the tests' checks of types it takes seconds, without them milliseconds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shipped, "load_run", cache(shipped.load_run))
        patch.setenv(SWITCH, str(folder))
        engine = made()
        give(patch, engine)
        yield engine
        assert engine.worker.shutdown(30)


def answer(engine: Engine, question: Question[Any]) -> Any:
    """The answer, computed by the engine. Raises RuntimeError where there is none."""
    job = engine.submit(question, "asking")
    while not job.wait(5):
        engine.worker.touch("asking")
    snapshot = job.snapshot()
    if snapshot.state != "done":
        raise RuntimeError(f"{question.label}: {snapshot.error or snapshot.state}")
    return snapshot.result


def opened(page: str, **choices: str) -> AppTest:
    """A page as a new visitor gets it who opens it at its plain address, or at one with these choices."""
    app = AppTest.from_file(APP, default_timeout=PATIENT)
    for name, chosen in choices.items():
        app.query_params[name] = chosen
    if page != PAGES[0]:
        app.switch_page(f"pages/{page}.py")
    return app.run()


def views(page: str) -> Iterator[AppTest]:
    """The page as it opens at its plain address, and then once for each of its other tabs, with that open."""
    tabs: dict[str, list[str]] = {}
    plain = st.tabs

    def noting(labels: list[str], *, key: str, **options: Any) -> Any:
        tabs[key] = labels
        return plain(labels, key=key, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(st, "tabs", noting)
        yield opened(page)
    for key, labels in tabs.items():
        for label in labels[1:]:
            yield opened(page, **{key: label})
