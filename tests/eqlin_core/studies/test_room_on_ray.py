"""How many workers a Ray cluster has room for, what one takes, and what becomes of lost ones; no cluster is needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import eqlin_core as eq
from eqlin_core.studies import on_ray
from eqlin_core.studies.measures import Asked, Ready
from eqlin_core.studies.on_ray import RayWorkers, share_of_gpu, workers_that_fit
from eqlin_core.studies.plan import Pack
from eqlin_core.studies.prompts import StudyPrompt
from tests.cases import family

GIB = 1 << 30


@pytest.mark.parametrize(
    ("nodes", "gpus", "fit"),
    [
        ([{"CPU": 8.0, "memory": 100.0 * GIB}], 0.0, 8),
        ([{"CPU": 8.0, "memory": 9.0 * GIB}], 0.0, 3),
        ([{"CPU": 8.0, "memory": 100.0 * GIB, "GPU": 1.0}], 0.3, 3),
        ([{"CPU": 8.0, "memory": 100.0 * GIB, "GPU": 2.0}], 1.0, 2),
        ([{"CPU": 8.0, "memory": 5.0 * GIB}, {"memory": 9.0 * GIB}, {"CPU": 8.0, "memory": 4.0 * GIB}], 0.0, 2),
    ],
)
def test_what_is_scarcest_on_each_node_bounds_the_workers(nodes: list[dict[str, float]], gpus: float, fit: int) -> None:
    assert workers_that_fit(nodes, {"CPU": 1.0, "GPU": gpus, "memory": 3.0 * GIB}) == fit


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [{}],
        [{"CPU": 4.0, "memory": GIB}],
        [{"CPU": 0.5, "memory": 9.0 * GIB}],
        [{"CPU": 1.0, "memory": 2.0 * GIB}] * 2,
    ],
)
def test_no_room_is_said_with_what_a_worker_takes(nodes: list[dict[str, float]]) -> None:
    with pytest.raises(eq.EqlinError, match=r"No node of the Ray cluster has room for a worker of 1 CPUs and 3 GiB\."):
        workers_that_fit(nodes, {"CPU": 1.0, "GPU": 0.0, "memory": 3.0 * GIB})


@pytest.mark.parametrize(("size", "share"), [(1, 0.01), (25 * GIB, 0.32), (40 * GIB, 0.5), (41 * GIB, 1.0), (99, 0.01)])
def test_a_worker_takes_the_share_of_a_gpu_that_its_model_does(size: int, share: float) -> None:
    assert share_of_gpu(size, 80 * GIB) == share


class _Cluster:
    """Ray as far as a study knows it, in this process: a pack of each worker in ``fails`` ends in that error."""

    class exceptions:
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

        class OutOfMemoryError(RayError):
            pass

    def __init__(self, fails: dict[int, str], **has: float) -> None:
        self.has, self.fails = {"CPU": 1.0, "memory": 100.0 * GIB, **has}, fails
        self.made: list[Any] = []
        self.killed: list[Any] = []
        self.wants: dict[str, Any] = {}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.has}, {"Alive": False, "Resources": self.has}]

    def remote(self, **wants: Any) -> Any:
        self.wants = wants
        return lambda _: SimpleNamespace(remote=self._make)

    def _make(self, **options: Any) -> Any:
        number = len(self.made)
        worker = SimpleNamespace(
            options=options,
            node=SimpleNamespace(remote=lambda: (object(), lambda: f"node {number}")),
            measured=SimpleNamespace(remote=lambda pack, _: (object(), lambda: self._measured(number, pack))),
        )
        self.made.append(worker)
        return worker

    def _measured(self, number: int, pack: Pack) -> Any:
        if number in self.fails:
            raise getattr(self.exceptions, self.fails[number])("gone")
        return {"prompts": [{"key": one.prompt.key} for one in pack.prompts]}

    def wait(self, references: list[Any], **_: Any) -> Any:
        assert references
        return references[:1], references[1:]

    def get(self, reference: Any) -> Any:
        return reference[1]()

    def kill(self, worker: Any) -> None:
        self.killed.append(worker)


def _measured(monkeypatch: pytest.MonkeyPatch, cluster: _Cluster, dtype: str = "float64") -> Any:
    monkeypatch.setattr(on_ray, "_ray", lambda _: cluster)
    packs = [Pack((Ready(StudyPrompt(str(n), token_ids=(n,)), (n,)),)) for n in range(4)]
    workers = RayWorkers("auto", dtype=dtype)
    return workers, workers.measured(family("llama"), "tiny", packs, Asked(("contributions",)), None)


def test_a_worker_whose_memory_ended_is_let_go_and_its_packs_go_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = _Cluster({0: "OutOfMemoryError"})
    workers, found = _measured(monkeypatch, cluster)
    assert sorted(number for number, _ in found) == [0, 1, 2, 3]
    assert workers.lost == 2
    assert cluster.killed == cluster.made, "each once"
    assert len(cluster.made) == 2, "one at a time: the cluster has room for one"


def test_what_fails_within_a_worker_ends_the_study_and_lets_the_workers_go(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = _Cluster({0: "RayTaskError"})
    with pytest.raises(eq.EqlinError, match="A worker failed: gone"):
        list(_measured(monkeypatch, cluster)[1])
    assert cluster.killed == cluster.made


@pytest.mark.parametrize("gpus", [0.0, 2.0])
def test_planned_where_there_is_no_gpu_workers_take_those_of_the_cluster(
    gpus: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = _Cluster({}, GPU=gpus)
    list(_measured(monkeypatch, cluster)[1])
    assert cluster.wants["num_gpus"] == (1 if gpus else 0)
    assert cluster.made[0].options["device"] == ("auto" if gpus else "cpu")


def test_workers_of_another_precision_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(eq.EqlinError, match="is in float64 and its workers would be in float32: give RayWorkers the"):
        list(_measured(monkeypatch, _Cluster({}), "float32")[1])
