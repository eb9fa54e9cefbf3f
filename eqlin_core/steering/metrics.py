"""What steering does, in numbers: how well the concept is said, how far the model is moved, and is it still language.

All of them come from ordinary passes over known tokens, many strengths in one batch; nothing is generated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError, out_of_memory
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget
from eqlin_core.runs.steering import UNSTEERED, FormName
from eqlin_core.steering.generation import Generation, Settings, end_tokens, generate_rows
from eqlin_core.steering.injection import Injection, Operators, Strength
from eqlin_core.steering.operators import SteeringOperator

CONTINUATION = 6


@dataclass(frozen=True, eq=False)
class SteeringMetrics:
    """One number for each strength; logarithms are natural, so log-probability and KL are in nats.

    ``concept`` [S]: mean log-probability of a token of the concept's continuation, after the new prompt, steered.
    ``divergence`` [S]: KL(steered || unsteered) of the next-token distribution after the prompt.
    ``perplexity`` [S]: of the steered text under the unsteered model; NaN where nothing was generated.
    """

    concept: Float[Tensor, " S"]
    divergence: Float[Tensor, " S"]
    perplexity: Float[Tensor, " S"]


def steering_metrics(
    lm: LanguageModel,
    generations: Sequence[Generation],
    operator: Operators,
    continuation: Sequence[int],
    *,
    form: FormName = "reference",
    block: int | None = None,
    progress: Progress | None = None,
) -> SteeringMetrics:
    """The metrics of a sweep's generations, made with ``operator``; ``continuation`` is what the concept would say.

    Raises EqlinError for an empty continuation or no generations.
    """
    if not continuation or not generations:
        raise EqlinError("Metrics need at least one generation and one token of the concept's continuation.")
    ids = generations[0].prompt_ids
    strengths: list[Strength] = [g.strength for g in generations]
    rest = resting(strengths[0], form)
    # The unsteered distribution is a row of the same batch: in a pass of another shape it is rounded otherwise.
    rows = strengths if rest in strengths else [*strengths, rest]
    said, next_p = _continued(lm, ids, continuation, operator, rows, form, block, progress)
    own_p = next_p[rows.index(rest)]
    said, next_p = said[: len(strengths)], next_p[: len(strengths)]
    divergence = (next_p.exp() * (next_p - own_p)).nan_to_num(0.0).sum(-1)
    report(progress, 0.6, "Perplexity")
    return SteeringMetrics(said.mean(-1), divergence.clamp_min(0.0), perplexities(lm, ids, generations, progress))


def word_log_probabilities(
    lm: LanguageModel,
    ids: Sequence[int],
    words: Sequence[Sequence[int]],
    operator: Operators,
    strengths: Sequence[Strength],
    *,
    form: FormName = "reference",
    block: int | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "words S"]:
    """Mean log-probability of a token of each word, given as token ids, right after the prompt, steered.

    One pass serves all words of one token; a longer one needs its own. Raises EqlinError for an empty word.
    """
    if not all(words):
        raise EqlinError("A word that names the concept needs at least one token.")
    values: dict[tuple[int, ...], Tensor] = {}
    following: Tensor | None = None
    for word in sorted({tuple(word) for word in words}, key=len, reverse=True):
        if len(word) > 1 or following is None:
            said, following = _continued(lm, ids, word, operator, strengths, form, block, progress)
            values[word] = said.mean(-1)
        else:
            values[word] = following[:, word[0]]
    return torch.stack([values[tuple(word)] for word in words]) if words else torch.empty(0, len(strengths))


def concept_continuation(lm: LanguageModel, operator: SteeringOperator, tokens: int = CONTINUATION) -> list[int]:
    """How the unsteered model goes on with the concept's prompt: up to ``tokens`` greedy token ids, without an end."""
    ends = end_tokens(lm)
    (new,), _ = generate_rows(lm, operator.token_ids, 1, Settings(tokens, keep_logits=False))
    said = [token for token in new if token not in ends]
    return said or new


def resting(strength: Strength, form: FormName = "reference") -> Strength:
    """The strength, of as many operators as ``strength`` has, at which nothing is steered."""
    rest = UNSTEERED[form]
    return tuple(rest for _ in strength) if isinstance(strength, Sequence) else rest


