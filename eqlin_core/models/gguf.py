"""GGUF files: read into ordinary dense layers, quickly and with progress, and converted to safetensors."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from eqlin_core.errors import EqlinError
from eqlin_core.models import four_bit
from eqlin_core.models.checkpoints import Wanted, read_model, read_tokenizer, require_memory
from eqlin_core.models.names import require_file
from eqlin_core.progress import Progress, report

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
else:  # importing these takes seconds, and names that exist only for a type checker break run-time checks of shapes
    PreTrainedModel = PreTrainedTokenizerBase = Any

T = TypeVar("T")

# The releases of transformers whose reader of GGUF was read in its code; the installed one is tried in the tests.
PATCHED_TRANSFORMERS = ((5, 17), (5, 23))
# Beside the weights, reading GGUF holds the file and some tensors unpacked to float32; measured: 0.9 to 1.5 bytes each.
GGUF_BYTES_BESIDE = 2


def from_gguf(
    path: Path, wanted: Wanted, progress: Progress | None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase | None]:
    """The model and the tokenizer of a GGUF file. Raises EqlinError with one sentence."""
    require_file(path)
    if wanted.four_bit:
        raise EqlinError(f"{path} is quantised already: choose float32 in place of {four_bit.NAME}.")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise EqlinError(f"{path} is not a GGUF file: download it again.")
    with fast_reading(lambda fraction: report(progress, fraction, f"Converting {wanted.name}")):
        import gguf  # noqa: PLC0415

        report(progress, None, f"Checking {wanted.name}")
        try:
            parameters = sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(str(path)).tensors)
        except Exception as error:
            raise EqlinError(f"{path} is damaged or cut short: download it again.") from error
        wanted.found()
        require_memory(parameters, wanted, GGUF_BYTES_BESIDE)
        model = read_model(path.parent, wanted, **dense_options(path))
        tokenizer = read_tokenizer(path.parent, wanted.name, gguf_file=path.name)
    report(progress, 1.0, f"{wanted.name} is ready")
    return model, tokenizer


def convert(gguf: Path, target: Path) -> None:
    """Writes config, tokenizer and float32 safetensors of the GGUF file into the folder `target`."""
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    with fast_reading():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **dense_options(gguf))
    tokenizer.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    # A model read from GGUF refuses save_pretrained, so its weights and its config are written one by one.
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    for trace_of_origin in ("quantization_config", "_name_or_path"):
        config.pop(trace_of_origin, None)
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def dense_options(gguf: Path) -> dict[str, Any]:
    """What `from_pretrained` needs to read the file into ordinary dense layers, never into layers of packed blocks."""
    from transformers import GgufConfig  # noqa: PLC0415

    return {"gguf_file": gguf.name, "quantization_config": GgufConfig(dequantize=True)}


@contextlib.contextmanager
def fast_reading(on_tensor: Callable[[float], None] = lambda _fraction: None) -> Iterator[None]:
    """While this lasts, transformers reads GGUF twice as fast and tells `on_tensor` how far it is, not the terminal.

    transformers parses the whole file three times and builds the map of names once for each module: both are kept. A
    transformers that this was not tried with reads as it does by itself, and `on_tensor` hears nothing.
    """
    replacements = _patch(on_tensor)
    kept = [(owner, name, getattr(owner, name)) for owner, name, _ in replacements]
    try:
        for owner, name, value in replacements:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in kept:
            setattr(owner, name, value)


def _patch(on_tensor: Callable[[float], None]) -> list[tuple[Any, str, Any]]:
    """What stands in for what while GGUF is read, as (module, name, value); nothing for an unknown transformers."""
    import gguf  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    oldest, newest = PATCHED_TRANSFORMERS
    if not oldest <= _release(transformers.__version__) <= newest:
        return []
    from transformers import modeling_gguf_pytorch_utils as loader  # noqa: PLC0415

    def counted(tensors: Sequence[T], *_args: object, **_options: object) -> Iterator[T]:
        for i, tensor in enumerate(tensors):
            on_tensor(i / len(tensors))
            yield tensor

    return [
        (gguf, "GGUFReader", functools.cache(gguf.GGUFReader)),
        (gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        (loader, "tqdm", counted),
    ]


def _release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version; what is no such number counts as unknown, so as none."""
    numbers = re.match(r"(\d+)\.(\d+)(?!\w)", version)
    return () if numbers is None else (int(numbers[1]), int(numbers[2]))
