"""Loading a language model by name: the bundled default, a preset, a folder, a GGUF file or one of the hub."""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from eqlin_core import arguments
from eqlin_core.cache import cache_directory
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.models import bundled, four_bit
from eqlin_core.models.checkpoints import DTYPES, Wanted, fingerprint, from_directory
from eqlin_core.models.files import DamagedModelError, listed
from eqlin_core.models.gguf import from_gguf
from eqlin_core.models.hub import hub_directory
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.names import hint, hub_id_of, local
from eqlin_core.progress import Progress, shown

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
else:  # importing these takes seconds, and names that exist only for a type checker break run-time checks of shapes
    PreTrainedModel = PreTrainedTokenizerBase = Any


# The ways in which accelerate spreads a model by itself.
_SPREADS = ("auto", "balanced", "balanced_low_0", "sequential")


def load_model(
    name: str | Path = bundled.NAME,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "auto",
    *,
    revision: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    progress: Progress | bool | None = None,
    found: Callable[[], None] | None = None,
) -> LanguageModel:
    """The model of this name: the bundled default, a preset, a folder, a .gguf file or a hub id (with a `revision`).

    `dtype` is "float64", "float32", "bfloat16", "float16", or "4bit": weights in NF4 and float32 for everything else.
    A model bigger than one device: `device_map="auto"` (or a map of accelerate's) spreads it over the devices, main
    memory and the disk, within `max_memory` for each, as {0: "20GiB", "cpu": "60GiB"}.
    `progress(fraction, message)` is called all along (fraction None: unknown); it cancels by raising, or by False.
    `progress=True` draws a bar.
    `found()` is called when the model's files are there and can be read, before the memory for it is looked at: the
    moment to let go of another model.
    Raises EqlinError with one sentence that says what to do; too little memory is found before the weights are read.
    """
    if not isinstance(name, str):
        name = arguments.path("name", name)
    if revision is not None:
        arguments.text("revision", revision)
    arguments.called("progress", progress, shows=True)
    arguments.called("found", found)
    spread = _spread(device_map, max_memory)
    torch_dtype = _dtype(dtype)
    in_four_bit = str(dtype) == four_bit.NAME
    where = _device(device, torch_dtype, in_four_bit=in_four_bit)
    wanted = Wanted(str(name), torch_dtype, where, in_four_bit, spread, found or (lambda: None))
    with shown(progress) as told:
        return _load(wanted, revision, told)


def fetch_model(name: str, progress: Progress | None = None) -> None:
    """Download the model of this name, so that the next load finds it here; nothing is loaded, nothing has to fit.

    Whole files that a fetch which broke off or was cancelled has left are not fetched again. Raises EqlinError.
    """
    if name == bundled.NAME:
        bundled.bundled_directory(progress)
    elif local(name) is not None:
        raise EqlinError(f"{arguments.short(name, 200)} lies on this machine: there is nothing to fetch.")
    else:
        wanted = Wanted(name, torch.float32, torch.device("cpu"))
        hub_directory(hub_id_of(name), wanted, None, hint(name), progress, to_load=False)


def _load(wanted: Wanted, revision: str | None, progress: Progress | None) -> LanguageModel:
    bits = f"-{four_bit.NAME}" if wanted.four_bit else ""
    path = None if wanted.name == bundled.NAME else local(wanted.name)
    if revision is not None and (path or wanted.name == bundled.NAME):
        raise EqlinError(f"{wanted.name} has no revisions, only models of the hub have: leave revision out.")
    try:
        if wanted.name == bundled.NAME:
            return LanguageModel.wrap(*_from_bundled(wanted, progress), wanted.name, bundled.REVISION + bits)
        if path and path.is_dir():
            return LanguageModel.wrap(*from_directory(path, wanted, progress), wanted.name, fingerprint(path) + bits)
        if path:
            return LanguageModel.wrap(*from_gguf(path, wanted, progress), wanted.name, fingerprint(path))
        path, commit = hub_directory(hub_id_of(wanted.name), wanted, revision, hint(wanted.name), progress)
        return LanguageModel.wrap(*from_directory(path, wanted, progress), wanted.name, commit + bits)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EqlinError(f"The disk is full: free some space and load {wanted.name} again.") from error
        raise EqlinError(f"{wanted.name} cannot be read: check its files ({error.strerror or error}).") from error


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if not isinstance(dtype, str | torch.dtype):
        arguments.wrong_type("dtype", dtype, f"one of {listed([*DTYPES, four_bit.NAME])}")
    if dtype == four_bit.NAME:
        four_bit.require_bitsandbytes()
        return four_bit.DTYPE
    torch_dtype = DTYPES.get(str(dtype).removeprefix("torch."))
    if torch_dtype is None:
        raise InvalidValue(
            f"{arguments.shown(str(dtype))} is no dtype for a model: choose {listed([*DTYPES, four_bit.NAME])}."
        )
    return torch_dtype


def _device(device: str | torch.device, dtype: torch.dtype, *, in_four_bit: bool = False) -> torch.device:
    if not isinstance(device, str | torch.device):
        arguments.wrong_type("device", device, "the name of a device or a torch.device")
    mps = torch.backends.mps.is_available()
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        # Apple's GPUs have no float64, and bitsandbytes no kernels for them.
        return torch.device("mps" if mps and dtype != torch.float64 and not in_four_bit else "cpu")
    here = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if mps else [])]
    here += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if str(device) not in here:
        raise InvalidValue(
            f"This machine has no device {arguments.shown(str(device))}: choose {listed(['auto', *here])}."
        )
    if str(device) == "mps" and dtype == torch.float64:
        raise EqlinError('The device "mps" has no float64: choose float32, or device="cpu".')
    return torch.device(device)


def _spread(device_map: Any, max_memory: Mapping[int | str, int | str] | None) -> dict[str, Any]:
    """What transformers is told of a model that lives in several places; nothing for one that lives in one."""
    if device_map is None:
        if max_memory is not None:
            raise EqlinError('max_memory says what each device may hold: give device_map="auto" with it.')
        return {}
    if isinstance(device_map, str):
        arguments.choice("device_map", device_map, _SPREADS)
    elif not isinstance(device_map, Mapping) or not all(
        isinstance(key, str) and (isinstance(place, str | torch.device) or arguments.as_whole(place) is not None)
        for key, place in device_map.items()
    ):
        arguments.wrong_type(
            "device_map", device_map, f"one of {listed(_SPREADS)}, or a device by the name of a module"
        )
    if max_memory is not None and (
        not isinstance(max_memory, Mapping)
        or not all(
            isinstance(part, str) or (arguments.as_whole(part) or -1) >= 0
            for pair in max_memory.items()
            for part in pair
        )
    ):
        arguments.wrong_type("max_memory", max_memory, 'bytes or texts such as "20GiB" by device')
    folder = cache_directory() / "offload"
    folder.mkdir(parents=True, exist_ok=True)
    return {"device_map": device_map, "max_memory": max_memory and dict(max_memory), "offload_folder": str(folder)}


def _from_bundled(wanted: Wanted, progress: Progress | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    try:
        return from_directory(bundled.bundled_directory(progress), wanted, progress)
    except DamagedModelError:
        bundled.discard_bundled()
        return from_directory(bundled.bundled_directory(progress), wanted, progress)
