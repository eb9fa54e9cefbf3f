"""What the model itself does with a study's prompt: without each of its tokens, and steered towards a concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eqlin_core.attribution.deletion import Deleter
from eqlin_core.attribution.methods import (
    attention_rollout,
    input_times_gradient,
    last_attention,
    random_scores,
    split_method,
)
from eqlin_core.attribution.study import faithfulness
from eqlin_core.errors import EqlinError
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.progress import Progress, part
from eqlin_core.runs.convention import PUBLISHED, Convention
from eqlin_core.runs.faithfulness import RANK, RANK_REST
from eqlin_core.runs.split import Split
from eqlin_core.steering.metrics import concept_continuation, steering_metrics
from eqlin_core.steering.operators import SteeringOperator, random_operator, steering_operator
from eqlin_core.steering.steer import steering_sweep

_CONCEPT = "concept"


@dataclass(frozen=True)
class Behaviour:
    """How tokens are deleted; the concept that steers prompts that name none in a column "concept", how strongly, and
    how many tokens are generated at each strength."""

    deletion: str = "mean"
    concept: str = ""
    strengths: tuple[float, ...] = (0.0, 0.5, 1.0)
    new_tokens: int = 12


def deletion_rows(
    lm: LanguageModel, token_ids: Sequence[int], predicted: int, asked: Behaviour
) -> tuple[list[float], list[dict[str, Any]]]:
    """(how much the predicted token's log-probability falls without each token, rows of every method's agreement)."""
    falls = Deleter(lm, token_ids, [predicted], asked.deletion).leave_one_out()[1][:, 0]
    halves = Convention("half", "half")
    methods = [
        split_method(Split("logit", "zero", PUBLISHED)),
        split_method(Split("log-probability", "zero", PUBLISHED)),
        split_method(Split("log-probability", "mean", halves)),
        input_times_gradient("log-probability"),
        last_attention(),
        attention_rollout(),
        random_scores(),
    ]
    found = faithfulness(lm, [list(token_ids)], methods, asked.deletion, None, curve=0)
    rows = [
        {
            "method": name,
            "exact": exact,
            "rank_agreement": float(found.values[RANK][n, 0]),
            "rank_agreement_rest": float(found.values[RANK_REST][n, 0]),
        }
        for n, (name, exact) in enumerate(zip(found.methods, found.exact, strict=True))
    ]
    return falls.tolist(), rows


def steering_rows(
    lm: LanguageModel,
    token_ids: Sequence[int],
    given: Mapping[str, Any],
    asked: Behaviour,
    operators: dict[str, Any],
    progress: Progress | None,
) -> list[dict[str, Any]]:
    """One row a strength: what the concept's operator does to the prompt, and one of its spectra at random."""
    concept = str(given.get(_CONCEPT) or asked.concept).strip()
    if not concept:
        raise EqlinError("No concept steers this prompt: name one, or give a column 'concept'.")
    if concept not in operators:
        made = steering_operator(lm, concept, final_norm=False, progress=part(progress, 0.0, 0.5))
        operators[concept] = (made, random_operator(made), concept_continuation(lm, made))
    operator, control, said = operators[concept]
    found = _measured(lm, token_ids, operator, said, asked, part(progress, 0.5, 0.75))
    against = _measured(lm, token_ids, control, said, asked, part(progress, 0.75, 1.0))
    return [
        {
            "concept": concept,
            "strength": strength,
            "log_probability": own[0],
            "random_log_probability": other[0],
            "divergence": own[1],
            "text": own[2],
        }
        for strength, own, other in zip(asked.strengths, found, against, strict=True)
    ]


def _measured(
    lm: LanguageModel,
    token_ids: Sequence[int],
    operator: SteeringOperator,
    said: Sequence[int],
    asked: Behaviour,
    progress: Progress | None,
) -> list[tuple[float, float, str]]:
    """(log-probability of what the concept says, KL from unsteered, text) of every strength."""
    sweep = steering_sweep(
        lm,
        operator=operator,
        token_ids=token_ids,
        strengths=asked.strengths,
        max_new_tokens=asked.new_tokens,
        keep_logits=False,
        progress=progress,
    )
    numbers = steering_metrics(lm, sweep.generations, operator, said)
    concept, divergence = numbers.concept.tolist(), numbers.divergence.tolist()
    return list(zip(concept, divergence, [g.text for g in sweep.generations], strict=True))
