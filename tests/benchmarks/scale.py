"""``python -m tests.benchmarks.scale``: time and memory from 4 to 400 tokens, with the exponents of their growth.

On the default model, or with ``--shape`` on random weights in the true shape of a larger one (on a GPU: ``--device
cuda``). The published way (a vectorised ``torch.autograd.functional.jacobian`` of the frozen network) runs beside it
where it fits in memory. With ``--shape`` the matrix is also compared with plain matrix products of the same shapes.
"""

from __future__ import annotations

import argparse
import gc
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

import eqlin_core as eq
from eqlin_core.resources import budget, plan
from tests.benchmarks.engine import frozen_function, plain_products
from tests.benchmarks.measure import MIB, machine, markdown, peak_memory

TOKENS = (4, 8, 16, 32, 64, 128, 256, 400)
TEXT = (
    "The bridge out of Marin is the longest that the county has ever seen, and the people who built it still tell "
    "their children how the fog came in over the hills on the first morning, when nobody could see the other side. "
)
KEPT, JOINT = 24, 16

# width, blocks, heads, value heads, width of a head, width of the MLP
SHAPES: dict[str, tuple[str, int, int, int, int, int, int]] = {
    "llama-3.2-3b": ("llama", 3072, 28, 24, 8, 128, 8192),
    "qwen3-8b": ("qwen3", 4096, 36, 32, 8, 128, 12288),
    "qwen3-14b": ("qwen3", 5120, 40, 40, 8, 128, 17408),
    "gemma3-4b": ("gemma3_text", 2560, 34, 8, 4, 256, 10240),
}


@dataclass(frozen=True)
class Cell:
    """One measured call."""

    seconds: float
    peak_bytes: int

    def __str__(self) -> str:
        return f"{self.seconds:.3g} s, {self.peak_bytes / MIB:.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float64", "float32", "bfloat16", "float16"])
    parser.add_argument("--shape", choices=list(SHAPES))
    parser.add_argument("--tokens", type=int, nargs="+", default=list(TOKENS))
    parser.add_argument("--published-up-to", type=int, default=max(TOKENS), help="the longest prompt of that column")
    options = parser.parse_args()
    lm = shaped(options.shape, options.dtype, options.device) if options.shape else None
    lm = lm or eq.load_model("smollm2-135m", dtype=options.dtype, device=options.device)
    print(report(lm, options.tokens, options.published_up_to))


def report(lm: eq.LanguageModel, lengths: Sequence[int], published_up_to: int) -> str:
    """The table, a line of growth exponents, and what it was measured on, as Markdown."""
    warm = eq.linearize(lm, token_ids=prompt(lm, 4))
    warm.adjoint(torch.eye(64, lm.width))
    names = ["contributions", "matrix", f"top-{KEPT} spectra", f"joint top-{JOINT}", "published matrix"]
    columns: dict[str, list[Cell | None]] = {name: [] for name in names}
    rows = []
    for tokens in lengths:
        lin = eq.linearize(lm, token_ids=prompt(lm, tokens))
        calls: dict[str, Callable[[], Any]] = {
            names[0]: lin.contributions,
            names[3]: partial(eq.top_triplets, lin, JOINT),
            names[1]: lin.jacobian,
            names[2]: partial(eq.spectrum, lin, KEPT),
            names[4]: partial(published, lin),
        }
        found: dict[str, Cell | None] = dict.fromkeys(names)
        for name, call in calls.items():
            if name == names[4] and (tokens > published_up_to or not published_fits(lin)):
                continue
            found[name] = once(call, lm.device)
        for name in names:
            columns[name].append(found[name])
        rate = ""
        if lm.width > 600:
            matrix = found[names[1]]
            assert matrix is not None
            rate = f"{once(plain_products(lin), lm.device).seconds / matrix.seconds:.2f}"
        rows.append([str(tokens), *(str(found[name] or "-") for name in names), *([rate] if rate else [])])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)  # a long run that is stopped leaves these
        del lin, calls
        gc.collect()
    header = ["tokens", *names, *(["of the matrix products' rate"] if lm.width > 600 else [])]
    exponents = ", ".join(f"{name} {growth(lengths, columns[name]):.2f}" for name in names[:4])
    grows = f"Time grows with the tokens to the power of: {exponents} (fitted from 16 tokens on).\n\n"
    where = torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else "CPU"
    return (
        f"{markdown(header, rows)}\n\n{'' if 'nan' in exponents else grows}"
        f"{machine()}; {lm.name}, {str(lm.dtype).removeprefix('torch.')}, {where}."
    )


def once(call: Callable[[], Any], device: torch.device) -> Cell:
    """Seconds and peak memory of one call: on a CUDA device its own peak, else the growth of the process."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    with peak_memory() as peak:
        start = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds = time.perf_counter() - start
    return Cell(seconds, torch.cuda.max_memory_allocated(device) - before if device.type == "cuda" else peak[0])


def published(lin: eq.LinearMap) -> torch.Tensor:
    """The matrix as the published code has it: all rows at once."""
    return torch.autograd.functional.jacobian(frozen_function(lin), lin.inputs, vectorize=True)


def published_fits(lin: eq.LinearMap) -> bool:
    """Whether all rows' activations fit in the memory that is free."""
    return lin.width * plan.row_bytes(lin.lm, lin.n_tokens) < 0.7 * budget.free_bytes(lin.inputs.device)


def growth(lengths: Sequence[int], cells: Sequence[Cell | None]) -> float:
    """The exponent p of seconds ~ tokens^p by least squares, where the prompt is long enough to matter."""
    points = [(math.log(t), math.log(c.seconds)) for t, c in zip(lengths, cells, strict=True) if c and t >= 16]
    if len(points) < 2:
        return math.nan
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((a - x) * (b - y) for a, b in points) / sum((a - x) ** 2 for a, _ in points)


def prompt(lm: eq.LanguageModel, tokens: int) -> list[int]:
    """Token ids of real text, repeated to the length, or random ones where there is no tokenizer."""
    if lm.tokenizer is None:
        draw = torch.Generator().manual_seed(0)
        return torch.randint(0, lm.vocab_size, (tokens,), generator=draw).tolist()
    ids = lm.encode(TEXT)
    return (ids * (tokens // len(ids) + 1))[:tokens]


def shaped(name: str, dtype: str, device: str) -> eq.LanguageModel:
    """A model of the true shape with random weights; the vocabulary is small, for no map goes through it."""
    from transformers import AutoConfig, AutoModelForCausalLM

    family, width, blocks, heads, values, head, inner = SHAPES[name]
    config = AutoConfig.for_model(
        family,
        hidden_size=width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=values,
        head_dim=head,
        intermediate_size=inner,
        vocab_size=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    return eq.LanguageModel.wrap(model, None, name)


if __name__ == "__main__":
    main()
