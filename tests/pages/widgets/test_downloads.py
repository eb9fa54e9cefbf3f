"""What a download of a computed file holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eqlin_core import EqlinError
from pages.widgets.downloads import _result
from pages.worker.worker import Job, Reporter, Worker


def fail(progress: Reporter) -> bytes:
    raise EqlinError("The matrix is gone; analyse again.")


@pytest.mark.parametrize(
    ("compute", "downloaded"), [(lambda _progress: b"file", b"file"), (fail, b"")], ids=["computed", "failed"]
)
def test_the_file_is_what_its_job_ends_in_and_empty_where_that_failed(
    worker: Worker, compute: Callable[[Reporter], bytes], downloaded: bytes
) -> None:
    def submit(visitor: str) -> Job:
        return worker.submit("file", compute, label="the file", visitor=visitor)

    assert _result(submit, "ada") == downloaded
