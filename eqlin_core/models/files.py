"""What the files of a model say before its weights are read: which they are, how many weights, how much memory."""

from __future__ import annotations

import json
import math
import operator
import struct
from pathlib import Path
from typing import Any

from eqlin_core.disk import read_file
from eqlin_core.errors import EqlinError

# What the computation needs beside the weights before anything is measured: buffers, activations of one prompt.
MEMORY_MARGIN = 1.05
# Bytes of a weight in each precision.
WEIGHT_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
# Bytes of a configuration, of an index and of a header; no model has as many.
MOST_TEXT = 100 << 20


class DamagedModelError(EqlinError):
    """The model's files cannot be read; fetching them again mends it."""


def configuration_file(directory: Path) -> Path:
    """The config.json of a folder's model. Raises EqlinError where there is none."""
    file = directory / "config.json"
    if not file.is_file():
        raise EqlinError(f"{directory} has no config.json: choose a folder as save_pretrained writes it.")
    return file


def weight_files(directory: Path, name: str) -> list[Path]:
    """The safetensors files of a folder's model. Raises EqlinError where there are none, or some are missing."""
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            named = json.loads(read_file(index, "The index", MOST_TEXT))["weight_map"].values()
            files = [directory / file for file in sorted(set(named))]
            if not files or any(file.parent != directory for file in files):
                raise ValueError("files of other folders")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DamagedModelError(f"{index} is damaged: fetch the model again.") from error
        if missing := [file.name for file in files if not file.is_file()]:
            raise DamagedModelError(f"{name} lacks {listed(missing)}: fetch the model again.")
        return files
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt*")):
        raise EqlinError(
            f"{name} has only pickled weights, which can hide programs: save it as safetensors and load that."
        )
    raise EqlinError(
        f"{name} has no weights: a model.safetensors, or its parts with their index, must lie in {directory}."
    )


def parameters_in(file: Path) -> int:
    """The number of weights in a safetensors file, whose header must agree with its size."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > min(file.stat().st_size, MOST_TEXT):
                raise ValueError("the header is longer than the file, or than any")
            tensors = json.loads(opened.read(length))
        tensors.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        if 8 + length + end != file.stat().st_size:
            raise ValueError("the file ends before its data")
        return sum(math.prod(map(operator.index, tensor["shape"])) for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, struct.error) as error:
        raise DamagedModelError(f"{file} is damaged or cut short: fetch the model again.") from error


def needed_bytes(parameters: float | int, bytes_per_weight: float | int) -> float:
    """The memory that so many weights take, with the least that the computation needs beside them."""
    return parameters * bytes_per_weight * MEMORY_MARGIN


def size_text(size: float | int) -> str:
    """So many bytes in MB or GB, as people read it."""
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def listed(words: Any) -> str:
    """The words with commas between them."""
    return ", ".join(str(word) for word in words)
