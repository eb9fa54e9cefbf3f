"""What a run will take, known before it starts: time, memory, where the matrix will live, how many rows at a time."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Literal

import torch

from eqlin_core import arguments
from eqlin_core.dtypes import coefficient_dtype, dtype_name
from eqlin_core.errors import EqlinError
from eqlin_core.models.fields import largest
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.offloading import Share, shares
from eqlin_core.models.sites import blocks_of
from eqlin_core.multiplication import products
from eqlin_core.resources import budget
from eqlin_core.resources.device_time import seconds_on
from eqlin_core.resources.scratch import free_disk
from eqlin_core.runs.convention import PUBLISHED, Convention

Place = Literal["device", "host", "scratch file"]

_GIB = 2**30
_BROUGHT_A_SECOND = 1e9  # bytes, of weights that are elsewhere: what a common disk reads
_MATRIX_SHARE = 0.5  # of the memory that is free: the rest is for the passes, and for everybody else
_CPU = torch.device("cpu")
# Projections whose output only makes coefficients where the gate or attention is held: no reverse pass meets them.
_OF_THE_GATE = ("gate_proj",)
_OF_ATTENTION = ("q_proj", "k_proj")
# A pass that others wait for: long enough to cost nothing, short enough not to be noticed.
_PASS_SECONDS = 0.7
_LEAST_POSITIONS = 128
# By kind of device: width of the product that its rate is measured with, and how many go together. On a big GPU a small
# one is over before it has begun; bigger ones are not faster.
_PRODUCT = {"cuda": (4096, 4), "mps": (2048, 4)}
# A decomposition of a token's matrix holds about this many copies of it.
SVD_COPIES = 3
# How the tokens' spectra can be had: from the matrix, or from one in a lower precision and passes in the run's own.
METHODS = ("direct", "refined")
ROUGH_DTYPE = {torch.float64: torch.float32, torch.float32: torch.bfloat16}
_REFINING_PASSES = (5, 15)  # for each triplet of a token, and beside; measured on the default model
# Of a pass of one vector beside its arithmetic: kernels that wait for each other, and its share of the decompositions.
# 3 to 9 ms on an H200, at widths of 3072 and 4096.
_REFINING_SECONDS = 0.01


@dataclass(frozen=True)
class Plan:
    """Time and memory of one run: contributions, the matrix and the spectra of ``tokens`` tokens.

    ``chunk``: rows of the matrix computed together. ``matrix_bytes`` live at ``place``, on ``matrix_device``, where the
    embeddings are, as long as there is room; ``recorded_bytes`` are the coefficients of the frozen network,
    ``working_bytes`` one chunk's reverse pass. ``device_bytes`` and ``host_bytes`` are the peaks beyond the loaded
    model (the same memory on a CPU, counted once as host); of a model on several devices, those of the one that holds
    most, ``device``, as are the recorded bytes. ``shares``: which device computes how many blocks, and how much of
    their weights is brought from main memory or the disk for every pass. ``seconds`` from the arithmetic, the speed of
    a matrix product measured here, and a gigabyte a second for what is brought. ``spectra``: the cheaper ``method`` of
    ``spectrum`` for 24 triplets, by the passes that each takes and the speed of both precisions here.
    """

    tokens: int
    width: int
    dtype: str
    device: str
    place: Place
    chunk: int
    matrix_bytes: int
    recorded_bytes: int
    working_bytes: int
    device_bytes: int
    host_bytes: int
    seconds: float
    shares: tuple[Share, ...] = ()
    matrix_device: str = "cpu"
    spectra: str = "direct"

    def sentence(self) -> str:
        """One line for people."""
        here = "in memory" if self.matrix_device == "cpu" else f"on {self.matrix_device}"
        where = {"device": here, "host": "in main memory", "scratch file": "in a scratch file"}[self.place]
        return (
            f"Plan for {self.tokens} token{'s' if self.tokens > 1 else ''}: about {duration_text(self.seconds)} for "
            f"the matrix of {size_text(self.matrix_bytes)}, kept {where}; at most "
            f"{size_text(max(self.device_bytes, self.host_bytes))} of memory beside the model."
            f"{_spread_sentence(self.shares)}"
        )


def plan_run(
    lm: LanguageModel, tokens: int, convention: Convention = PUBLISHED, *, memory_budget: int | None = None
) -> Plan:
    """The plan of a run over ``tokens`` tokens, its chunks within ``memory_budget`` bytes or a part of what is free.

    ``convention``: which of the exact maps is meant; a gate or attention that is not held has a path of its own.

    Raises EqlinError for a run that cannot fit, with the nearest one that does.
    """
    checked_model(lm)
    tokens = arguments.whole("tokens", tokens, 1, 10**9)
    arguments.instance("convention", convention, Convention, "a Convention")
    memory_budget = arguments.budget("memory_budget", memory_budget)
    require_room(lm, tokens)
    spread = _shares(lm)
    parts = {share.device: share.blocks / lm.n_layers for share in spread}
    matrix = tokens * lm.width * lm.width * lm.dtype.itemsize
    place = matrix_place(matrix, lm.device, memory_budget)
    live = convention.weight_share > 0
    chunk = min(lm.width, chunk_rows(lm, tokens, lm.device, memory_budget, live=live))
    working = max(chunk * row_bytes(lm, tokens, live=live), SVD_COPIES * lm.width**2 * max(4, lm.dtype.itemsize))
    recorded, recording = recorded_bytes(lm, tokens), recording_bytes(lm, tokens)
    kept = {lm.device: matrix if place == "device" else 0}
    needs = {d: max(int(recording * p), int(recorded * p) + working + kept.pop(d, 0)) for d, p in parts.items()} | kept
    device = max(needs, key=needs.__getitem__)
    host = needs.pop(_CPU, 0) + (matrix if place == "host" else 0)
    brought = sum(share.brought_bytes for share in spread) * math.ceil(lm.width / chunk)
    return Plan(
        tokens=tokens,
        width=lm.width,
        dtype=dtype_name(lm.dtype),
        device=str(device),
        place=place,
        chunk=chunk,
        matrix_bytes=matrix,
        recorded_bytes=int(recorded * parts.get(device, 0)),
        working_bytes=working,
        device_bytes=max(needs.values(), default=0),
        host_bytes=host,
        seconds=matrix_seconds(lm, tokens, device, convention) + brought / _BROUGHT_A_SECOND,
        shares=tuple(spread),
        matrix_device=str(lm.device) if place == "device" else "cpu",
        spectra=METHODS[len(spread) == 1 and refining_is_cheaper(lm, tokens, device)],
    )


def refining_is_cheaper(lm: LanguageModel, tokens: int, device: torch.device, k: int = 24) -> bool:
    """Whether ``spectrum(..., method="refined")`` takes less time than the matrix.

    A pass for one token of so many goes over half of them on average, one of the matrix over all. Never on a CPU, where
    it was measured and is slower; on a GPU where the matrix takes long for what is beside the arithmetic of the passes.
    """
    rough = ROUGH_DTYPE.get(lm.dtype)
    if rough is None or device.type == "cpu" or getattr(lm.model, "is_quantized", False):
        return False
    each, beside = _REFINING_PASSES
    passes, matrix = (each * k + beside) * tokens, matrix_seconds(lm, tokens, device)
    arithmetic = passes * (tokens + 1) / 2 / (lm.width * tokens)
    rough_matrix = product_rate(device, lm.dtype) / product_rate(device, rough)
    return passes * _REFINING_SECONDS + (arithmetic + rough_matrix) * matrix < matrix


def matrix_seconds(lm: LanguageModel, tokens: int, device: torch.device, convention: Convention = PUBLISHED) -> float:
    """About how long the matrix of so many tokens takes, from its arithmetic and the speed of a product here."""
    weights = path_weights(lm, convention)
    if convention.weight_share > 0:  # three products with T x T scores for each head: queries, keys, weights
        weights += 3 * tokens * _heads(lm) * _head_width(lm) * lm.n_layers
    return 2 * lm.width * tokens * weights / _rate(lm, device)


def require_room(lm: LanguageModel, tokens: int) -> None:
    """Raise EqlinError, with what would fit, when the coefficients and one row's pass do not fit in free memory."""
    for share in _shares(lm):
        part = share.blocks / lm.n_layers
        free, needed = budget.free_bytes(share.device), _least(lm, tokens, part)
        if needed > free:
            raise EqlinError(_refusal(lm, tokens, needed, free, share.device, part))


