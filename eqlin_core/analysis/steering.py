"""A whole steering experiment as plain arrays: texts at a grid of strengths, their metrics, a control and a forecast.

It is computed once, in stages that are published as they are finished; whoever looks only switches between results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from eqlin_core.dtypes import dtype_name, to_numpy
from eqlin_core.errors import EqlinError
from eqlin_core.linalg.truncated_svd import stable_rank, truncated_svd
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.readout import read_output
from eqlin_core.models.sites import find_final_norm, find_layers
from eqlin_core.progress import Progress, part
from eqlin_core.runs.steering import (
    ForecastRun,
    Measured,
    OperatorFacts,
    SteeringGrid,
    SteeringPlan,
    Text,
)
from eqlin_core.runs.values import Row
from eqlin_core.steering.flips import flip_strength
from eqlin_core.steering.forecast import Forecast, steering_forecast
from eqlin_core.steering.generation import Generation, Sampling, read_prompt, text_of
from eqlin_core.steering.injection import RunningSum
from eqlin_core.steering.metrics import SteeringMetrics, concept_continuation, steering_metrics
from eqlin_core.steering.operators import SteeringOperator, check_block, check_depth, operator_angle, random_operator
from eqlin_core.steering.steer import SteeringSweep, steer, steering_sweep

READ = 8


def steering_grid(
    lm: LanguageModel,
    plan: SteeringPlan,
    operators: Sequence[SteeringOperator],
    *,
    progress: Progress | None = None,
    publish: Callable[[SteeringGrid], Any] | None = None,
    on_texts: Callable[[list[str]], Any] | None = None,
) -> SteeringGrid:
    """The experiment of ``plan`` with its one or two operators; ``publish`` gets what is finished, stage by stage.

    ``on_texts`` gets the texts of all rows after every generated token.

    Raises EqlinError for a bad prompt or setting, and ``Cancelled`` from ``progress``.
    """
    ids = read_prompt(lm, plan.prompt, chat=plan.chat, followed_by=plan.max_new_tokens)
    alone = len(operators) == 1
    acting: Any = operators[0] if alone else list(operators)
    strengths: list[Any] = [s[0] if alone else s for s in plan.strengths]

    def show(rows: list[list[int]]) -> None:
        assert on_texts is not None
        on_texts([text_of(lm, ids, row) for row in rows])

    def sweep(which: Any, steps: Progress | None, watched: bool = False) -> SteeringSweep:
        return steering_sweep(
            lm,
            token_ids=ids,
            operator=which,
            strengths=strengths,
            max_new_tokens=plan.max_new_tokens,
            form=plan.form,
            temperature=plan.temperature,
            top_p=plan.top_p,
            seed=plan.seed,
            keep_logits=False,
            progress=steps,
            on_tokens=show if watched and on_texts else None,
        )

    def tell(grid: SteeringGrid) -> SteeringGrid:
        if publish is not None:
            publish(grid)
        return grid

    made = sweep(acting, part(progress, 0.0, 0.35), watched=True)
    grid = tell(
        SteeringGrid(
            plan=plan,
            model=lm.name,
            dtype=dtype_name(lm.dtype),
            strengths=plan.strengths,
            prompt_tokens=lm.token_strings(ids),
            operators=[],
            texts=[_text(lm, g) for g in made],
        )
    )
    said = concept_continuation(lm, operators[0])
    measured = steering_metrics(lm, made.generations, acting, said, form=plan.form, progress=part(progress, 0.35, 0.45))
    grid = replace(grid, continuation=lm.token_strings(said), measured=_measured(measured))
    grid = tell(replace(grid, operators=_facts(lm, ids, operators)))
    if alone:
        flip = flip_strength(
            lm,
            token_ids=ids,
            operator=operators[0],
            token=_favoured(plan, made),
            form=plan.form,
            scanned={float(g.strength): g.token_ids[0] for g in made} if plan.temperature == 0 else None,  # type: ignore[arg-type]
            progress=part(progress, 0.45, 0.55),
        )
        seen = [made.generations[grid.unsteered].token_ids[0], flip.token_id]
        forecast = steering_forecast(
            lm,
            ids,
            operators[0],
            strengths,
            list(dict.fromkeys(seen)),
            form=plan.form,
            progress=part(progress, 0.55, 0.6),
        )
        grid = tell(replace(grid, flip=flip, forecast=_forecast(lm, forecast)))
    turned: Any = [random_operator(one, seed=i) for i, one in enumerate(operators)]
    turned = turned[0] if alone else turned
    control = sweep(turned, part(progress, 0.6, 0.9))
    against = steering_metrics(lm, control.generations, turned, said, form=plan.form, progress=part(progress, 0.9, 1.0))
    return replace(grid, control_texts=[_text(lm, g) for g in control], control=_measured(against), complete=True)


def check_plan(lm: LanguageModel, plan: SteeringPlan) -> None:
    """Raise EqlinError for a plan that cannot be carried out, before anything long is computed."""
    if plan.file is None or plan.second.strip():
        check_depth(lm, plan.layers)
    if plan.block is not None:
        check_block(lm, plan.block)
    Sampling(plan.temperature, plan.top_p, plan.seed)
    read_prompt(lm, plan.prompt, chat=plan.chat, followed_by=plan.max_new_tokens)
    for name, concept in (("concept", plan.concept), ("second concept", plan.second)):
        if not concept.strip() and name == "concept" and plan.file is None:
            raise EqlinError("The concept is empty: type the words that shall steer.")
        if concept.strip():
            read_prompt(lm, concept)


def steered_text(
    lm: LanguageModel,
    plan: SteeringPlan,
    operators: Sequence[SteeringOperator],
    strength: tuple[float, ...],
    *,
    progress: Progress | None = None,
    on_text: Callable[[str], Any] | None = None,
) -> Text:
    """The text of ``plan`` at one strength that need not be on its grid; ``on_text`` gets it after every token."""
    made = steer(
        lm,
        plan.prompt,
        list(operators),
        strength,
        plan.max_new_tokens,
        form=plan.form,
        temperature=plan.temperature,
        top_p=plan.top_p,
        seed=plan.seed,
        chat=plan.chat,
        progress=progress,
        on_token=None if on_text is None else lambda text, _: on_text(text),
    )
    return _text(lm, made)


@torch.no_grad()
def depth_guide(lm: LanguageModel, concept: str, k: int = 4) -> tuple[list[Row], list[float], str]:
    """Where the concept lives: for each depth what the operator makes of its own concept, read out as tokens.

    Returns the read-outs, the log-probability at each depth of what the model says in the end, and that token. An
    operator applied to its own concept gives the concept's state after that block, so one pass serves all depths.
    """
    ids = read_prompt(lm, concept)
    decoder = lm.model.get_decoder()
    layers = find_layers(decoder, lm.n_layers)
    norm = find_final_norm(decoder, layers)
    seen: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda m, a, out: seen.append((out[0] if isinstance(out, tuple) else out)[0, -1]))
        for layer in layers
    ]
    try:
        with fitting_experts(lm.model, lm.dtype):
            logits = lm.model(input_ids=torch.tensor([ids], device=lm.device), use_cache=False).logits[0, -1]
    finally:
        for handle in handles:
            handle.remove()
    states = torch.stack([norm(state[None])[0] for state in seen])
    final = int(logits.argmax())
    log_p = (states @ lm.unembedding.T).double().log_softmax(-1)[:, final].tolist()
    return read_output(lm, states, k), log_p, lm.token_strings([final])[0]


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
        cosine = torch.nn.functional.cosine_similarity(pushes[0].double(), pushes[1].double(), dim=0)
        angles = [float(torch.rad2deg(cosine.clamp(-1, 1).acos())), operator_angle(operators[0], operators[1])]
    found = []
    for one, push in zip(operators, pushes, strict=True):
        state = push
        if not one.final_norm:
            decoder = lm.model.get_decoder()
            state = find_final_norm(decoder, find_layers(decoder, lm.n_layers))(push.to(lm.dtype)[None])[0]
        sigma = truncated_svd(one.J, 1)[1][:, 0]
        (reads,) = read_output(lm, state, READ)
        ranks = to_numpy(stable_rank(one.J, sigma))
        found.append(OperatorFacts(one.concept, one.layers, list(one.tokens), ranks, reads, *angles))
    return found


def _text(lm: LanguageModel, g: Generation) -> Text:
    shown = g.token_ids[:-1] if g.ended else g.token_ids
    return Text(lm.token_strings(shown), list(g.token_ids), g.text, g.ended)


def _measured(metrics: SteeringMetrics) -> Measured:
    return Measured(*(to_numpy(a) for a in (metrics.concept, metrics.divergence, metrics.perplexity)))


def _forecast(lm: LanguageModel, forecast: Forecast) -> ForecastRun:
    arrays = {
        name: to_numpy(getattr(forecast, name))
        for name in ("strengths", "real", "frozen", "tangent", "frozen_error", "tangent_error")
    }
    return ForecastRun(**arrays, tokens=lm.token_strings(forecast.token_ids), linear_until=forecast.linear_until())
