"""Small buttons that download a file: data that is there, or what a job computes once the button is pressed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from pages.visit.session import session
from pages.worker.engine import Engine, engine
from pages.worker.question import Question

# For a file that is computed: what takes longer has been overtaken by something big, and comes out empty.
WAIT_SECONDS = 120.0


def download_link(
    label: str, data: Callable[[], str | bytes], file_name: str, *, mime: str, key: str, help: str
) -> None:
    """A button for what ``data`` gives; pressing it draws nothing anew."""
    st.download_button(
        label,
        data=data,
        file_name=file_name,
        mime=mime,
        key=key,
        on_click="ignore",
        type="tertiary",
        icon=":material/download:",
        help=help,
    )


def download_answer(label: str, question: Question[bytes], file_name: str, *, key: str, help: str) -> None:
    """A button for the bytes that answer a question, which is asked when it is pressed."""
    data = partial(_answer, engine(), question, session().visitor)
    download_link(label, data, file_name, mime="application/octet-stream", key=key, help=help)


def _answer(engine: Engine, question: Question[bytes], visitor: str) -> bytes:
    """Called on a thread of the download's own, so waiting keeps nobody."""
    job = engine.submit(question, visitor)
    job.wait(WAIT_SECONDS)
    data = job.snapshot(visitor).result
    return data if isinstance(data, bytes) else b""
