"""Loading a causal language model from the bundled copy, a local folder, a GGUF file or the Hugging Face hub."""

import codecs
import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import bundled
from eqlin_core.bundled import Progress
from eqlin_core.errors import EqlinError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(eq=False)
class LanguageModel:
    """A causal language model in evaluation mode without gradients, its tokenizer, and what identifies its weights."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase | None"
    name: str
    revision: str

    @classmethod
    def wrap(
        cls,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase | None" = None,
        name: str | None = None,
        revision: str = "unsaved",
    ) -> "LanguageModel":
        """A LanguageModel around a model that is already built; switches it to evaluation mode without gradients."""
        model.eval()
        model.requires_grad_(False)
        return cls(model, tokenizer, name or type(model).__name__, revision)

    @property
    def config(self) -> "PreTrainedConfig":
        """The model's configuration, as transformers keeps it."""
        return self.model.config

    @property
    def text_config(self) -> "PreTrainedConfig":
        """The language part of the configuration: the configuration itself, unless it nests one for text."""
        return self.model.config.get_text_config()

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the embeddings, which is the type the model computes in."""
        return self.input_embeddings.dtype

    @property
    def device(self) -> torch.device:
        """The device of the embeddings, where token ids have to go."""
        return self.input_embeddings.device

    @property
    def width(self) -> int:
        """d: the width of the residual stream."""
        return int(self.text_config.hidden_size)

    @property
    def n_layers(self) -> int:
        """L: the number of decoder blocks."""
        return int(self.text_config.num_hidden_layers)

    @property
    def vocab_size(self) -> int:
        """V: the number of rows of the unembedding."""
        return int(self.unembedding.shape[0])

    @property
    def max_positions(self) -> int | None:
        """The longest prompt in tokens that the configuration allows; None where it sets no limit."""
        limit = getattr(self.text_config, "max_position_embeddings", None)
        return None if limit is None else int(limit)

    @property
    def unembedding(self) -> Float[Tensor, "vocab d"]:
        """W_U: one row for each vocabulary token; logits are W_U y."""
        return self.model.get_output_embeddings().weight

    @property
    def input_embeddings(self) -> Float[Tensor, "vocab d"]:
        """The embedding matrix, before any scaling that the model applies to its rows."""
        return self.model.get_input_embeddings().weight

    def encode(self, prompt: str) -> list[int]:
        """The prompt's token ids, with the special tokens that the model's own tokenizer adds (a BOS, say)."""
        if self.tokenizer is None:
            raise EqlinError(f"{self.name} has no tokenizer: pass token_ids=[...] instead of a prompt.")
        with _quiet():
            return [int(i) for i in self.tokenizer(prompt)["input_ids"]]

    def token_strings(self, ids: Sequence[int]) -> list[str]:
        """The text that each token stands for on its own, bytes that are no text as <0xE2>; without a tokenizer <17>."""
        if self.tokenizer is None:
            return [f"<{int(i)}>" for i in ids]
        pieces = self.tokenizer.convert_ids_to_tokens([int(i) for i in ids])
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        byte_level = "ByteLevel" in repr(getattr(backend, "decoder", None))
        added = self.tokenizer.added_tokens_decoder
        strings = []
        for i, piece in zip(ids, pieces, strict=True):
            if piece is None:
                strings.append(f"<{int(i)}>")
            elif byte_level and int(i) not in added:
                strings.append(_byte_level_text(piece))
            elif match := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):
                strings.append(_text(bytes.fromhex(match[1])))
            else:
                strings.append(piece if byte_level else piece.replace("▁", " "))
        return strings


def load_model(
    name: str | Path = bundled.NAME,
    dtype: str | torch.dtype = "float32",
    device: str | torch.device = "auto",
    *,
    revision: str | None = None,
    progress: Progress | None = None,
) -> LanguageModel:
    """The named model: the bundled default, a preset, a local folder, a .gguf file or a hub id."""
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    if isinstance(dtype, str):
        if dtype not in DTYPES:
            raise EqlinError(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}.")
        dtype = DTYPES[dtype]
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if str(name) == bundled.NAME:
        directory = bundled.bundled_directory(progress)
        revision = bundled.REVISION
    else:
        directory = Path(name)
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, use_safetensors=True, local_files_only=True)
        tokenizer = None
        with contextlib.suppress(Exception):
            tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
        model.to(device)
    if revision is None:
        digest = hashlib.sha256((directory / "config.json").read_bytes())
        revision = digest.hexdigest()[:12]
    return LanguageModel.wrap(model, tokenizer, str(name), revision)


def _hex_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("eqlin_hex", _hex_bytes)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="eqlin_hex")


def _byte_alphabet() -> dict[str, int]:
    # Byte-level BPE writes each byte as one visible character: printable Latin-1 as itself, the rest from U+0100 on.
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + i): byte for i, byte in enumerate(rest)}


_BYTE_OF = _byte_alphabet()


def _byte_level_text(piece: str) -> str:
    if any(character not in _BYTE_OF for character in piece):
        return piece
    return _text(bytes(_BYTE_OF[character] for character in piece))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    import warnings  # noqa: PLC0415

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


_ = Any
