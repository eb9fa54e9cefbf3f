"""Where steering stops being linear: the frozen map's forecast and the true derivative, beside real passes.

Everything after the injection is linear once it is frozen at the unsteered prompt. With the map K_i of position i from
the block's input to the output embedding y, a push of strength s gives y + s sum_i K_i delta_i, delta_i being what one
unit of strength adds to h_i.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.maps.linearization import linearize
from eqlin_core.models.experts import fitting_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.sites import Site
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.runs.steering import FormName
from eqlin_core.steering.forms import form_of
from eqlin_core.steering.injection import Injection, RunningSum
from eqlin_core.steering.operators import SteeringOperator

# Half the step of the central difference: small beside the curvature of real models, large beside the rounding. In half
# precision the derivative is then within 11 % (bfloat16) and 3 % (float16) of float32's, measured on the default model
# and a tiny one; float32's own step gives nothing but noise there.
_STEP = {torch.bfloat16: 0.1, torch.float16: 0.05}
_FINE_STEP = 5e-3
# What counts as still linear: the changed logits are off by less than this share of their change.
LINEAR_WITHIN = 0.25


@dataclass(frozen=True, eq=False)
class Forecast:
    """Changes of the logits W_U y by steering, forecast and real, for the strengths [S] and a few tokens [m].

    ``real``, ``frozen`` (the frozen map) and ``tangent`` (the derivative at strength 0) [S, m] are logits, each less
    the mean over the vocabulary, which no probability depends on; ``frozen_error`` and ``tangent_error`` [S] compare
    the changes of all logits, ||forecast - real|| / ||real||, and are 0 at strength 0.
    """

    strengths: Float[Tensor, " S"]
    token_ids: list[int]
    real: Float[Tensor, "S m"]
    frozen: Float[Tensor, "S m"]
    tangent: Float[Tensor, "S m"]
    frozen_error: Float[Tensor, " S"]
    tangent_error: Float[Tensor, " S"]

    def linear_until(self, within: float = LINEAR_WITHIN) -> float:
        """The largest strength up to which the derivative's forecast is off by less than ``within`` at every step."""
        order = self.strengths.argsort()
        last = 0.0
        for strength, error in zip(self.strengths[order].tolist(), self.tangent_error[order].tolist(), strict=True):
            if error > within:
                break
            last = strength
        return last


@passes
@torch.no_grad()
def steering_forecast(
    lm: LanguageModel,
    ids: Sequence[int],
    operator: SteeringOperator,
    strengths: Sequence[float],
    token_ids: Sequence[int],
    *,
    form: FormName = "reference",
    block: int | None = None,
    progress: Progress | None = None,
) -> Forecast:
    """Forecast and reality of the logits of ``token_ids`` at every strength, for the token after the prompt ``ids``.

    Raises EqlinError for a model whose later blocks cannot be frozen, and for bad strengths.
    """
    if not strengths or not token_ids:
        raise EqlinError("A forecast needs at least one strength and one token.")
    at, way = operator.block if block is None else block, form_of(form)
    report(progress, 0.0, "Forecast from the frozen map")
    lin = linearize(lm, token_ids=list(ids), source=Site(at, "input"), **operator.convention.keywords)
    embeddings = lm.model.get_input_embeddings()(torch.tensor([list(ids)], device=lm.device))
    step = way.delta(lin.inputs[None], RunningSum(operator).advance(embeddings))[0]  # tokens x d
    unit = lin.apply(step.to(lin.inputs))
    report(progress, 0.5, "Real passes")
    origin = way.unsteered
    half_step = _STEP.get(lm.dtype, _FINE_STEP)
    near = [origin - half_step, origin + half_step]
    y = output_embeddings(lm, ids, operator, [*strengths, origin, *near], form=form, block=block)
    unembedding = lm.unembedding.to(y)
    weights = unembedding - unembedding.mean(0)
    s = torch.tensor(list(strengths), dtype=y.dtype, device=y.device)
    steps = (s - origin)[:, None]
    moved = y[: len(s)] - y[-3]  # S x d
    changes = {
        "real": moved,
        "frozen": way.units(s)[:, None] * unit.to(y),
        "tangent": steps * (y[-1] - y[-2]) / (2 * half_step),
    }
    base = weights @ y[-3]
    chosen = torch.tensor(list(token_ids), device=y.device)
    real = changes["real"] @ weights.T
    sizes = real.norm(dim=-1)

    def error(name: str) -> Tensor:
        wrong = (changes[name] @ weights.T - real).norm(dim=-1)
        return torch.where(steps[:, 0] == 0, 0.0, wrong / sizes.clamp_min(torch.finfo(sizes.dtype).tiny))

    logits = {name: base[chosen] + change @ weights[chosen].T for name, change in changes.items()}
    report(progress, 1.0, "Forecast")
    return Forecast(wide(s), list(token_ids), **logits, frozen_error=error("frozen"), tangent_error=error("tangent"))


@passes
@torch.no_grad()
def output_embeddings(
    lm: LanguageModel,
    ids: Sequence[int],
    operator: SteeringOperator,
    strengths: Sequence[float],
    *,
    form: FormName = "reference",
    block: int | None = None,
) -> Float[Tensor, "S d"]:
    """y after the prompt at every strength, from real passes in one batch."""
    injection = Injection(lm, operator, list(strengths), form=form, block=block, negative=True)
    tokens = torch.tensor([list(ids)], device=lm.device)
    with injection.hooked(), fitting_experts(lm.model, lm.dtype):
        injection.advance(lm.model.get_input_embeddings()(tokens))
        return lm.decoder(input_ids=tokens, use_cache=False).last_hidden_state[:, -1]
