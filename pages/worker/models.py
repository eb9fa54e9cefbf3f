"""The models that are loaded, with the linear maps that were made of each: as many as there is room for."""

from __future__ import annotations

import gc
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core import LanguageModel, LinearMap, Plan
    from eqlin_core.models.weights import WeightsCheck
    from pages.worker.worker import Reporter

# Of the memory that is there, what stays free for the work on a model when a second one is loaded beside it.
FREE_SHARE = 0.25
# Maps that are kept, with their matrices, and the bytes that they may take; the newest always stays.
MOST_MAPS, MAP_BYTES = 64, 1 << 30


@dataclass
class KeptMap:
    """A map, the plan of its run, and its ``positions``: the maps of others that share its recording."""

    lin: LinearMap
    plan: Plan
    positions: list[LinearMap] = field(default_factory=list)
    position_bytes: int = 0  # of their contributions

    @property
    def nbytes(self) -> int:
        """What the recorded network, the matrix and the contributions of other positions take in memory."""
        return _bytes_of(self.plan) + self.position_bytes


@dataclass
class Loaded:
    """A model, its maps by request, the newest last, and what work keeps beside it."""

    model: LanguageModel
    check: WeightsCheck | None = None  # of its weights on the disk, once it was begun
    maps: OrderedDict[Request, KeptMap] = field(default_factory=OrderedDict)
    beside: dict[str, OrderedDict[Any, Any]] = field(default_factory=dict)
    nbytes: int = 0  # of its weights
    device: str = ""
    since: float = field(default_factory=time.time)


@dataclass(frozen=True)
class InMemory:
    """A model that is loaded, for people: ``nbytes`` of its weights, and how many ``maps`` are kept of it."""

    name: str
    dtype: str
    device: str
    nbytes: int
    maps: int
    since: float  # seconds since 1970


@dataclass(frozen=True)
class Room:
    """The bytes that are ``free`` where models live, and those of the models there, which go for another one."""

    free: int
    loaded: int
    where: str

    @property
    def bytes(self) -> int:
        """What one model may take."""
        return self.free + self.loaded


