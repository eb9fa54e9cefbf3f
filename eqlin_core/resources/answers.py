"""What the split of an answer will take, known before it starts; what cannot fit is refused with numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from eqlin_core import arguments
from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.reprs import counted
from eqlin_core.resources import budget, plan
from eqlin_core.runs.convention import PUBLISHED, Convention

# Rows whose look back on the inputs, and whose distributions over the vocabulary, are held at once, in float64.
ROWS = 32


@dataclass(frozen=True)
class AnswerPlan:
    """Time and memory of splitting ``rows`` tokens of an answer over a text of ``tokens`` tokens.

    ``chunk``: rows whose reverse passes go together. ``bytes``: at most so many beside the loaded model, for the
    recording, what it leaves, one chunk's pass and what some rows see, as if nothing that was let go were used again.
    ``seconds``: from the arithmetic and the speed of a matrix product measured here.
    """

    tokens: int
    rows: int
    device: str
    chunk: int
    bytes: int
    seconds: float

    def sentence(self) -> str:
        """One line for people."""
        before = self.tokens - self.rows
        return (
            f"Plan for an answer of {counted(self.rows, 'token')} to {counted(before, 'token')}: about "
            f"{plan.duration_text(self.seconds)} for one reverse pass a token, at most {plan.size_text(self.bytes)} of "
            "memory beside the model."
        )


def plan_answer(
    lm: LanguageModel,
    tokens: int,
    rows: int,
    convention: Convention = PUBLISHED,
    *,
    memory_budget: int | None = None,
) -> AnswerPlan:
    """The plan of `answer_split` for the last ``rows`` of ``tokens`` tokens. Raises EqlinError for what cannot fit."""
    checked_model(lm)
    tokens = arguments.whole("tokens", tokens, 2, 10**9)
    rows = arguments.whole("rows", rows, 1, tokens - 1, f"the text has {tokens} tokens")
    arguments.instance("convention", convention, Convention, "a Convention")
    memory_budget = arguments.budget("memory_budget", memory_budget)
    require_room_for_answer(lm, tokens, rows, convention)
    plan.require_room(lm, tokens)  # of a model on several devices, on each of them
    live = convention.weight_share > 0
    chunk = min(rows, plan.chunk_rows(lm, tokens, lm.device, memory_budget, live=live))
    passes = math.ceil(rows / chunk)
    weights_read = passes * sum(p.numel() for p in lm.decoder.parameters()) / lm.width  # of narrow products
    seconds = rows * plan.matrix_seconds(lm, tokens, lm.device, convention) / lm.width
    return AnswerPlan(
        tokens=tokens,
        rows=rows,
        device=str(lm.device),
        chunk=chunk,
        bytes=_needed(lm, tokens, rows, chunk, live=live),
        seconds=seconds + weights_read / plan.product_rate(lm.device, lm.dtype),
    )


def require_room_for_answer(lm: LanguageModel, tokens: int, rows: int, convention: Convention) -> None:
    """Raise EqlinError, with what would fit, when the rows of an answer do not fit in free memory."""
    live, free = convention.weight_share > 0, budget.free_bytes(lm.device)
    needed = _needed(lm, tokens, rows, 1, live=live)
    if needed <= free:
        return
    low, high = 0, rows
    while low < high:
        middle = (low + high + 1) // 2
        fits = _needed(lm, tokens - rows + middle, middle, 1, live=live) <= free
        low, high = (middle, high) if fits else (low, middle - 1)
    said = f"An answer of {rows} tokens to {tokens - rows} tokens needs {_and_has(lm, needed, free)}"
    raise EqlinError(f"{said}; its first {low} tokens fit." if low else f"{said}; shorten the prompt.")


def require_room_for_rows(lm: LanguageModel, tokens: int, rows: int, convention: Convention) -> None:
    """Raise EqlinError when the passes of an answer's rows do not fit in what its recording has left of the memory."""
    needed = _for_rows(lm, tokens, rows, 1, live=convention.weight_share > 0)
    free = budget.free_bytes(lm.device)
    if needed > free:
        raise EqlinError(f"The rows of an answer to {tokens - rows} tokens need {_and_has(lm, needed, free)}.")


def _and_has(lm: LanguageModel, needed: int, free: int) -> str:
    return f"{plan.size_text(needed)} and {plan.size_text(free)} are free on {lm.device}"


def _needed(lm: LanguageModel, tokens: int, rows: int, chunk: int, *, live: bool) -> int:
    recording = plan.recording_bytes(lm, tokens) + plan.recorded_bytes(lm, tokens)
    return recording + _for_rows(lm, tokens, rows, chunk, live=live)


def _for_rows(lm: LanguageModel, tokens: int, rows: int, chunk: int, *, live: bool) -> int:
    looks_back = min(rows, ROWS) * tokens * lm.width * (lm.dtype.itemsize + 8)  # and once more in float64
    distributions = min(rows, ROWS) * lm.vocab_size * (lm.dtype.itemsize + 3 * 8)
    return chunk * plan.row_bytes(lm, tokens, live=live) + looks_back + distributions