def row_bytes(lm: LanguageModel, tokens: int, *, live: bool = False) -> int:
    """Bytes that one row of the matrix (one pass of all tokens) holds at once: one block's activations, measured.

    Where attention is ``live`` each row has scores of its own, and what they change.
    """
    size = tokens * (12 * lm.width + 4 * _inner(lm)) * max(4, lm.dtype.itemsize)
    return size + live * 4 * _heads(lm) * tokens**2 * coefficient_dtype(lm.dtype).itemsize


def chunk_rows(
    lm: LanguageModel, tokens: int, device: torch.device, memory_budget: int | None = None, *, live: bool = False
) -> int:
    """Rows of the matrix, or prompts of a batch, that are computed together; fewer where attention is ``live``.

    As many as fit on ``device`` and, of a model on several, on each of them.
    """
    devices = {device, *(share.device for share in _shares(lm))}
    size = row_bytes(lm, tokens, live=live)
    return min(budget.chunk_size(size, tokens, where, memory_budget) for where in devices)


def pass_rows(
    lm: LanguageModel, tokens: int, device: torch.device, memory_budget: int | None = None, *, live: bool = False
) -> int:
    """Rows of a forward pass, which nobody can interrupt: as ``chunk_rows``, and few enough to end within a second."""
    weights = path_weights(lm, Convention("half", "half")) * tokens
    within = int(_PASS_SECONDS * _rate(lm, device) / (2 * weights))
    within = max(within, _LEAST_POSITIONS // tokens)  # the rate may have been measured on a busy machine
    return max(1, min(within, chunk_rows(lm, tokens, device, memory_budget, live=live)))


def recorded_bytes(lm: LanguageModel, tokens: int) -> int:
    """Bytes of the coefficients that the frozen network keeps: attention weights, norms and gates of every block."""
    per_block = _heads(lm) * tokens**2 + tokens * (2 * lm.width + _inner(lm))
    return coefficient_dtype(lm.dtype).itemsize * lm.n_layers * per_block


def recording_bytes(lm: LanguageModel, tokens: int) -> int:
    """Bytes at the peak of the recording pass, whose graph still holds queries, keys, scores and gates (measured)."""
    per_block = 3 * _heads(lm) * tokens**2 + tokens * (8 * lm.width + 3 * _inner(lm))
    return coefficient_dtype(lm.dtype).itemsize * (lm.n_layers + 2) * per_block


def _heads(lm: LanguageModel) -> int:
    return largest(lm.text_config, "num_attention_heads") or 1


def _head_width(lm: LanguageModel) -> int:
    return largest(lm.text_config, "head_dim") or lm.width // _heads(lm)


def _inner(lm: LanguageModel) -> int:
    return largest(lm.text_config, "intermediate_size") or 4 * lm.width


def matrix_place(matrix: int, device: torch.device, memory_budget: int | None = None) -> Place:
    """Where a matrix of so many bytes lives: on the device, in main memory, or in a scratch file.

    Raises EqlinError when none of them has room for it.
    """
    if matrix <= _MATRIX_SHARE * (budget.free_bytes(device) if memory_budget is None else memory_budget):
        return "device"
    if device.type != "cpu" and matrix <= _MATRIX_SHARE * budget.free_bytes(_CPU):
        return "host"
    if matrix <= free_disk():
        return "scratch file"
    raise EqlinError(
        f"The matrix needs {size_text(matrix)}, more than the free memory, and {size_text(free_disk())} are free on "
        "the disk; shorten the prompt, choose a lower precision, or take the contributions and the largest triplets of "
        "the joint map, which need no matrix."
    )


def path_weights(lm: LanguageModel, convention: Convention = PUBLISHED) -> int:
    """Weights on the linear path of all blocks: value, output, up and down projections, and those of what is not held.

    All of fused ones count.
    """
    one_factor_is_held = convention.gate_share in (0, 1)
    off_path = _OF_THE_GATE * one_factor_is_held + _OF_ATTENTION * (convention.weight_share == 0)
    total = 0
    for name, parameter in lm.decoder.named_parameters():
        if parameter.dim() >= 2 and "embed" not in name and not any(part in name for part in off_path):
            total += parameter.numel()
    chosen = largest(lm.text_config, "num_experts_per_tok")
    experts = largest(lm.text_config, "num_local_experts") or largest(lm.text_config, "num_experts")
    return total * chosen // experts if isinstance(chosen, int) and isinstance(experts, int) and experts else total


@functools.cache
def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of a matrix product on this device, measured once in some milliseconds."""
    size, times = _PRODUCT.get(device.type, (1024, 1))
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))

    def multiply() -> None:
        for _ in range(times):
            torch.mm(left, right)

    with products():
        best = min(seconds_on(device, multiply) for _ in range(4))
    return times * 2 * size**3 / best


def _rate(lm: LanguageModel, device: torch.device) -> float:
    """The rate of the model's products: of one on several devices, each by the blocks that it computes."""
    spread = _shares(lm)
    if len(spread) < 2:
        return product_rate(device, lm.dtype)
    return sum(s.blocks for s in spread) / sum(s.blocks / product_rate(s.device, lm.dtype) for s in spread)


def _least(lm: LanguageModel, tokens: int, part: float) -> int:
    """Bytes that a device which computes this part of the blocks needs at least."""
    recorded = int(recorded_bytes(lm, tokens) * part)
    return max(int(recording_bytes(lm, tokens) * part), recorded + row_bytes(lm, tokens))


def _shares(lm: LanguageModel) -> list[Share]:
    blocks = blocks_of(lm.decoder, lm.n_layers)
    return [Share(lm.device, lm.n_layers, 0)] if blocks is None else shares(blocks, lm.device)


def _spread_sentence(spread: tuple[Share, ...]) -> str:
    """Which device computes what, for a model that is not in one place; nothing for one that is."""
    brought = sum(share.brought_bytes for share in spread)
    if len(spread) < 2 and not brought:
        return ""
    said = " and ".join(
        f"{share.blocks} block{'s run' if share.blocks > 1 else ' runs'} on {share.device}" for share in spread
    )
    kept = f"; {size_text(brought)} of weights are brought from main memory or the disk for every pass"
    return f" {said[0].upper()}{said[1:]}{kept if brought else ''}."


def _refusal(lm: LanguageModel, tokens: int, needed: int, free: int, device: torch.device, part: float) -> str:
    dtype = dtype_name(lm.dtype)
    said = f"{tokens} tokens in {dtype} need {size_text(needed)} and {size_text(free)} are free on {device}"
    low, high = 1, tokens
    while low < high:  # the longest prompt that fits: memory only grows with the tokens
        middle = (low + high + 1) // 2
        fits = _least(lm, middle, part) <= free
        low, high = (middle, high) if fits else (low, middle - 1)
    if _least(lm, low, part) > free:
        return f"{said}, too little for a single token; choose a smaller model or close other programs."
    halves = lm.dtype == torch.float64 and needed / 2 <= free
    other = "float32 fits, or " if halves else ""
    return f"{said}; {other}a prompt of {low} tokens fits."


def size_text(size: int) -> str:
    """Bytes as people read them: 18 KiB, 25.6 MiB, 1.5 GiB."""
    if size < 1 << 20:
        return f"{max(1, round(size / 1024)) if size else 0} KiB"
    return f"{size / _GIB:.3g} GiB" if size >= _GIB / 10 else f"{size / 2**20:.3g} MiB"


def duration_text(seconds: float) -> str:
    """Seconds as people read them: 12 s, 3 min, 1.5 h."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