@passes
@torch.no_grad()
def steered_logits(
    lm: LanguageModel,
    rows: Sequence[Sequence[int]],
    kept: int,
    operator: Operators,
    strengths: Sequence[Strength],
    *,
    form: FormName = "reference",
    block: int | None = None,
) -> Float[Tensor, "rows kept vocab"]:
    """The logits at the last ``kept`` positions of equally long rows of tokens, each at its own strength."""

    def of(distinct: Sequence[Sequence[int]]) -> Tensor:
        injection = Injection(lm, operator, strengths, form=form, block=block)
        tokens = torch.tensor([list(row) for row in distinct], device=lm.device)
        with injection.hooked(), fitting_experts(lm.model, lm.dtype):
            injection.advance(lm.model.get_input_embeddings()(tokens))
            found: Tensor = lm.model(input_ids=tokens, use_cache=False, logits_to_keep=kept).logits
        return found

    if len({tuple(row) for row in rows}) > 1:
        return of(rows)
    try:
        return of(rows[:1])  # rows of the same tokens differ from the injection on only: one stands for all before it
    except RuntimeError as error:
        if len(rows) == 1 or out_of_memory(error):
            raise
        return of(rows)  # its blocks read the embeddings again, which have a row for each then


@passes
@torch.no_grad()
def perplexities(
    lm: LanguageModel, ids: Sequence[int], generations: Sequence[Generation], progress: Progress | None = None
) -> Float[Tensor, " S"]:
    """exp of the mean negative log-probability of each generated text, after the prompt, under the unsteered model."""
    longest = max(len(g.token_ids) for g in generations)
    if longest == 0:
        return torch.full((len(generations),), float("nan"), dtype=torch.float64)
    padding = ids[0]  # follows a text that ended early, where its logits are not read
    rows = [[*ids, *g.token_ids, *[padding] * (longest - len(g.token_ids))] for g in generations]
    values: list[float] = []
    chunk = _rows_at_once(lm, longest + 1)
    for start in range(0, len(rows), chunk):
        report(progress, 0.6 + 0.4 * start / len(rows), "Perplexity")
        tokens = torch.tensor(rows[start : start + chunk], device=lm.device)
        with fitting_experts(lm.model, lm.dtype):
            logits = lm.model(input_ids=tokens, use_cache=False, logits_to_keep=longest + 1).logits[:, :-1]
        for row, g in zip(logits, generations[start : start + chunk], strict=True):
            log_p = wide(row[: len(g.token_ids)]).log_softmax(-1)
            log_p = log_p.gather(-1, torch.tensor(g.token_ids, device=log_p.device)[:, None])
            values.append(float((-log_p.mean()).exp()))
    return torch.tensor(values, dtype=torch.float64)


def _continued(
    lm: LanguageModel,
    ids: Sequence[int],
    continuation: Sequence[int],
    operator: Operators,
    strengths: Sequence[Strength],
    form: FormName,
    block: int | None,
    progress: Progress | None,
) -> tuple[Tensor, Tensor]:
    """([S, m] log-probabilities of the continuation's tokens, [S, vocab] of the next token), steered, in float64."""
    kept, chunk = len(continuation) + 1, _rows_at_once(lm, len(continuation) + 1)
    expected = torch.tensor(list(continuation), device=lm.device)
    said, following = [], []
    for start in range(0, len(strengths), chunk):
        report(progress, 0.6 * start / len(strengths), "Log-probability of the concept")
        part = strengths[start : start + chunk]
        rows = [[*ids, *continuation]] * len(part)
        log_p = wide(steered_logits(lm, rows, kept, operator, part, form=form, block=block)).log_softmax(-1)
        chosen = expected.to(log_p.device)[None, :, None].expand(len(part), -1, 1)
        said.append(log_p[:, :-1].gather(-1, chosen)[..., 0])
        following.append(log_p[:, 0])
    return torch.cat(said), torch.cat(following)


def _rows_at_once(lm: LanguageModel, positions: int) -> int:
    """Rows whose logits fit into the memory budget: at float64, three copies at once."""
    size = 3 * 8 * positions * int(lm.input_embeddings.shape[0])
    return max(1, min(64, budget.free_bytes(lm.device) // 4 // size))