class Models:
    """The models by name and precision, the least recently used first: these go when there is no room for another."""

    def __init__(self) -> None:
        self.loaded: OrderedDict[tuple[str, str], Loaded] = OrderedDict()
        self._went: set[tuple[str, str]] = set()

    def find(self, request: Request) -> LanguageModel | None:
        """The request's model where it is loaded."""
        key = _key(request)
        if key not in self.loaded:
            return None
        self.loaded.move_to_end(key)
        return self.loaded[key].model

    def load(self, request: Request, progress: Reporter) -> LanguageModel:
        """Load the request's model, and let others go if it does not fit beside them. Raises EqlinError."""
        from eqlin_core import load_model  # noqa: PLC0415 - torch stays off the script thread
        from eqlin_core.models.checkpoints import NoRoomError  # noqa: PLC0415

        again = " again: another model had taken its place" if _key(request) in self._went else ""
        progress(None, f"Loading {request.model}{again}")
        while True:
            try:
                model = load_model(request.model, dtype=request.dtype, progress=progress)
                break
            except NoRoomError:  # a name that leads nowhere costs nobody the model that is loaded
                if not self._let_oldest_go():
                    raise
        self._went.discard(_key(request))
        self.loaded[_key(request)] = Loaded(model, nbytes=_weight_bytes(model), device=str(model.device))
        self._leave_room(model)
        # A model is some hundred thousand objects, which every full collection would walk through, at any moment.
        gc.collect()
        gc.freeze()
        return model

    def map_of(self, request: Request) -> KeptMap | None:
        """The request's map where it is kept."""
        maps = self.loaded[_key(request)].maps
        if request in maps:
            maps.move_to_end(request)
        return maps.get(request)

    def make_room_for(self, plan: Plan) -> None:
        """Let the oldest maps go that a run of this plan leaves no room for."""
        self._make_room(_bytes_of(plan), MOST_MAPS - 1)

    def _make_room(self, needed: int, most: int, but: Request | None = None) -> None:
        """Let the oldest maps go until ``most`` are left, and room for so many bytes more; ``but`` this one."""
        gone = 0
        every = [(maps.maps, request) for maps in self.loaded.values() for request in maps.maps]
        total = needed + sum(maps[request].nbytes for maps, request in every)
        left = len(every)
        for maps, request in every:
            if total <= MAP_BYTES and left <= most:
                break
            if request == but:
                continue
            size = maps.pop(request).nbytes
            gone, total, left = gone + size, total - size, left - 1
        if gone:
            gc.collect()  # a recorded network refers to itself

    def keep_map(self, request: Request, lin: LinearMap, plan: Plan) -> KeptMap:
        """Keep the map that was made for the request; its model may have gone meanwhile."""
        made = KeptMap(lin, plan)
        if _key(request) in self.loaded:
            self.loaded[_key(request)].maps[request] = made
        return made

    def positions(self, request: Request, lin: LinearMap, positions: Sequence[int], nbytes: int) -> list[LinearMap]:
        """The maps of these positions, whose contributions take so much, of the request's map ``lin``; kept beside it.

        They go with it. Always the same positions of one request.
        """
        loaded = self.loaded.get(_key(request))
        kept = None if loaded is None else loaded.maps.get(request)
        if kept is None or kept.lin is not lin:  # it has gone meanwhile
            return lin.positions(positions)
        if not kept.positions:
            self._make_room(nbytes, MOST_MAPS, but=request)
            kept.positions, kept.position_bytes = lin.positions(positions), nbytes
        return kept.positions

    def kept(self, request: Request, name: str) -> OrderedDict[Any, Any]:
        """What work keeps beside the request's model under this name; goes with the model."""
        loaded = self.loaded.get(_key(request))
        return OrderedDict() if loaded is None else loaded.beside.setdefault(name, OrderedDict())

    def begin_check(self, request: Request) -> None:
        """Compare the weights on the disk with their checksums, in the background, unless that was begun."""
        from eqlin_core.models.weights import WeightsCheck, folder_of  # noqa: PLC0415

        loaded = self.loaded.get(_key(request))
        if loaded is not None and loaded.check is None:
            loaded.check = WeightsCheck(folder_of(loaded.model)).start()

    def damage(self, request: Request) -> str:
        """What is wrong with the weights of the request's model on the disk, as far as is known; empty for nothing."""
        loaded = self.loaded.get(_key(request))
        check = loaded.check if loaded is not None else None
        return (check.sentence or "") if check is not None and check.state == "changed" else ""

    def throw_away(self, request: Request) -> None:
        """Let the request's model go, and its damaged files. Raises EqlinError where these are somebody else's."""
        from eqlin_core.models.weights import discard_weights, folder_of  # noqa: PLC0415

        loaded = self.loaded.get(_key(request))
        folder = None if loaded is None else folder_of(loaded.model)
        if folder is not None:
            discard_weights(folder)
            self.loaded.move_to_end(_key(request), last=False)
            self._let_oldest_go()
            self._went.discard(_key(request))

    def in_memory(self) -> list[InMemory]:
        """What is loaded, the last used first; for any thread."""
        return [
            InMemory(*key, loaded.device, loaded.nbytes, len(loaded.maps), loaded.since)
            for key, loaded in reversed(list(self.loaded.items()))
        ]

    def room(self) -> Room:
        """The memory of the device of the model used last, of main memory while none was loaded; for any thread."""
        import psutil  # noqa: PLC0415

        found = self.in_memory()
        if not found or not found[0].device.startswith("cuda"):
            return Room(psutil.virtual_memory().available, sum(model.nbytes for model in found), "in main memory")
        import torch  # noqa: PLC0415 - a model is loaded, and so is torch

        from eqlin_core.resources.budget import free_bytes  # noqa: PLC0415

        device = found[0].device
        there = sum(model.nbytes for model in found if model.device == device)
        try:
            free = free_bytes(torch.device(device))
        except RuntimeError:  # it has failed, as the jobs say
            free = there = 0
        return Room(free, there, f"on {device}")

    def reads_from(self, folder: Path) -> bool:
        """Whether a loaded model was read from files in this folder."""
        from eqlin_core.models.weights import folder_of  # noqa: PLC0415

        places = [folder_of(loaded.model) for loaded in self.loaded.values()]
        return any(place is not None and place.resolve().is_relative_to(folder.resolve()) for place in places)

    def let_go(self, name: str) -> None:
        """The model of this name is not loaded after this, in any precision."""
        for key in [key for key in self.loaded if key[0] == name]:
            self.loaded.move_to_end(key, last=False)
            self._let_oldest_go()
            self._went.discard(key)

    def let_all_go(self) -> None:
        """Nothing is loaded after this."""
        while self._let_oldest_go():
            pass

    def _leave_room(self, model: LanguageModel) -> None:
        """Keep older models only while there is memory for work on the new one."""
        import psutil  # noqa: PLC0415
        import torch  # noqa: PLC0415

        from eqlin_core.resources.budget import free_bytes  # noqa: PLC0415

        cuda = model.device.type == "cuda"
        total = torch.cuda.mem_get_info(model.device)[1] if cuda else psutil.virtual_memory().total
        while len(self.loaded) > 1 and free_bytes(model.device) < FREE_SHARE * total:
            self._let_oldest_go()

    def _let_oldest_go(self) -> bool:
        """Let the model go that was not used for longest, with all that was made of it. False where there is none."""
        if not self.loaded:
            return False
        key, gone = self.loaded.popitem(last=False)
        self._went.add(key)
        if gone.check is not None:
            gone.check.stop()
        cuda = gone.model.device.type == "cuda"
        del gone
        gc.unfreeze()
        gc.collect()  # a recorded network refers to itself
        if cuda:
            import torch  # noqa: PLC0415

            torch.cuda.empty_cache()
        return True


def _bytes_of(plan: Plan) -> int:
    """What the recorded network and the matrix of a run take in memory."""
    return plan.recorded_bytes + (0 if plan.place == "scratch file" else plan.matrix_bytes)


def _weight_bytes(model: LanguageModel) -> int:
    return sum(tensor.nbytes for tensor in (*model.model.parameters(), *model.model.buffers()))


def _key(request: Request) -> tuple[str, str]:
    return request.model, request.dtype
