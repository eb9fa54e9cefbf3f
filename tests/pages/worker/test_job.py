"""The time left and the weight of a job, and the sentence for its failure."""

from __future__ import annotations

import numpy as np
import pytest

from pages.worker.job import Pace, bytes_of, sentence


def test_a_result_weighs_what_its_arrays_weigh_each_counted_once() -> None:
    array = np.zeros(1000)
    assert bytes_of(array) == 8000
    assert 16_000 <= bytes_of({"a": [array, array], "b": (np.ones(1000),)}) < 17_000


def test_the_time_left_is_never_negative() -> None:
    pace = Pace()
    assert pace.seconds_left(0.0) is None
    pace.report(0.0, 0.0)
    pace.report(0.9, 9.0)
    assert pace.seconds_left(9.0) == pytest.approx(1.0)
    assert pace.seconds_left(60.0) == 0.0


def test_a_pace_starts_afresh_when_a_new_stretch_of_work_begins() -> None:
    pace = Pace()
    pace.report(0.0, 0.0)
    pace.report(0.9, 900.0)
    pace.report(0.0, 1000.0)
    pace.report(0.5, 1001.0)
    assert pace.seconds_left(1001.0) == pytest.approx(1.0)


def test_what_was_done_before_the_first_report_is_no_part_of_the_pace() -> None:
    pace = Pace()
    pace.report(0.35, 70_000.0)  # an operator that was there already
    assert pace.seconds_left(70_000.0) is None
    pace.report(0.45, 70_001.0)
    assert pace.seconds_left(70_001.0) == pytest.approx(5.5)


def test_the_sentence_for_a_long_message_stays_short_enough_to_read() -> None:
    told = sentence(ValueError("x" * 10_000), "the matrix")
    assert len(told) < 350
    assert told.endswith("The full report is in the server's log.")
