"""A CPU has done what it was asked for at once; its time is that of the call."""

from __future__ import annotations

import time

import torch

from eqlin_core.resources.device_time import seconds_on, wait

CPU = torch.device("cpu")


def test_a_call_is_timed_from_its_start_to_its_end() -> None:
    wait(CPU)
    assert 0.02 <= seconds_on(CPU, lambda: time.sleep(0.02)) < 2
