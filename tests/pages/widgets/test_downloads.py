"""What a download of a computed file holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eqlin_core import EqlinError
from pages.widgets.downloads import _answer
from pages.worker.question import Question
from pages.worker.worker import Job, Reporter, Worker


def fail(progress: Reporter) -> bytes:
    raise EqlinError("The matrix is gone; analyse again.")


@pytest.mark.parametrize(
    ("compute", "downloaded"), [(lambda _progress: b"file", b"file"), (fail, b"")], ids=["computed", "failed"]
)
def test_the_file_is_what_its_job_ends_in_and_empty_where_that_failed(
    worker: Worker, compute: Callable[[Reporter], bytes], downloaded: bytes
) -> None:
    class OneFile:
        def submit(self, question: Question[bytes], visitor: str) -> Job:
            return worker.submit(question.key, compute, label=question.label, visitor=visitor)

    asked = Question(("file",), "the file", False, lambda engine, progress: b"")
    assert _answer(OneFile(), asked, "ada") == downloaded  # type: ignore[arg-type]
