"""Loading a causal language model: the bundled default, a preset, a folder, a GGUF file or a Hugging Face hub id.

Everything that can be known beforehand is checked before a byte of the weights is read: the architecture, the files,
their headers, and the memory they take. Only safetensors and GGUF are read, and no code that comes with a model is run.
"""

import codecs
import contextlib
import difflib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import struct
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import bundled
from eqlin_core.bundled import Progress
from eqlin_core.errors import EqlinError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
else:  # importing these takes seconds, and names that exist only for a type checker break run-time checks of shapes
    PreTrainedConfig = PreTrainedModel = PreTrainedTokenizerBase = Any

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Preset:
    """A model on the hub that the dashboard offers by name; `parameters` is approximate, `gated` asks for a login."""

    hub_id: str
    parameters: float
    gated: bool = False


PRESETS = {
    "smollm2-360m": Preset("HuggingFaceTB/SmolLM2-360M-Instruct", 0.36e9),
    "smollm2-1.7b": Preset("HuggingFaceTB/SmolLM2-1.7B-Instruct", 1.7e9),
    "llama-3.2-1b": Preset("meta-llama/Llama-3.2-1B", 1.2e9, gated=True),
    "llama-3.2-3b": Preset("meta-llama/Llama-3.2-3B", 3.2e9, gated=True),
    "llama-3.1-8b": Preset("meta-llama/Llama-3.1-8B", 8.0e9, gated=True),
    "qwen3-0.6b": Preset("Qwen/Qwen3-0.6B", 0.6e9),
    "qwen3-1.7b": Preset("Qwen/Qwen3-1.7B", 1.7e9),
    "qwen3-4b": Preset("Qwen/Qwen3-4B", 4.0e9),
    "qwen3-8b": Preset("Qwen/Qwen3-8B", 8.2e9),
    "qwen3-14b": Preset("Qwen/Qwen3-14B", 14.8e9),
    "gemma-3-1b": Preset("google/gemma-3-1b-pt", 1.0e9, gated=True),
    "gemma-3-4b": Preset("google/gemma-3-4b-pt", 4.3e9, gated=True),
    "phi-4-mini": Preset("microsoft/Phi-4-mini-instruct", 3.8e9),
    "phi-4": Preset("microsoft/phi-4", 14.7e9),
    "ministral-8b": Preset("mistralai/Ministral-8B-Instruct-2410", 8.0e9, gated=True),
    "olmo-2-1b": Preset("allenai/OLMo-2-0425-1B", 1.5e9),
    "olmo-2-7b": Preset("allenai/OLMo-2-1124-7B", 7.3e9),
}

# What the computation needs beside the weights before anything is measured: buffers, activations of one prompt.
MEMORY_MARGIN = 1.05
# A lookup on the hub that takes longer counts as no network; the hub's own retries would take half a minute.
HUB_SECONDS = 12.0
# transformers holds a GGUF file's weights as float32 beside the model while it converts them.
GGUF_STAGE_BYTES = 4

T = TypeVar("T")


class DamagedModelError(EqlinError):
    """The model's files cannot be read; fetching them again mends it."""


