"""Every token of an answer as an exact sum over the tokens before it, all of them from one recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, wide
from eqlin_core.errors import EqlinError
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.readout import mean_rows, next_token_logits
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part
from eqlin_core.reprs import Facts, ShortRepr, counted, error_text
from eqlin_core.resources.answers import ROWS, require_room_for_rows
from eqlin_core.runs.exactness import Exactness, bounds_of
from eqlin_core.runs.split import TARGET_KINDS, TargetKind


@dataclass(frozen=True, eq=False, repr=False)
class AnswerSplit(ShortRepr):
    """For R tokens of an answer, what each of the T tokens of the text adds to it.

    Row r is the token at ``first + r``, predicted at the position before it: ``terms[r].sum() + constants[r] +
    normalisers[r] = values[r]``. ``values`` are logits w . y or log-probabilities. A log-probability is no linear
    function of y: its terms are along w - sum_v p_v W_v, and ``normalisers`` is what that leaves, minus the entropy of
    the model's distribution (and whatever the model does to its logits); of logits it is zero. ``constants``: biases,
    and the baseline's part. ``log_probabilities`` are those of the tokens whatever ``kind`` says. ``exactness``: its
    reconstruction is the largest |sum of terms + constant - w . y| / (|w| |y|) of a row, its forward error the largest
    of a row's output.
    """

    first: int
    token_ids: list[int]
    tokens: list[str]
    kind: TargetKind
    baseline: str | int
    terms: Float[Tensor, "rows tokens"]
    constants: Float[Tensor, " rows"]
    normalisers: Float[Tensor, " rows"]
    values: Float[Tensor, " rows"]
    log_probabilities: Float[Tensor, " rows"]
    errors: Float[Tensor, " rows"]
    exactness: Exactness

    def _facts(self) -> Facts:
        yield "answer", f"answer of {counted(len(self.terms), 'token')}"
        yield "tokens", f"to {counted(self.first, 'token')}"
        yield "values", self.kind
        yield "log-probability", f"log-probability {float(self.log_probabilities.sum()):.4g}"
        yield "dtype", self.exactness.dtype
        yield "exactness", error_text(self.exactness.exact, self.exactness.reconstruction)


@passes
def answer_split(
    lin: LinearMap,
    first: int,
    kind: TargetKind = "log-probability",
    baseline: str | int = "zero",
    progress: Progress | None = None,
) -> AnswerSplit:
    """Every token from ``first`` on as a sum over the text of ``lin``, which holds prompt and answer.

    One recording and one reverse pass a row, many rows at a time; no matrix. ``kind``: "log-probability" or "logit".
    ``baseline``: "zero", "mean" or a token, as in ``logit_split``. Raises EqlinError where no token of the text stands
    at ``first`` or after it, or none before it, for a map that does not end at the output, and for what will not fit.
    """
    arguments.called("progress", progress)
    lm, n = checked_map(lin).lm, lin.n_tokens
    arguments.choice("kind", kind, TARGET_KINDS)
    if not isinstance(baseline, str):
        baseline = arguments.whole("baseline, unless it is a text,", baseline, 0)
    first = arguments.whole("first", first, 1, n - 1, f"the text has {n} tokens")
    if lin.network.target != "output" or lin.network.source != "embedding":
        raise EqlinError("An answer is split from the embeddings to the output: linearize without another place.")
    require_room_for_rows(lm, n, n - first, lin.convention)
    ids, positions = lin.token_ids[first:], list(range(first - 1, n - 1))
    outputs = lin.network.values.detach()[positions]
    w, log_p = _directions(lin, outputs, ids, kind)
    products = (wide(w) * wide(outputs)).sum(-1)
    m = lin.baseline(baseline)
    constant = lin.network.replay(m.expand(1, *lin.inputs.shape).contiguous())[0, positions]
    terms = _terms(lin, w, positions, wide(lin.inputs - m), progress)
    constants = (wide(w) * wide(constant)).sum(-1)
    sizes = (wide(w).norm(dim=-1) * wide(outputs).norm(dim=-1)).clamp_min(torch.finfo(torch.float64).tiny)
    errors = (terms.sum(-1) + constants - products).abs() / sizes  # of a token that is certain both may be zero
    values = products if kind == "logit" else log_p
    return AnswerSplit(
        first=first,
        token_ids=list(ids),
        tokens=list(lin.tokens),
        kind=kind,
        baseline=baseline,
        terms=terms,
        constants=constants,
        normalisers=values - products,
        values=values,
        log_probabilities=log_p,
        errors=errors,
        exactness=_exactness(lin, positions, outputs, float(errors.max())),
    )


def _terms(
    lin: LinearMap,
    w: Float[Tensor, "rows d"],
    positions: list[int],
    inputs: Float[Tensor, "tokens d"],
    progress: Progress | None,
) -> Float[Tensor, "rows tokens"]:
    """w . J_i x_i of every row at its own position; what rows see of the inputs is held for a few of them at a time."""
    terms = []
    for start, stop in _parts(len(w)):
        reports = part(progress, start / len(w), stop / len(w))
        seen = lin.seen_from(w[start:stop], positions[start:stop], reports)
        terms.append(torch.einsum("rtd,td->rt", wide(seen), inputs))
    return torch.cat(terms)


def _directions(
    lin: LinearMap, outputs: Float[Tensor, "rows d"], ids: list[int], kind: TargetKind
) -> tuple[Float[Tensor, "rows d"], Float[Tensor, " rows"]]:
    """(w, log p) of every row."""
    w, log_p = lin.lm.unembedding[ids].to(outputs), []
    for start, stop in _parts(len(ids)):
        logs = wide(next_token_logits(lin.lm, outputs[start:stop])).log_softmax(-1)
        chosen = torch.tensor(ids[start:stop], device=logs.device)
        log_p.append(logs.gather(-1, chosen[:, None])[:, 0])
        if kind == "log-probability":
            own = wide(lin.lm.unembedding[ids[start:stop]])
            w[start:stop] = (own - mean_rows(lin.lm, logs.exp()).to(own)).to(w)
    return w, torch.cat(log_p).to(outputs.device)


def _parts(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, ROWS):
        yield start, min(start + ROWS, count)


def _exactness(lin: LinearMap, positions: list[int], outputs: Float[Tensor, "rows d"], error: float) -> Exactness:
    stock = wide(lin.stock()[positions]).to(outputs.device)
    forward = float(((wide(outputs) - stock).norm(dim=-1) / stock.norm(dim=-1)).max())
    dtype = dtype_name(lin.inputs.dtype)
    bounds, leaks = bounds_of(dtype, lin.products), list(lin.network.leaks)
    exact = error <= bounds[0] and forward <= bounds[1] and not leaks
    return Exactness(error, forward, dtype, exact, leaks, lin.products)
