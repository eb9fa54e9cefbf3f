"""A study on a real Ray cluster of two nodes on loopback, one of which is killed in the middle."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eqlin_core.studies.on_ray import RayWorkers
from eqlin_core.studies.study import run_study
from tests.eqlin_core.studies.study_cases import PROMPTS, same_rows, saved_model

ray = pytest.importorskip("ray")
MEASURES = ("exactness", "contributions", "layers", "heads")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Two nodes of one CPU each; the driver's own takes no work."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # a node that is gone is noticed in seconds, not in twenty
    soon = {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000}
    made = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": soon}
    )
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()


@pytest.mark.ray
@pytest.mark.filterwarnings("default")
def test_every_row_is_there_once_when_a_node_dies_in_the_middle(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eqlin_core.studies.plan.PACK_TOKENS", 1)  # every prompt alone, so that there is a middle
    model = saved_model(tmp_path / "tiny")
    own = run_study(PROMPTS, str(model), tmp_path / "own", MEASURES)
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    killed = threading.Event()
    begun: list[float] = []

    def kill(fraction: float | None, _message: str) -> None:
        if workers.nodes and fraction is not None:
            begun.append(fraction)
            if fraction > begun[0] and not killed.is_set():
                killed.set()
                (node,) = [node for node in nodes if node.node_id == workers.nodes[0]]  # it has packs in hand
                cluster.remove_node(node, allow_graceful=False)

    workers = RayWorkers(cluster.address, device="cpu")
    found = run_study(PROMPTS, str(model), tmp_path / "far", MEASURES, workers=workers, progress=kill)
    assert killed.is_set()
    assert workers.lost, "the node had packs in hand"
    assert len(found.prompts) == len(PROMPTS)
    assert not found.failures
    for table in ("prompts", "tokens", "layers", "heads"):
        same_rows(found.table(table), own.table(table), close=1e-5)
