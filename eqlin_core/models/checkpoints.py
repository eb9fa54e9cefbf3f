"""Reading a model from a folder or a GGUF file, after everything that can be known beforehand was checked.

The architecture, the files, their headers and the memory they take are checked before a byte of the weights is read.
Only safetensors and GGUF are read, and no code that comes with a model is run.
"""

import contextlib
import hashlib
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from eqlin_core.arguments import short
from eqlin_core.disk import read_file
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.models import four_bit
from eqlin_core.models.files import (
    MOST_TEXT,
    DamagedModelError,
    configuration_file,
    listed,
    needed_bytes,
    parameters_in,
    size_text,
    weight_files,
)
from eqlin_core.progress import Progress, report

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
else:  # importing these takes seconds, and names that exist only for a type checker break run-time checks of shapes
    PreTrainedConfig = PreTrainedModel = PreTrainedTokenizerBase = Any

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# Of what others say of an error, in a sentence of ours.
_LONGEST_LINE = 200


class NoRoomError(EqlinError):
    """The model needs more memory than is free; without another model it may fit."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for: a model's name, its precision, and where it shall live."""

    name: str
    dtype: torch.dtype
    device: torch.device
    four_bit: bool = False
    spread: Mapping[str, Any] = field(default_factory=dict)  # accelerate's device_map and what belongs to it
    found: Callable[[], None] = lambda: None  # called when the files are there, before memory is looked at


def from_directory(
    directory: Path, wanted: Wanted, progress: Progress | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """The model and, where there is one, the tokenizer of a folder. Raises EqlinError with one sentence."""
    report(progress, None, f"Checking {wanted.name}")
    config = _config(directory, wanted.name)
    parameters = sum(parameters_in(file) for file in weight_files(directory, wanted.name))
    quantise: dict[str, Any] = {}
    wanted.found()
    if getattr(config, "quantization_config", None) is None:
        if not wanted.spread:
            require_memory(parameters, wanted)
        quantise = four_bit.reading_options(wanted.device) if wanted.four_bit else {}
    report(progress, None, f"Reading the weights of {wanted.name}")
    model = read_model(directory, wanted, config=config, use_safetensors=True, **quantise)
    tokenizer = read_tokenizer(directory, wanted.name)
    report(progress, 1.0, f"{wanted.name} is ready")
    return model, tokenizer


def fingerprint(path: Path) -> str:
    """Changes when the weights do: config, and name, size and time of every weights file, without reading those."""
    digest = hashlib.sha256()
    if path.is_dir():
        digest.update((path / "config.json").read_bytes())
    for file in weight_files(path, path.name) if path.is_dir() else [path]:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _config(directory: Path, name: str) -> PreTrainedConfig:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, __version__  # noqa: PLC0415

    file = configuration_file(directory)
    try:
        raw = json.loads(read_file(file, "The configuration", MOST_TEXT))
        kind, architectures = raw.get("model_type"), raw.get("architectures") or []
        if not all(isinstance(word, str) for word in (kind or "", *architectures)):
            raise TypeError("names")
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedModelError(f"{file} is damaged: fetch the model again.") from error
    if kind not in CONFIG_MAPPING:
        if "auto_map" in raw:
            raise EqlinError(f"{name} needs program code of its own, which eqlin never runs: choose another model.")
        raise EqlinError(
            f"transformers {__version__} does not know {name}'s type {kind!r}: update it, or choose another."
        )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise DamagedModelError(f"{file} cannot be used: fetch the model again ({_first_line(error)}).") from error
    # "Model" is a bare network, which tied embeddings can complete; what they do not is found missing on reading.
    decoder = not architectures or re.search(r"(CausalLM|LMHead|ConditionalGeneration|Model)$", architectures[0])
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder or not decoder:
        what = architectures[0] if architectures else kind
        raise EqlinError(f"{name} is no causal language model ({what}): choose a decoder such as Llama, Qwen or Gemma.")
    return config


def read_model(directory: Path, wanted: Wanted, **options: Any) -> PreTrainedModel:
    """The weights, read into their model with these options of ``from_pretrained``. Raises EqlinError."""
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    if wanted.device.type != "cpu":
        options["device_map"] = {"": wanted.device}
    options |= {**wanted.spread, "dtype": wanted.dtype, "local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            model, loading_info = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True, **options)
    except EqlinError:
        raise
    except Exception as error:
        text = _first_line(error)
        if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
            raise EqlinError(
                f"The memory ran out while reading {wanted.name}: choose a smaller dtype or model."
            ) from error
        if "afetensor" in type(error).__name__:
            raise DamagedModelError(f"The weights of {wanted.name} are damaged: fetch the model again.") from error
        raise EqlinError(
            f"{wanted.name} could not be loaded: check that it is complete and usable here ({text})."
        ) from error
    if absent := sorted(loading_info["missing_keys"]):
        raise EqlinError(
            f"The weights of {wanted.name} lack {listed(absent[:3])} ({len(absent)} in all): choose a complete model."
        )
    return model


def read_tokenizer(directory: Path, name: str, **options: str) -> PreTrainedTokenizerBase | None:
    """The tokenizer that lies in a folder; None where none does. Raises DamagedModelError for one that is broken."""
    from transformers import AutoTokenizer  # noqa: PLC0415

    # Without vocabulary files transformers may make up an empty tokenizer.
    patterns = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
    if not options and not any(any(directory.glob(pattern)) for pattern in patterns):
        return None
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:
        raise DamagedModelError(
            f"The tokenizer of {name} cannot be read: fetch it again, or load without one ({_first_line(error)})."
        ) from error


def require_memory(parameters: int, wanted: Wanted, beside: int = 0) -> None:
    """Raise EqlinError, with what would fit, for more weights than the memory holds with ``beside`` bytes for each."""
    if wanted.device.type == "cuda":
        cached = torch.cuda.memory_reserved(wanted.device) - torch.cuda.memory_allocated(wanted.device)
        free, where = float(torch.cuda.mem_get_info(wanted.device)[0] + cached), f"on {wanted.device}"
    else:
        free, where = float(psutil.virtual_memory().available), "in memory"

    def needed(dtype: torch.dtype) -> float:
        return needed_bytes(parameters, dtype.itemsize + beside)

    if wanted.four_bit and parameters * four_bit.BYTES_PER_WEIGHT > free:
        takes, room = size_text(parameters * four_bit.BYTES_PER_WEIGHT), size_text(free)
        raise NoRoomError(f"{wanted.name} takes {takes} in 4 bits; {room} is free {where}: choose a smaller model.")
    if not wanted.four_bit and needed(wanted.dtype) > free:
        fitting = [f"{name} ({size_text(needed(dtype))})" for name, dtype in DTYPES.items() if needed(dtype) <= free]
        takes, asked = size_text(needed(wanted.dtype)), dtype_name(wanted.dtype)
        way_out = f"choose {fitting[0]}" if fitting else "choose a smaller model or a larger machine"
        raise NoRoomError(f"{wanted.name} takes {takes} in {asked}; {size_text(free)} is free {where}: {way_out}.")


def _first_line(error: BaseException) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return short(line, _LONGEST_LINE)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within the context transformers prints nothing: no warning, no bar."""
    from transformers.utils import logging  # noqa: PLC0415

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
