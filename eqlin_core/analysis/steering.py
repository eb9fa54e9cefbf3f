"""A whole steering experiment as plain arrays: texts at a grid of strengths, their metrics, a control and a forecast.

It is computed once, in stages that are published as they are finished; whoever looks only switches between results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from eqlin_core.dtypes import dtype_name, to_numpy, wide
from eqlin_core.errors import EqlinError
from eqlin_core.linalg.truncated_svd import stable_rank, truncated_svd
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import CheckedIds
from eqlin_core.models.readout import read_output
from eqlin_core.models.sites import block_output, find_final_norm, find_layers
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part
from eqlin_core.runs.steering import (
    ForecastRun,
    Guide,
    Measured,
    NamedWord,
    OperatorFacts,
    SteeringGrid,
    SteeringPlan,
    Text,
)
from eqlin_core.steering.flips import flip_strength
from eqlin_core.steering.forecast import Forecast, steering_forecast
from eqlin_core.steering.generation import Generation, Sampling, Settings, end_tokens, read_prompt, text_of
from eqlin_core.steering.injection import Injection, RunningSum
from eqlin_core.steering.metrics import concept_continuation, steering_metrics, word_log_probabilities
from eqlin_core.steering.naming import naming_words
from eqlin_core.steering.operators import SteeringOperator, check_block, check_depth, operator_angle, random_operator
from eqlin_core.steering.steer import SteeringSweep, sweep_of

READ = 8


@dataclass(frozen=True)
class ReadPlan:
    """A plan that one model can carry out, its texts read as tokens; ``concepts`` by their words."""

    plan: SteeringPlan
    prompt: CheckedIds
    concepts: dict[str, CheckedIds]


def read_plan(lm: LanguageModel, plan: SteeringPlan) -> ReadPlan:
    """The plan with its texts read. Raises EqlinError for one that cannot be carried out, at once."""
    concepts = read_concepts(lm, plan)
    Sampling(plan.temperature, plan.top_p, plan.seed)
    return ReadPlan(plan, read_prompt(lm, plan.prompt, chat=plan.chat, followed_by=plan.max_new_tokens), concepts)


def read_concepts(lm: LanguageModel, plan: SteeringPlan) -> dict[str, CheckedIds]:
    """The plan's concepts, read: one or two, or only the second where an operator's file stands for the first.

    Raises EqlinError for an empty concept, and for a depth or a block that does not exist.
    """
    if plan.file is None or plan.second.strip():
        check_depth(lm, plan.layers)
    if plan.block is not None:
        check_block(lm, plan.block)
    if plan.file is None and not plan.concept.strip():
        raise EqlinError("The concept is empty: type the words that shall steer.")
    words = [*([plan.concept] if plan.file is None else []), *([plan.second] if plan.second.strip() else [])]
    return {concept: read_prompt(lm, concept) for concept in words}


def steering_grid(
    lm: LanguageModel,
    read: ReadPlan,
    operators: Sequence[SteeringOperator],
    *,
    progress: Progress | None = None,
    publish: Callable[[SteeringGrid], Any] | None = None,
    on_texts: Callable[[list[str]], Any] | None = None,
) -> SteeringGrid:
    """The experiment of a plan with its one or two operators; ``publish`` gets what is finished, stage by stage.

    ``on_texts`` gets the texts of all rows after every generated token. Raises ``Cancelled`` from ``progress``.
    """
    trial = _Trial(lm, read)

    def show(rows: list[list[int]]) -> None:
        assert on_texts is not None
        on_texts([text_of(lm, read.prompt, row) for row in rows])

    def tell(grid: SteeringGrid) -> SteeringGrid:
        if publish is not None:
            publish(grid)
        return grid

    made = trial.sweep(operators, part(progress, 0.0, 0.35), show if on_texts else None)
    grid = tell(trial.begun(made))
    said = concept_continuation(lm, operators[0])
    measured = trial.measured(made, operators, said, part(progress, 0.35, 0.45))
    grid = replace(grid, continuation=lm.token_strings(said), measured=measured)
    facts = _facts(lm, read.prompt, operators)
    words = naming_words(lm, facts[0].concept, operators[0].token_ids, [token for token, _ in facts[0].push_reads])
    grid = tell(replace(grid, operators=facts, named=trial.named(words, operators)))
    if len(operators) == 1:
        grid = tell(trial.with_forecast(grid, made, operators[0], progress))
    turned = [random_operator(one, seed=i) for i, one in enumerate(operators)]
    control = trial.sweep(turned, part(progress, 0.6, 0.9))
    against = trial.measured(control, turned, said, part(progress, 0.9, 1.0))
    named = [
        replace(word, control=other.log_probability)
        for word, other in zip(grid.named, trial.named(words, turned), strict=True)
    ]
    texts = [_text(lm, g) for g in control]
    return replace(grid, control_texts=texts, control=against, named=named, complete=True)


@dataclass(frozen=True)
class _Trial:
    """The plan on its model: what the stages of a grid do with one set of operators or another."""

    lm: LanguageModel
    read: ReadPlan

    @property
    def plan(self) -> SteeringPlan:
        return self.read.plan

    def strengths(self, operators: Sequence[SteeringOperator]) -> list[Any]:
        """One for each row: a number for a single operator, else a tuple."""
        return [s[0] if len(operators) == 1 else s for s in self.plan.strengths]

    def sweep(
        self,
        operators: Sequence[SteeringOperator],
        progress: Progress | None,
        on_tokens: Callable[[list[list[int]]], Any] | None = None,
    ) -> SteeringSweep:
        """The texts at all strengths."""
        injection = Injection(self.lm, list(operators), self.strengths(operators), form=self.plan.form)
        settings = _settings(self.plan)
        return sweep_of(self.lm, self.read.prompt, injection, settings, progress, on_tokens)

    def begun(self, made: SteeringSweep) -> SteeringGrid:
        """The grid that has its texts."""
        return SteeringGrid(
            plan=self.plan,
            model=self.lm.name,
            dtype=dtype_name(self.lm.dtype),
            strengths=self.plan.strengths,
            prompt_tokens=self.lm.token_strings(self.read.prompt),
            operators=[],
            texts=[_text(self.lm, g) for g in made],
        )

    def measured(
        self,
        made: SteeringSweep,
        operators: Sequence[SteeringOperator],
        said: Sequence[int],
        progress: Progress | None,
    ) -> Measured:
        """What the operators did; ``said`` is what the concept would say."""
        metrics = steering_metrics(
            self.lm, made.generations, list(operators), said, form=self.plan.form, progress=progress
        )
        return Measured(*(to_numpy(a) for a in (metrics.concept, metrics.divergence, metrics.perplexity)))

    def named(self, words: Sequence[tuple[str, list[int]]], operators: Sequence[SteeringOperator]) -> list[NamedWord]:
        """How likely the words that name the concept come right after the prompt."""
        values = word_log_probabilities(
            self.lm,
            self.read.prompt,
            [ids for _, ids in words],
            list(operators),
            self.strengths(operators),
            form=self.plan.form,
        )
        return [NamedWord(text, to_numpy(row)) for (text, _), row in zip(words, values, strict=True)]

    def with_forecast(
        self, grid: SteeringGrid, made: SteeringSweep, operator: SteeringOperator, progress: Progress | None
    ) -> SteeringGrid:
        """The grid with where a single operator flips the next token, and what the frozen map forecasts of it."""
        greedy = self.plan.temperature == 0
        flip = flip_strength(
            self.lm,
            token_ids=self.read.prompt,
            operator=operator,
            token=_favoured(self.plan, made),
            form=self.plan.form,
            scanned={float(g.strength): g.token_ids[0] for g in made} if greedy else None,  # type: ignore[arg-type]
            progress=part(progress, 0.45, 0.55),
        )
        seen = [made.generations[grid.unsteered].token_ids[0], flip.token_id]
        forecast = steering_forecast(
            self.lm,
            self.read.prompt,
            operator,
            self.strengths([operator]),
            list(dict.fromkeys(seen)),
            form=self.plan.form,
            progress=part(progress, 0.55, 0.6),
        )
        return replace(grid, flip=flip, forecast=_forecast(self.lm, forecast))


def steered_text(
    lm: LanguageModel,
    read: ReadPlan,
    operators: Sequence[SteeringOperator],
    strength: tuple[float, ...],
    *,
    progress: Progress | None = None,
    on_text: Callable[[str], Any] | None = None,
) -> Text:
    """The text of a plan at one strength that need not be on its grid; ``on_text`` gets it after every token."""
    injection = Injection(lm, list(operators), [strength], form=read.plan.form)
    settings, ends = _settings(read.plan), end_tokens(lm)

    def tell(rows: list[list[int]]) -> None:
        assert on_text is not None
        on_text(text_of(lm, read.prompt, [i for i in rows[0] if i not in ends]))

    (made,) = sweep_of(lm, read.prompt, injection, settings, progress, tell if on_text else None)
    return _text(lm, made)


def _settings(plan: SteeringPlan) -> Settings:
    return Settings(plan.max_new_tokens, Sampling(plan.temperature, plan.top_p, plan.seed), keep_logits=False)


@torch.no_grad()
@passes
def depth_guide(lm: LanguageModel, concept: str, k: int = 4) -> Guide:
    """Where the concept lives: for each depth what the operator makes of its own concept, read out as tokens.

    Beside the read-outs, the log-probability at each depth of what the model says in the end, and of the first tokens
    of the concept's own words. An operator applied to its own concept gives the concept's state after that block, so
    one pass serves all depths.
    """
    ids = read_prompt(lm, concept)
    decoder = lm.decoder
    layers = find_layers(decoder, lm.n_layers)
    norm = find_final_norm(decoder, layers)
    seen: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _m, _a, out: seen.append(block_output(out)[0, -1])) for layer in layers
    ]
    try:
        with fitting_experts(lm.model, lm.dtype):
            logits = lm.model(input_ids=torch.tensor([ids], device=lm.device), use_cache=False).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    states = torch.stack([norm(state[None])[0] for state in seen])
    final = int(logits.argmax())
    log_p = wide(states @ lm.unembedding.T).log_softmax(-1)
    words = naming_words(lm, concept, ids)
    return Guide(
        concept,
        read_output(lm, states, k),
        log_p[:, final].tolist(),
        lm.token_strings([final])[0],
        [text for text, _ in words],
        [log_p[:, of[0]].tolist() for _, of in words],
    )


def _favoured(plan: SteeringPlan, made: SteeringSweep) -> int:
    """The next token, other than the unsteered model's own, that most strengths choose; its own where none does."""
    own = made.generations[plan.unsteered].token_ids[0]
    others = [g.token_ids[0] for g in made if g.token_ids[0] != own]
    return max(others, key=others.count) if others else own


