"""One line on how a job is getting on."""

from __future__ import annotations

from typing import Any

import pytest

from pages.visit.progress_line import describe
from pages.worker.job import Snapshot


def snapshot(**changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "key": "k",
        "label": "the matrix and its spectra",
        "state": "running",
        "position": 0,
        "ahead": 0,
        "behind": "",
        "starts_in": None,
        "fraction": None,
        "message": "",
        "elapsed": 1.0,
        "seconds_left": None,
        "cancelling": False,
        "result": None,
        "partial": {},
        "error": "",
    }
    return Snapshot(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, "Computing the matrix and its spectra"),
        ({"fraction": 0.5, "message": "Matrix"}, "Matrix, 50%"),
        ({"fraction": 0.5, "message": "Matrix", "seconds_left": 12.4}, "Matrix, 50%, about 12 s left"),
        ({"fraction": 0.99, "message": "Matrix", "seconds_left": 0.2}, "Matrix, 99%, about a second left"),
        ({"fraction": 0.01, "message": "Matrix", "seconds_left": 600.0}, "Matrix, 1%, about 10.0 min left"),
        ({"fraction": 0.5, "cancelling": True}, "Cancelling"),
        (
            {"state": "queued", "position": 1, "ahead": 1, "behind": "the joint spectrum"},
            "Waiting for the joint spectrum, then the matrix and its spectra",
        ),
        (
            {"state": "queued", "position": 3, "ahead": 3, "behind": "the joint spectrum", "starts_in": 42.0},
            "Waiting for the joint spectrum and 2 more, about 42 s, then the matrix and its spectra",
        ),
        ({"state": "queued", "position": 1}, "Waiting, then the matrix and its spectra"),
        (
            {"state": "paused", "fraction": 0.5, "message": "Matrix", "behind": "the typed token"},
            "Matrix, 50%; gives way to the typed token, then goes on",
        ),
    ],
)
def test_one_line_says_how_a_job_stands(changes: dict[str, Any], line: str) -> None:
    assert describe(snapshot(**changes)) == line