@dataclass(eq=False)
class LanguageModel:
    """A causal language model in evaluation mode without gradients, its tokenizer, and what identifies its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    revision: str

    @classmethod
    def wrap(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        revision: str = "unsaved",
    ) -> "LanguageModel":
        """A LanguageModel around a model that is built already, which is switched to evaluation without gradients."""
        model.eval()
        model.requires_grad_(False)
        return cls(model, tokenizer, name or type(model).__name__, revision)

    @property
    def config(self) -> PreTrainedConfig:
        """The model's configuration as transformers keeps it."""
        return self.model.config

    @property
    def text_config(self) -> PreTrainedConfig:
        """The language part of the configuration: the configuration itself unless it nests one for text."""
        return self.model.config.get_text_config()

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the embeddings, in which the residual stream starts."""
        return self.input_embeddings.dtype

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, where token ids have to go."""
        return self.input_embeddings.device

    @property
    def width(self) -> int:
        """d, the width of the residual stream."""
        return int(self.text_config.hidden_size)

    @property
    def n_layers(self) -> int:
        """L, the number of decoder blocks."""
        return int(self.text_config.num_hidden_layers)

    @property
    def vocab_size(self) -> int:
        """The number of rows of the unembedding."""
        return int(self.unembedding.shape[0])

    @property
    def max_positions(self) -> int | None:
        """The longest prompt, in tokens, that the configuration allows; None where it names no limit."""
        limit = getattr(self.text_config, "max_position_embeddings", None)
        return None if limit is None else int(limit)

    @property
    def unembedding(self) -> Float[Tensor, "vocab d"]:
        """W_U, one row for each vocabulary token; logits are W_U y. Raises EqlinError where the model has none."""
        head = self.model.get_output_embeddings()
        if head is None:
            raise EqlinError(f"{self.name} has no unembedding: load it as a causal language model.")
        return head.weight

    @property
    def input_embeddings(self) -> Float[Tensor, "vocab d"]:
        """The embedding matrix, before the factor by which some models scale its rows."""
        return self.model.get_input_embeddings().weight

    def encode(self, prompt: str) -> list[int]:
        """The prompt's token ids, with the special tokens that the model's own tokenizer adds (a BOS, say).

        Raises EqlinError where the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise EqlinError(f"{self.name} has no tokenizer: pass token_ids=[...] in place of a prompt.")
        with _quiet():
            return [int(i) for i in self.tokenizer(prompt)["input_ids"]]

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """The text each token stands for on its own; bytes that are no text read <0xE2>, unknown tokens <17>."""
        if self.tokenizer is None:
            return [f"<{int(i)}>" for i in ids]
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        byte_level = "ByteLevel" in repr(getattr(backend, "decoder", None))
        added = self.tokenizer.added_tokens_decoder
        pieces = self.tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        strings = []
        for i, piece in zip(ids, pieces, strict=True):
            if piece is None:
                strings.append(f"<{int(i)}>")
            elif byte_level:
                strings.append(piece if int(i) in added else _byte_level_text(piece))
            elif match := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):
                strings.append(_text(bytes.fromhex(match[1])))
            else:
                strings.append(piece.replace("▁", " "))
        return strings


def load_model(
    name: str | Path = bundled.NAME,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "auto",
    *,
    revision: str | None = None,
    progress: Progress | None = None,
) -> LanguageModel:
    """The model of this name: the bundled default, a preset, a folder, a .gguf file or a hub id (with a `revision`).

    `progress(fraction, message)` is called all along (fraction None: unknown); it cancels by raising `Cancelled`.
    Raises EqlinError with one sentence that says what to do; too little memory is found before the weights are read.
    """
    report = progress or (lambda _fraction, _message: None)
    name, path = str(name), Path(name).expanduser()
    wanted = _Wanted(name, _dtype(dtype), _device(device, _dtype(dtype)))
    local = name == bundled.NAME or path.is_dir() or path.suffix == ".gguf"
    if local and revision is not None:
        raise EqlinError(f"{name} has no revisions, only models of the hub have: leave revision out.")
    if name != bundled.NAME and (path.is_dir() or path.suffix == ".gguf"):
        loaded = _from_gguf(path, wanted, report) if path.suffix == ".gguf" else _from_directory(path, wanted, report)
        return LanguageModel.wrap(*loaded, name, _fingerprint(path))
    if name != bundled.NAME:
        path, revision = _hub_directory(wanted, revision, report)
        return LanguageModel.wrap(*_from_directory(path, wanted, report), name, revision)
    try:
        loaded = _from_directory(bundled.bundled_directory(report), wanted, report)
    except DamagedModelError:
        bundled.discard_bundled()
        loaded = _from_directory(bundled.bundled_directory(report), wanted, report)
    return LanguageModel.wrap(*loaded, name, bundled.REVISION)


@dataclass(frozen=True)
class _Wanted:
    name: str
    dtype: torch.dtype
    device: torch.device


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise EqlinError(f"{str(dtype)!r} is no dtype for a model: choose {_listed(DTYPES)}.")
    return found


def _device(device: str | torch.device, dtype: torch.dtype) -> torch.device:
    mps = torch.backends.mps.is_available()
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        # Apple's GPUs have no float64.
        return torch.device("mps" if mps and dtype != torch.float64 else "cpu")
    here = ["cpu", *(["cuda"] if torch.cuda.is_available() else []), *(["mps"] if mps else [])]
    here += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if str(device) not in here:
        raise EqlinError(f"This machine has no device {str(device)!r}: choose {_listed(['auto', *here])}.")
    if str(device) == "mps" and dtype == torch.float64:
        raise EqlinError('The device "mps" has no float64: choose float32, or device="cpu".')
    return torch.device(device)


def _from_directory(
    directory: Path, wanted: _Wanted, report: Progress
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    report(None, f"Checking {wanted.name}")
    config = _config(directory, wanted.name)
    parameters = sum(_parameters(file) for file in _weight_files(directory, wanted.name))
    if getattr(config, "quantization_config", None) is None:
        _require_memory(parameters, wanted)
    report(None, f"Reading the weights of {wanted.name}")
    model = _read(directory, wanted, config=config, use_safetensors=True)
    tokenizer = _tokenizer(directory, wanted.name)
    report(1.0, f"{wanted.name} is ready")
    return model, tokenizer


def _from_gguf(path: Path, wanted: _Wanted, report: Progress) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    if not path.is_file():
        raise EqlinError(f"There is no file {path}: check the path.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise EqlinError(f"{path} is not a GGUF file: download it again.")
    with bundled.gguf_reading(lambda fraction: report(fraction, f"Converting {wanted.name}")):
        import gguf  # noqa: PLC0415

        report(None, f"Checking {wanted.name}")
        try:
            parameters = sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(str(path)).tensors)
        except Exception as error:
            raise EqlinError(f"{path} is damaged or cut short: download it again.") from error
        _require_memory(parameters, wanted, GGUF_STAGE_BYTES)
        model = _read(path.parent, wanted, **bundled.gguf_options(path))
        tokenizer = _tokenizer(path.parent, wanted.name, gguf_file=path.name)
    report(1.0, f"{wanted.name} is ready")
    return model, tokenizer


def _config(directory: Path, name: str) -> PreTrainedConfig:
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, __version__  # noqa: PLC0415

    file = directory / "config.json"
    if not file.is_file():
        raise EqlinError(f"{directory} has no config.json: choose a folder as save_pretrained writes it.")
    try:
        raw = json.loads(file.read_bytes())
        kind, architectures = raw.get("model_type"), raw.get("architectures") or []
    except (ValueError, AttributeError) as error:
        raise DamagedModelError(f"{file} is damaged: fetch the model again.") from error
    if kind not in CONFIG_MAPPING:
        if "auto_map" in raw:
            raise EqlinError(f"{name} needs program code of its own, which eqlin never runs: choose another model.")
        raise EqlinError(
            f"transformers {__version__} does not know {name}'s type {kind!r}: update it, or choose another."
        )
    try:
        with _quiet():
            config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise DamagedModelError(f"{file} cannot be used: fetch the model again ({_first_line(error)}).") from error
    # "Model" is a bare network, which tied embeddings can complete; what they do not is found missing on reading.
    decoder = not architectures or re.search(
        r"(CausalLM|LMHeadModel|LMHead|ConditionalGeneration|Model)$", architectures[0]
    )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder or not decoder:
        what = architectures[0] if architectures else kind
        raise EqlinError(f"{name} is no causal language model ({what}): choose a decoder such as Llama, Qwen or Gemma.")
    return config


def _weight_files(directory: Path, name: str) -> list[Path]:
    single, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        try:
            files = [directory / file for file in sorted(set(json.loads(index.read_bytes())["weight_map"].values()))]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedModelError(f"{index} is damaged: fetch the model again.") from error
        if missing := [file.name for file in files if not file.is_file()]:
            raise DamagedModelError(f"{name} lacks {_listed(missing)}: fetch the model again.")
        return files
    if any(directory.glob("*.bin")) or any(directory.glob("*.pt*")):
        raise EqlinError(
            f"{name} has only pickled weights, which can hide programs: save it as safetensors and load that."
        )
    raise EqlinError(
        f"{name} has no weights: a model.safetensors, or its parts with their index, must lie in {directory}."
    )


def _parameters(file: Path) -> int:
    """The number of weights in a safetensors file, whose header must agree with its size."""
    try:
        with file.open("rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            if length > file.stat().st_size:
                raise ValueError("the header is longer than the file")
            tensors = json.loads(opened.read(length))
        tensors.pop("__metadata__", None)
        end = max((tensor["data_offsets"][1] for tensor in tensors.values()), default=0)
        if 8 + length + end != file.stat().st_size:
            raise ValueError("the file ends before its data")
        return sum(math.prod(tensor["shape"]) for tensor in tensors.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, struct.error) as error:
        raise DamagedModelError(f"{file} is damaged or cut short: fetch the model again.") from error


def _read(directory: Path, wanted: _Wanted, **options: Any) -> PreTrainedModel:
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    if wanted.device.type != "cpu":
        options["device_map"] = {"": wanted.device}
    options |= {"dtype": wanted.dtype, "local_files_only": True, "trust_remote_code": False}
    try:
        with _quiet():
            model, found = AutoModelForCausalLM.from_pretrained(directory, output_loading_info=True, **options)
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
    if absent := sorted(found["missing_keys"]):
        raise EqlinError(
            f"The weights of {wanted.name} lack {_listed(absent[:3])} ({len(absent)} in all): choose a complete model."
        )
    return model


def _tokenizer(directory: Path, name: str, **options: str) -> PreTrainedTokenizerBase | None:
    from transformers import AutoTokenizer  # noqa: PLC0415

    # Without vocabulary files transformers may make up an empty tokenizer.
    patterns = ("tokenizer.json", "*.model", "vocab.*", "*.tiktoken", "tekken.json")
    if not options and not any(any(directory.glob(pattern)) for pattern in patterns):
        return None
    try:
        with _quiet():
            return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **options)
    except Exception as error:
        raise DamagedModelError(
            f"The tokenizer of {name} cannot be read: fetch it again, or load without one ({_first_line(error)})."
        ) from error


def _require_memory(parameters: int, wanted: _Wanted, beside: int = 0) -> None:
    if wanted.device.type == "cuda":
        free, where = float(torch.cuda.mem_get_info(wanted.device)[0]), f"on {wanted.device}"
    else:
        free, where = float(psutil.virtual_memory().available), "in memory"

    def needed(dtype: torch.dtype) -> float:
        return parameters * (dtype.itemsize + beside) * MEMORY_MARGIN

    if needed(wanted.dtype) > free:
        fitting = [f"{name} ({_size(needed(dtype))})" for name, dtype in DTYPES.items() if needed(dtype) <= free]
        asked = str(wanted.dtype).removeprefix("torch.")
        way_out = f"choose {fitting[0]}" if fitting else "choose a smaller model or a larger machine"
        raise EqlinError(
            f"{wanted.name} takes {_size(needed(wanted.dtype))} in {asked}; {_size(free)} is free {where}: {way_out}."
        )


def _fingerprint(path: Path) -> str:
    """Changes when the weights do: config, and name, size and time of every weights file, without reading those."""
    digest = hashlib.sha256()
    if path.is_dir():
        digest.update((path / "config.json").read_bytes())
    for file in _weight_files(path, path.name) if path.is_dir() else [path]:
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:12]


def _hub_directory(wanted: _Wanted, revision: str | None, report: Progress) -> tuple[Path, str]:
    from huggingface_hub import HfApi, errors  # noqa: PLC0415

    name = wanted.name
    hub_id = PRESETS[name].hub_id if name in PRESETS else name
    close = difflib.get_close_matches(name, [bundled.NAME, *PRESETS], n=1)
    hint = f" (did you mean {close[0]!r}?)" if close and name not in PRESETS else ""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", hub_id):
        raise EqlinError(f"There is no model or folder {name!r}{hint}: check the spelling.")

    def ask() -> Any:
        return HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=HUB_SECONDS)

    try:
        info = _in_thread(ask, report, f"Asking the Hugging Face hub for {hub_id}")
    except EqlinError:
        raise
    except errors.GatedRepoError as error:
        raise EqlinError(_gated(hub_id)) from error
    except errors.RevisionNotFoundError as error:
        raise EqlinError(f"{hub_id} has no revision {revision!r}: give a branch, tag or commit of it.") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise EqlinError(
            f"The hub shows no model {hub_id!r}{hint}: check the spelling, or `hf auth login` if it is private."
        ) from error
    except Exception as error:
        if directory := _cached(hub_id, revision):
            return directory, directory.name
        raise EqlinError(
            f"{hub_id!r} is not on this machine{hint} and the Hugging Face hub cannot be reached: "
            f"connect to the network, or choose {bundled.NAME!r} or a folder."
        ) from error
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings}
    needed = _needed_files(sizes, hub_id)
    if not (info.config or {}).get("quantization_config"):
        # Four bytes a weight at most: a bound that never refuses what would fit.
        stored = sum(size for file, size in needed.items() if file.endswith(".safetensors")) // 4
        _require_memory(info.safetensors.total if info.safetensors else stored, wanted)
    _fetch(hub_id, revision, info.sha, needed, report)
    directory = _cached(hub_id, info.sha) or _cached(hub_id, revision)
    if directory is None:
        raise EqlinError(f"The download of {hub_id} is incomplete: try again.")
    return directory, directory.name


def _needed_files(sizes: dict[str, int], hub_id: str) -> dict[str, int]:
    top = {file: size for file, size in sizes.items() if "/" not in file}
    if "config.json" not in top:
        raise EqlinError(f"{hub_id} has no config.json, so it is no transformers model: choose another.")
    weights = [file for file in top if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", file)]
    if "model.safetensors" in weights:
        weights = ["model.safetensors"]
    if not weights:
        raise EqlinError(f"{hub_id} has no safetensors weights, the only ones that eqlin reads: choose another model.")
    beside = (".json", ".model", ".txt", ".jinja", ".tiktoken")
    return {file: size for file, size in top.items() if file in weights or file.endswith(beside)}


def _cached(hub_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision, cache_dir=constants.HF_HUB_CACHE)
    if not isinstance(found, str):
        return None
    with contextlib.suppress(EqlinError):
        _weight_files(Path(found).parent, hub_id)
        return Path(found).parent
    return None


def _fetch(hub_id: str, revision: str | None, commit: str, needed: dict[str, int], report: Progress) -> None:
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415

    cache = Path(constants.HF_HUB_CACHE)

    def is_missing(file: str) -> bool:
        return not isinstance(try_to_load_from_cache(hub_id, file, revision=commit, cache_dir=cache), str)

    total = sum(size for file, size in needed.items() if is_missing(file))
    if not any(map(is_missing, needed)):
        return
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if shutil.disk_usage(existing).free < total:
        raise EqlinError(_too_full(hub_id, total))
    blobs = cache / f"models--{hub_id.replace('/', '--')}" / "blobs"
    before = _bytes_in(blobs)

    def on_poll() -> int:
        done = _bytes_in(blobs) - before
        report(min(done / max(total, 1), 1.0), f"Downloading {hub_id}, {_size(done)} of {_size(total)}")
        return done

    # In a process of its own a download can be stopped at once; its retries are cut short by run_child.
    program = (
        "import sys; from huggingface_hub import snapshot_download; "
        "snapshot_download(sys.argv[1], revision=sys.argv[2], cache_dir=sys.argv[3], allow_patterns=sys.argv[4:])"
    )
    command = [sys.executable, "-P", "-c", program, hub_id, revision or constants.DEFAULT_REVISION, str(cache), *needed]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "download.log"
        try:
            failed = bundled.run_child(command, log, on_poll, os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})
        except TimeoutError:
            failed = 1
        text = log.read_text(errors="replace")
    if failed and "GatedRepoError" in text:
        raise EqlinError(_gated(hub_id))
    if failed and ("No space left" in text or os.strerror(errno.ENOSPC) in text):
        raise EqlinError(_too_full(hub_id, total))
    if failed:
        raise EqlinError(f"The download of {hub_id} broke off: check the network and try again.")


def _bytes_in(folder: Path) -> int:
    done = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # finished files are renamed while we look
            done += path.stat().st_size
    return done


def _in_thread(call: Callable[[], T], report: Progress, message: str) -> T:
    """What `call` returns or raises; TimeoutError after HUB_SECONDS (name lookup obeys no time-out of its own)."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    for _ in range(round(HUB_SECONDS / bundled.POLL_SECONDS)):
        report(None, message)
        thread.join(bundled.POLL_SECONDS)
        if errors:
            raise errors[0]
        if results:
            return results[0]
    raise TimeoutError(message)


def _gated(hub_id: str) -> str:
    return f"{hub_id} is gated: accept its terms on its hub page, log in with `hf auth login`, and load it again."


def _too_full(hub_id: str, total: int) -> str:
    return f"The disk is too full for {hub_id}: free {_size(total)}, or set HF_HOME to a folder on a larger disk."


def _size(size: float | int) -> str:
    return f"{size / 1e9:.3g} GB" if size >= 1e9 else f"{size / 1e6:.3g} MB"


def _listed(words: Any) -> str:
    return ", ".join(str(word) for word in words)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
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


def _bytes_as_hex(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("eqlin_hex", _bytes_as_hex)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="eqlin_hex")


def _byte_alphabet() -> dict[str, int]:
    # Byte-level BPE writes a byte as one visible character: printable Latin-1 as itself, the others from U+0100 on.
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _byte_level_text(piece: str) -> str:
    if not set(piece) <= _BYTE_OF.keys():
        return piece
    return _text(bytes(_BYTE_OF[character] for character in piece))