@torch.no_grad()
def _facts(lm: LanguageModel, ids: list[int], operators: Sequence[SteeringOperator]) -> list[OperatorFacts]:
    embeddings = lm.model.get_input_embeddings()(torch.tensor([ids], device=lm.device))
    pushes = [RunningSum(one).advance(embeddings)[0, -1] for one in operators]
    angles: list[float | None] = [None, None]
    if len(operators) == 2:
        cosine = torch.nn.functional.cosine_similarity(wide(pushes[0]), wide(pushes[1]), dim=0)
        angles = [float(torch.rad2deg(cosine.clamp(-1, 1).acos())), operator_angle(operators[0], operators[1])]
    facts = []
    for one, push in zip(operators, pushes, strict=True):
        state = push
        if not one.final_norm:
            decoder = lm.decoder
            state = find_final_norm(decoder, find_layers(decoder, lm.n_layers))(push.to(lm.dtype)[None])[0]
        sigma = truncated_svd(one.J, 1)[1][:, 0]
        (reads,) = read_output(lm, state, READ)
        ranks = to_numpy(stable_rank(one.J, sigma))
        facts.append(OperatorFacts(one.concept, one.layers, list(one.tokens), ranks, reads, *angles))
    return facts


def _text(lm: LanguageModel, g: Generation) -> Text:
    shown = g.token_ids[:-1] if g.ended else g.token_ids
    return Text(lm.token_strings(shown), list(g.token_ids), g.text, g.ended)


def _forecast(lm: LanguageModel, forecast: Forecast) -> ForecastRun:
    arrays = {
        name: to_numpy(getattr(forecast, name))
        for name in ("strengths", "real", "frozen", "tangent", "frozen_error", "tangent_error")
    }
    return ForecastRun(**arrays, tokens=lm.token_strings(forecast.token_ids), linear_until=forecast.linear_until())
