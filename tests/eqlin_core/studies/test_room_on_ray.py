"""How many workers a Ray cluster has room for, and which share of a GPU one takes; no cluster is needed for it."""

from __future__ import annotations

import pytest

import eqlin_core as eq
from eqlin_core.studies.on_ray import share_of_gpu, workers_that_fit

GIB = 1 << 30


@pytest.mark.parametrize(
    ("has", "gpus", "fit"),
    [
        ({"CPU": 8.0, "memory": 100.0 * GIB}, 0.0, 8),
        ({"CPU": 8.0, "memory": 9.0 * GIB}, 0.0, 3),
        ({"CPU": 8.0, "memory": 100.0 * GIB, "GPU": 1.0}, 0.3, 3),
        ({"CPU": 8.0, "memory": 100.0 * GIB, "GPU": 2.0}, 1.0, 2),
    ],
)
def test_what_is_scarcest_bounds_the_workers(has: dict[str, float], gpus: float, fit: int) -> None:
    assert workers_that_fit(has, {"CPU": 1.0, "GPU": gpus, "memory": 3.0 * GIB}) == fit


@pytest.mark.parametrize("has", [{}, {"CPU": 4.0, "memory": GIB}, {"CPU": 0.5, "memory": 9.0 * GIB}])
def test_no_room_is_said_with_what_a_worker_takes(has: dict[str, float]) -> None:
    with pytest.raises(eq.EqlinError, match=r"no room for a worker of 1 CPUs and 3 GiB\."):
        workers_that_fit(has, {"CPU": 1.0, "GPU": 0.0, "memory": 3.0 * GIB})


@pytest.mark.parametrize(("size", "share"), [(1, 0.01), (25 * GIB, 0.32), (40 * GIB, 0.5), (41 * GIB, 1.0), (99, 0.01)])
def test_a_worker_takes_the_share_of_a_gpu_that_its_model_does(size: int, share: float) -> None:
    assert share_of_gpu(size, 80 * GIB) == share
