"""What is known of each model without loading it: weights, licence, memory by precision, and where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eqlin_core.models import presets
from eqlin_core.models.files import WEIGHT_BYTES, needed_bytes
from eqlin_core.models.names import hub_id_of, local
from eqlin_core.models.on_disk import on_disk, parameters_of
from eqlin_core.models.presets import PRESETS
from pages.worker.request import DEFAULT_MODEL, PRECISIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eqlin_core.models.on_disk import Copy

UNKNOWN = "see its card"


@dataclass(frozen=True)
class Entry:
    """One model; ``parameters`` None where nothing here says how many, ``copy`` what lies of it in a cache."""

    name: str
    hub_id: str  # empty for what is not of the hub
    parameters: float | None
    licence: str
    gated: bool
    copy: Copy | None
    is_local: bool = False

    @property
    def is_here(self) -> bool:
        """Whether it can be loaded without fetching anything."""
        return self.is_local or (self.copy is not None and self.copy.whole)

    def needed(self, dtype: str) -> float | None:
        """The memory that it takes in a precision; None where that is not known."""
        return None if self.parameters is None else needed_bytes(self.parameters, WEIGHT_BYTES[dtype])

    def fitting(self, room: int) -> list[str] | None:
        """The precisions in which it fits into so many bytes; None where that is not known."""
        needed = {dtype: self.needed(dtype) for dtype in PRECISIONS}
        if self.parameters is None:
            return None
        return [dtype for dtype, size in needed.items() if size is not None and size <= room]


def entries(names: Sequence[str] | None) -> list[Entry]:
    """The models of these names; of None the default, the presets, and what else lies in the caches."""
    copies = on_disk()
    wanted = names if names is not None else dict.fromkeys([DEFAULT_MODEL, *PRESETS, *copies])
    return [_entry(name, copies) for name in wanted]


def entry(name: str) -> Entry:
    """The model of this name, whatever it is."""
    return _entry(name, on_disk())


def _entry(name: str, copies: dict[str, Copy]) -> Entry:
    if name == DEFAULT_MODEL:
        return Entry(name, "", presets.DEFAULT_PARAMETERS, presets.DEFAULT_LICENCE, gated=False, copy=copies.get(name))
    preset = next((preset for known, preset in PRESETS.items() if name in (known, preset.hub_id)), None)
    path = None if preset else local(name)
    if path is not None:
        return Entry(name, "", parameters_of(path), UNKNOWN, gated=False, copy=None, is_local=True)
    known = {hub_id_of(there): copy for there, copy in copies.items()}
    copy = known.get(hub_id_of(name))
    counted = None if copy is None else copy.parameters
    return Entry(
        name,
        hub_id_of(name),
        counted or (preset.parameters if preset else None),
        preset.licence if preset else UNKNOWN,
        gated=preset is not None and preset.gated,
        copy=copy,
    )
