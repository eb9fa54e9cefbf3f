"""Small buttons that download a file: data that is there, or what a job computes once the button is pressed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import streamlit as st

if TYPE_CHECKING:
    from pages.worker.worker import Job

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


def download_job(
    label: str, submit: Callable[[str], Job], file_name: str, *, visitor: str, key: str, help: str
) -> None:
    """A button for the bytes that a job ends in, which ``submit(visitor)`` starts when it is pressed."""
    download_link(
        label, partial(_result, submit, visitor), file_name, mime="application/octet-stream", key=key, help=help
    )


def _result(submit: Callable[[str], Job], visitor: str) -> bytes:
    """Called on a thread of the download's own, so waiting keeps nobody."""
    job = submit(visitor)
    job.wait(WAIT_SECONDS)
    found = job.snapshot(visitor).result
    return found if isinstance(found, bytes) else b""
