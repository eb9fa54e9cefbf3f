"""The packs of a study on a Ray cluster: workers that hold a model each, and tasks in flight bounded by memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.models import four_bit
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.progress import Progress, report
from eqlin_core.resources.plan import size_text
from eqlin_core.studies.measures import Asked
from eqlin_core.studies.plan import Pack, pack_memory
from eqlin_core.studies.tables import Rows

# Packs that wait at each worker beside the one in hand, so that none idles while its rows are written.
_AHEAD = 1
# How often a pack whose worker was lost is given to another.
_ATTEMPTS = 3
_POLL_SECONDS = 0.5
# Beside a worker's model and its packs: Python, torch, and what a GPU's driver keeps.
_PROCESS_BYTES = 1 << 30
_HUNDREDTHS = 100  # Ray counts shares of a GPU; two workers that take more than half of one share none


class RayWorkers:
    """Computes packs of prompts by actors on Ray, each with a model of its own.

    ``address``: "local" (a cluster of this machine's cores that ends with the process), "auto" (the one that is there),
    or an address. ``gpus``: the share of a GPU that a worker takes; unless given, what the model and its largest pack
    take of the GPU that plans them; planned elsewhere, a whole one where the cluster has any and ``device`` allows it.
    ``workers``: how many; as many as the cluster's nodes have room for by processors, GPUs and memory. Raises
    EqlinError where Ray is not installed, for a cluster that cannot be reached or has no node with room for a worker,
    and for a study in another precision than ``dtype``.
    """

    def __init__(
        self,
        address: str = "local",
        *,
        dtype: str = "float32",
        device: str = "auto",
        workers: int | None = None,
        cpus: float = 1.0,
        gpus: float | None = None,
    ) -> None:
        self.address = arguments.text("address", address)
        self.dtype, self.device = dtype, device
        self.workers = None if workers is None else arguments.whole("workers", workers, 1)
        self.cpus = arguments.number("cpus", cpus, above=0)
        self.gpus = None if gpus is None else arguments.number("gpus", gpus, lowest=0)
        self.lost = 0  # packs that were given to another worker, since theirs was gone
        self.nodes: list[str] = []  # Ray's names of the nodes of the workers that came to hold a model

    def measured(
        self, lm: LanguageModel, source: str, packs: Sequence[Pack], asked: Asked, progress: Progress | None
    ) -> Iterator[tuple[int, Rows]]:
        """Each pack's rows as a worker has them; a pack whose worker is lost goes to another."""
        if not packs:
            return
        if not source:
            raise EqlinError("Workers on Ray load the model themselves: give its name, not a loaded one.")
        own = dtype_name(four_bit.DTYPE) if self.dtype == four_bit.NAME else self.dtype
        if own != dtype_name(lm.dtype):
            raise EqlinError(
                f"The study is in {dtype_name(lm.dtype)} and its workers would be in {self.dtype}: give RayWorkers the "
                "same dtype."
            )
        ray = _ray(self.address)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        held = sum(p.numel() * p.element_size() for p in lm.model.parameters()) + _PROCESS_BYTES
        work = max(pack_memory(lm, pack, asked) for pack in packs)
        gpus = self._gpus(lm, held + work, any(node.get("GPU") for node in nodes))
        memory = held if gpus else held + work
        wants = {"CPU": self.cpus, "GPU": gpus, "memory": memory}
        count = min(workers_that_fit(nodes, wants), len(packs), self.workers or len(packs))
        actor = ray.remote(num_cpus=self.cpus, num_gpus=gpus, memory=memory, max_restarts=0)(_Worker)
        made = {"name": source, "dtype": self.dtype, "device": self.device if gpus else "cpu"}
        flight = _Flight(ray, lambda: actor.remote(**made), count, packs, asked, progress)
        flight.nodes = self.nodes
        try:
            yield from flight.rows()
        finally:
            self.lost += sum(flight.lost.values())

    def _gpus(self, lm: LanguageModel, size: int, there: bool) -> float:
        """The share of a GPU that a worker takes, unless it was said; ``there``: whether the cluster has any."""
        if self.gpus is not None:
            return self.gpus
        if self.device == "cpu" or not there:
            return 0.0
        if lm.device.type != "cuda":
            return 1.0
        return share_of_gpu(size, torch.cuda.get_device_properties(lm.device).total_memory)


def share_of_gpu(size: int, whole: int) -> float:
    """What ``size`` bytes are of a GPU's memory, in hundredths, upwards; more than half is all of it."""
    hundredths = -(-size * _HUNDREDTHS // whole)
    return 1.0 if 2 * hundredths > _HUNDREDTHS else hundredths / _HUNDREDTHS


def workers_that_fit(nodes: Sequence[Mapping[str, float]], wants: Mapping[str, float]) -> int:
    """How many workers that want so much of each resource there is room for on the nodes, each on one of them.

    Raises EqlinError for none.
    """
    needed = {name: much for name, much in wants.items() if much}
    room = sum(min(int(has.get(name, 0) / much + 1e-9) for name, much in needed.items()) for has in nodes)
    if room < 1:
        gpus = f", {wants['GPU']:g} GPUs" if wants["GPU"] else ""
        size = size_text(int(wants["memory"]))
        raise EqlinError(f"No node of the Ray cluster has room for a worker of {wants['CPU']:g} CPUs{gpus} and {size}.")
    return room


class _Worker:
    """A process that holds a model and measures packs."""

    def __init__(self, name: str, dtype: str, device: str) -> None:
        from eqlin_core.models.loading import load_model  # noqa: PLC0415 - on the worker's machine

        self._lm = load_model(name, dtype, device)
        self._operators: dict[str, Any] = {}

    def node(self) -> str:
        """Ray's name of the node that it is on; answered once the model is there."""
        import ray  # noqa: PLC0415

        return str(ray.get_runtime_context().get_node_id())

    def measured(self, pack: Pack, asked: Asked) -> Rows:
        from eqlin_core.studies.measures import measured  # noqa: PLC0415

        return measured(self._lm, pack.prompts, asked, self._operators)


class _Flight:
    """Packs on their way through workers, of which some may be lost.

    A worker is given packs once it holds its model: one that the cluster has no room for, until another node comes,
    keeps none.
    """

    def __init__(
        self,
        ray: Any,
        make: Callable[[], Any],
        count: int,
        packs: Sequence[Pack],
        asked: Asked,
        progress: Progress | None,
    ) -> None:
        self._ray, self._packs, self._asked, self._progress = ray, packs, asked, progress
        self._make = make
        self._waiting = deque(range(len(packs)))
        self.lost = dict.fromkeys(range(len(packs)), 0)
        self._unborn = 0  # workers in a row that were lost before they held a model
        self._workers: list[Any] = []
        self._starting: dict[Any, Any] = {}  # by Ray's reference to the word that it holds its model
        self._given: dict[Any, tuple[int, Any]] = {}  # by Ray's reference to the rows
        self.nodes: list[str] = []
        for _ in range(count):
            self._start()

    def rows(self) -> Iterator[tuple[int, Rows]]:
        done = 0
        try:
            while done < len(self._packs):
                self._give()
                said = "Study" if self._workers or done else "Waiting for the first worker to hold the model"
                report(self._progress, done / len(self._packs), said)
                ready, _ = self._ray.wait([*self._given, *self._starting], num_returns=1, timeout=_POLL_SECONDS)
                for reference in ready:
                    found = self._taken(reference)
                    if found is not None:
                        done += 1
                        yield found
        finally:
            for worker in (*self._workers, *self._starting.values()):
                self._ray.kill(worker)

    def _start(self) -> None:
        worker = self._make()
        self._starting[worker.node.remote()] = worker

    def _taken(self, reference: Any) -> tuple[int, Rows] | None:
        """The pack and its rows that are ready, if that is what has come; what is lost begins anew."""
        number, worker = self._given.pop(reference, (-1, None))
        if worker is None:
            worker = self._starting.pop(reference)
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            raise EqlinError(f"A worker failed: {_last_line(error)}") from error
        except self._ray.exceptions.RayError as error:  # its process, its node, or the memory for it
            self._lose(number, worker, error)
            return None
        if number >= 0:
            return number, answer
        self._unborn = 0
        self._workers.append(worker)
        self.nodes.append(answer)
        return None

    def _give(self) -> None:
        """Hand packs to the workers that have few."""
        for worker in self._workers:
            has = sum(worker is other for _, other in self._given.values())
            while has <= _AHEAD and self._waiting:
                number = self._waiting.popleft()
                self._given[worker.measured.remote(self._packs[number], self._asked)] = (number, worker)
                has += 1

    def _lose(self, number: int, worker: Any, error: Exception) -> None:
        """A worker is gone: its pack goes first to another, and a new worker is asked for."""
        if number >= 0:
            self.lost[number] += 1
            self._waiting.appendleft(number)
        else:
            self._unborn += 1
        if max(self.lost.values()) >= _ATTEMPTS or self._unborn >= _ATTEMPTS * (1 + len(self._starting)):
            what = "A pack of prompts has lost" if number >= 0 else "No worker comes to hold its model; lost were"
            raise EqlinError(f"{what} {_ATTEMPTS} workers or more: {_last_line(error)}") from error
        if number < 0 or any(worker is other for other in self._workers):
            self._ray.kill(worker)  # one that only cannot be reached would keep its room
            self._workers = [other for other in self._workers if other is not worker]
            self._start()


def _ray(address: str) -> Any:
    try:
        import ray  # noqa: PLC0415 - optional, and slow to import
    except ImportError as error:
        raise EqlinError("Ray is not installed: pip install eqlin[study].") from error
    if not ray.is_initialized():
        try:
            ray.init(address=None if address == "local" else address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise EqlinError(
                f"The Ray cluster {arguments.short(address)} cannot be reached: {_last_line(error)}"
            ) from error
    return ray


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return arguments.short(lines[-1] if lines else type(error).__name__, 200)
