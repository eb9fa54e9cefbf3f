"""The language model that everything starts from: loaded by name, or wrapped around one that is built already."""

import codecs
import contextlib
import difflib
import errno
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled, four_bit
from eqlin_core.models.checkpoints import (
    DTYPES,
    DamagedModelError,
    Wanted,
    fingerprint,
    from_directory,
    from_gguf,
    listed,
    quiet,
)
from eqlin_core.models.hub import hub_directory
from eqlin_core.models.presets import PRESETS
from eqlin_core.progress import Progress

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
else:  # importing these takes seconds, and names that exist only for a type checker break run-time checks of shapes
    PreTrainedConfig = PreTrainedModel = PreTrainedTokenizerBase = Any


@dataclass(eq=False)
class LanguageModel:
    """A causal language model in evaluation mode without gradients, its tokenizer, and what identifies its weights."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase | None
    name: str
    revision: str
    _runs_on: torch.device | None = field(default=None, init=False, repr=False)

    @classmethod
    def wrap(
        cls,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase | None = None,
        name: str | None = None,
        revision: str = "unsaved",
    ) -> "LanguageModel":
        """A LanguageModel around a model that is built already, which is switched to evaluation without gradients.

        A model that soft-caps its attention scores is switched to eager attention: the fused kernel leaves the cap out.
        """
        model.eval()
        model.requires_grad_(False)
        four_bit.keep_linear(model)
        text = model.config.get_text_config()
        if getattr(text, "attn_logit_softcapping", None) and text._attn_implementation == "sdpa":
            model.set_attn_implementation("eager")
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
        return self.model.get_input_embeddings().weight.dtype

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, where token ids have to go; of offloaded ones, the device that they run on."""
        weight = self.model.get_input_embeddings().weight
        if not weight.is_meta:
            return weight.device
        if self._runs_on is None:
            self._runs_on = self.input_embeddings.device
        return self._runs_on

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
        return int(self._head().weight.shape[0])

    @property
    def max_positions(self) -> int | None:
        """The longest prompt, in tokens, that the configuration allows; None where it names no limit."""
        limit = getattr(self.text_config, "max_position_embeddings", None)
        return None if limit is None else int(limit)

    @property
    def unembedding(self) -> Float[Tensor, "vocab d"]:
        """W_U, one row for each vocabulary token; logits are W_U y. Raises EqlinError where the model has none."""
        return _present_weight(self._head())

    @property
    def input_embeddings(self) -> Float[Tensor, "vocab d"]:
        """The embedding matrix, before the factor by which some models scale its rows."""
        return _present_weight(self.model.get_input_embeddings())

    def _head(self) -> Any:
        head = self.model.get_output_embeddings()
        if head is None:
            raise EqlinError(f"{self.name} has no unembedding: load it as a causal language model.")
        return head

    def encode(self, prompt: str) -> list[int]:
        """The prompt's token ids, with the special tokens that the model's own tokenizer adds (a BOS, say).

        Raises EqlinError where the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise EqlinError(f"{self.name} has no tokenizer: pass token_ids=[...] in place of a prompt.")
        with quiet():
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
    device_map: str | Mapping[str, Any] | None = None,
    max_memory: Mapping[int | str, int | str] | None = None,
    progress: Progress | None = None,
    found: Callable[[], None] | None = None,
) -> LanguageModel:
    """The model of this name: the bundled default, a preset, a folder, a .gguf file or a hub id (with a `revision`).

    `dtype` is "float64", "float32", "bfloat16", "float16", or "4bit": weights in NF4 and float32 for everything else.
    A model bigger than one device: `device_map="auto"` (or a map of accelerate's) spreads it over the devices, main
    memory and the disk, within `max_memory` for each, as {0: "20GiB", "cpu": "60GiB"}.
    `progress(fraction, message)` is called all along (fraction None: unknown); it cancels by raising `Cancelled`.
    `found()` is called when the model's files are there and can be read, before the memory for it is looked at: the
    moment to let go of another model.
    Raises EqlinError with one sentence that says what to do; too little memory is found before the weights are read.
    """
    report = progress or (lambda _fraction, _message: None)
    spread = _spread(device_map, max_memory)
    where = _device(device, _dtype(dtype))
    in_four_bit = str(dtype) == four_bit.NAME
    wanted = Wanted(str(name), _dtype(dtype), where, in_four_bit, spread, found or (lambda: None))
    bits = f"-{four_bit.NAME}" if wanted.four_bit else ""
    path = None if wanted.name == bundled.NAME else _local(wanted.name)
    if revision is not None and (path or wanted.name == bundled.NAME):
        raise EqlinError(f"{name} has no revisions, only models of the hub have: leave revision out.")
    try:
        if wanted.name == bundled.NAME:
            return LanguageModel.wrap(*_from_bundled(wanted, report), wanted.name, bundled.REVISION + bits)
        if path and path.is_dir():
            return LanguageModel.wrap(*from_directory(path, wanted, report), wanted.name, fingerprint(path) + bits)
        if path:
            return LanguageModel.wrap(*from_gguf(path, wanted, report), wanted.name, fingerprint(path))
        path, commit = hub_directory(_hub_id(wanted.name), wanted, revision, _hint(wanted.name), report)
        return LanguageModel.wrap(*from_directory(path, wanted, report), wanted.name, commit + bits)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EqlinError(f"The disk is full: free some space and load {wanted.name} again.") from error
        raise EqlinError(f"{wanted.name} cannot be read: check its files ({error.strerror or error}).") from error


def _present_weight(module: Any) -> Tensor:
    """A module's weight, also where accelerate keeps it on the disk or in another memory until the module runs."""
    if not module.weight.is_meta:
        return module.weight
    from accelerate.utils import align_module_device  # noqa: PLC0415

    with align_module_device(module):
        return module.weight.detach()


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    if dtype == four_bit.NAME:
        four_bit.require_bitsandbytes()
        return four_bit.DTYPE
    found = DTYPES.get(str(dtype).removeprefix("torch."))
    if found is None:
        raise EqlinError(f"{str(dtype)!r} is no dtype for a model: choose {listed([*DTYPES, four_bit.NAME])}.")
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
        raise EqlinError(f"This machine has no device {str(device)!r}: choose {listed(['auto', *here])}.")
    if str(device) == "mps" and dtype == torch.float64:
        raise EqlinError('The device "mps" has no float64: choose float32, or device="cpu".')
    return torch.device(device)


def _spread(device_map: Any, max_memory: Mapping[int | str, int | str] | None) -> dict[str, Any]:
    """What transformers is told of a model that lives in several places; nothing for one that lives in one."""
    if device_map is None:
        if max_memory is not None:
            raise EqlinError('max_memory says what each device may hold: give device_map="auto" with it.')
        return {}
    folder = bundled.cache_directory() / "offload"
    folder.mkdir(parents=True, exist_ok=True)
    return {"device_map": device_map, "max_memory": max_memory and dict(max_memory), "offload_folder": str(folder)}


def _hub_id(name: str) -> str:
    return PRESETS[name].hub_id if name in PRESETS else name


def _hint(name: str) -> str:
    close = difflib.get_close_matches(name, [bundled.NAME, *PRESETS], n=1)
    return f" (did you mean {close[0]!r}?)" if close and name not in PRESETS else ""


def _local(name: str) -> Path | None:
    """The folder or GGUF file that the name means; None where it means neither (a pasted prompt, say)."""
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        path = Path(name).expanduser()
        if path.suffix == ".gguf" or path.is_dir():
            return path
    return None


def _from_bundled(wanted: Wanted, report: Progress) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    try:
        return from_directory(bundled.bundled_directory(report), wanted, report)
    except DamagedModelError:
        bundled.discard_bundled()
        return from_directory(bundled.bundled_directory(report), wanted, report)


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
