"""Lenses in files: safetensors with a readable header, and the published layout, which is read but not written.

The published layout (anthropics/jacobian-lens) is a file of torch: a dictionary with "J", the matrices by layer,
"n_prompts", "source_layers" and "d_model". It names neither the model nor the kind of the derivative.
"""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.disk import read_file
from eqlin_core.errors import EqlinError
from eqlin_core.lenses.lens import UNRECORDED, Lens
from eqlin_core.models.language_model import LanguageModel, checked_model

FORMAT, VERSION = "eqlin lens", "1"
# Of the header, beside the format and the version: plain facts of a Lens, and what each of them is.
_FACTS: dict[str, type] = {
    "kind": str,
    "positions": str,
    "skip": int,
    "layers": list,
    "blocks": int,
    "prompts": int,
    "source_positions": int,
    "left_out": int,
    "prompt_digests": list,
    "model": str,
    "revision": str,
    "dtype": str,
    "engine": str,
    "stored": str,
}
# A file of torch is a zip archive, or in its old form a pickle.
_OF_TORCH = (b"PK", b"\x80")


def load_lens(path: str | Path, lm: LanguageModel | None = None) -> Lens:
    """The lens in a file that ``Lens.save`` wrote, or in one of the published layout; with ``lm``, it has to fit it.

    A file of the published layout is read without running code that it may hold. It says neither which model nor which
    kind of derivative it is of: those read "" and "unrecorded". Raises EqlinError for a file that is missing, damaged,
    of another version or something else, and for a lens of another model.
    """
    place = arguments.path("path", path)
    if lm is not None:
        checked_model(lm)
    try:
        data = read_file(place, "The lens")
    except OSError as error:
        shown = arguments.short(str(place), 200)
        raise EqlinError(f"The lens {shown} cannot be read: {error.strerror or error}.") from error
    name = arguments.short(place.name)
    published = data.startswith(_OF_TORCH) and data[8:9] != b"{"
    lens = _published(data, name) if published else _own(data, name)
    if not bool(lens.matrices.isfinite().all()):
        raise EqlinError(f"{name} holds values that are not finite: save the lens again, in float32.")
    if lm is not None:
        lens.require_fit(lm)
    return lens


def lens_bytes(lens: Lens, dtype: str) -> bytes:
    """What ``Lens.save`` writes."""
    from safetensors.torch import save  # noqa: PLC0415

    matrices = lens.matrices.cpu().contiguous()
    if dtype == "float16":
        matrices = matrices.half()
        if not bool(matrices.isfinite().all()):
            raise EqlinError("The lens has numbers that float16 does not reach: save it in float32.")
    arrays = {"matrices": matrices, "changes": lens.changes.cpu().contiguous()}
    if lens.squares is not None:
        arrays["squares"] = lens.squares.cpu().contiguous()
    stored = "float16" if dtype == "float16" else lens.stored
    facts = {name: getattr(lens, name) for name in _FACTS} | {"stored": stored}
    return save(arrays, metadata={"format": FORMAT, "version": VERSION, "lens": json.dumps(facts)})


def _own(data: bytes, name: str) -> Lens:
    from safetensors import SafetensorError  # noqa: PLC0415
    from safetensors.torch import load  # noqa: PLC0415

    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__", {})
        found, version = header.get("format"), header.get("version")
    except (SafetensorError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise EqlinError(f"{name} is damaged or no safetensors file: save the lens again.") from error
    if found != FORMAT:
        raise EqlinError(f"{name} holds no lens: choose a file that a lens was saved to.")
    if version != VERSION:
        raise EqlinError(
            f"{name} is of version {arguments.shown(version)} of the format and this eqlin reads {VERSION}: fit the "
            "lens again, or read it with the eqlin that wrote it."
        )
    for wanted in ("matrices", "changes"):
        if wanted not in arrays:
            raise EqlinError(f"{name} has no tensor {wanted!r}, so it is damaged: save the lens again.")
    try:
        facts = json.loads(header["lens"])
        lens = Lens(
            **{fact: _checked(facts[fact], kind) for fact, kind in _FACTS.items() if fact != "prompt_digests"},
            prompt_digests=tuple(_checked(facts["prompt_digests"], list)),
            matrices=arrays["matrices"].float(),
            squares=arrays.get("squares"),
            changes=arrays["changes"],
        )
        _check(lens)
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise EqlinError(f"The header of {name} and its arrays do not agree: save the lens again.") from error
    return lens


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(kind)
    return value


def _check(lens: Lens) -> None:
    """Raise ValueError or TypeError where the parts of a lens contradict each other."""
    _check_matrices(lens.matrices, lens.layers)
    n = len(lens.layers)
    if lens.changes.dim() != 2 or lens.changes.shape[1] != n or lens.changes.dtype != torch.float64:
        raise ValueError("changes")
    if lens.squares is not None and (lens.squares.shape != (n,) or lens.squares.dtype != torch.float64):
        raise ValueError("squares")
    if not all(bool(t.isfinite().all()) for t in (lens.changes, lens.squares) if t is not None):
        raise ValueError("numbers")
    if not all(type(digest) is str for digest in lens.prompt_digests):
        raise TypeError("digests")
    if min(lens.prompts, lens.blocks + 1) < 1 or min(lens.skip, lens.source_positions, lens.left_out) < 0:
        raise ValueError("counts")


def _check_matrices(matrices: Tensor, layers: list[int]) -> None:
    if matrices.dim() != 3 or matrices.shape[1] != matrices.shape[2] or not 0 < len(layers) == len(matrices):
        raise ValueError("shapes")
    if not all(type(layer) is int for layer in layers) or min(layers) < 0 or sorted(set(layers)) != layers:
        raise ValueError("layers")


def _published(data: bytes, name: str) -> Lens:
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise EqlinError(
            f"{name} holds more than numbers, or is damaged, and is not read because code in it could run: choose a "
            "lens in safetensors, or in the published layout."
        ) from error
    except Exception as error:  # torch's reader raises whatever a damaged archive leads it to
        raise EqlinError(f"{name} is damaged or no file of torch: fetch the lens again.") from error
    if not isinstance(found, dict) or not isinstance(found.get("J"), dict) or not found["J"]:
        raise EqlinError(f"{name} is no lens of the published layout, a dictionary with the matrices by layer in 'J'.")
    try:
        layers = sorted(_checked(layer, int) for layer in found["J"])
        parts = [found["J"][layer] for layer in layers]
        if not all(isinstance(part, Tensor) and part.is_floating_point() and part.dim() == 2 for part in parts):
            raise TypeError("matrices")
        matrices, prompts = torch.stack([part.float() for part in parts]), _checked(found["n_prompts"], int)
        _check_matrices(matrices, layers)
        if prompts < 1 or found.get("d_model", matrices.shape[1]) != matrices.shape[1]:
            raise ValueError("counts")
        if sorted(found.get("source_layers", layers)) != layers:
            raise ValueError("source layers")
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise EqlinError(f"The matrices of {name} and what it says of them do not agree: fetch it again.") from error
    return Lens(
        kind=UNRECORDED,
        positions=UNRECORDED,
        skip=0,
        layers=layers,
        blocks=0,
        matrices=matrices,
        squares=None,
        changes=torch.zeros(0, len(layers), dtype=torch.float64),
        prompts=prompts,
        source_positions=0,
        left_out=0,
        prompt_digests=(),
        model="",
        revision="",
        dtype=UNRECORDED,
        engine=UNRECORDED,
        stored="float16" if parts[0].dtype == torch.float16 else "float32",
    )
