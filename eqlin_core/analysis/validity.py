"""How far the frozen map of one prompt reaches, and what swapped tokens change, as runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from eqlin_core import arguments
from eqlin_core.analysis.prompt import next_logits, run_key, seen_ids, token_forms
from eqlin_core.attribution.unfreezing import ORDER
from eqlin_core.attribution.validity import POINTS, counterfactual, validity
from eqlin_core.dtypes import to_numpy, wide
from eqlin_core.errors import InvalidValue
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.maps.targets import direction
from eqlin_core.models.baselines import begin_token, token_id
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part
from eqlin_core.runs.split import TargetKind
from eqlin_core.runs.validity import CounterfactualRun, ValidityRun, Way
from eqlin_core.spectra.triplets import top_triplets

# What a token is moved along without another one: v_1 of its own matrix, signed so that v . x >= 0.
ALONG = "v1"


@passes
def validity_run(
    lin: LinearMap,
    token: int,
    towards: str | int | None = None,
    *,
    along: bool = False,
    points: int = POINTS,
    progress: Progress | None = None,
) -> ValidityRun:
    """The frozen map against the model on the way from one token's embedding to another's.

    ``towards``: a token's id, or its text as typed, with or without the space before it as the one that it replaces;
    None for the model's own likeliest other token in its place. ``along``: no token, but the direction that the token's
    own matrix reads most. Raises EqlinError for what is no token, or the same one.
    """
    has = f"the prompt has {checked_map(lin).n_tokens} tokens"
    token = arguments.position("token", token, lin.n_tokens, has)
    way: Way = "direction" if along else "alternative" if towards is None else "token"
    wanted: int | torch.Tensor
    if along:
        wanted = leading_direction(lin, token, part(progress, 0.0, 0.3))
    else:
        wanted = alternative(lin, token) if towards is None else typed_other(lin, token, towards)
    found = validity(lin, token, wanted, points=points, progress=part(progress, 0.3 if along else 0.0, 1.0))
    frozen, model = found.frozen_top.tolist(), found.model_top.tolist()
    names = lin.lm.token_strings([*frozen, *model])
    towards_id = None if isinstance(wanted, torch.Tensor) else wanted
    return ValidityRun(
        key=run_key(lin),
        position=token,
        token=lin.tokens[token],
        way=way,
        towards="v₁ of its matrix" if towards_id is None else lin.lm.token_strings([towards_id])[0],
        towards_id=towards_id,
        fractions=to_numpy(found.fractions),
        divergence=to_numpy(found.divergence),
        frozen_ids=found.frozen_top.cpu().numpy(),
        model_ids=found.model_top.cpu().numpy(),
        frozen_top=names[:points],
        model_top=names[points:],
        followed=names[points],
        parts={name: to_numpy(row) for name, row in zip(("map", *ORDER), found.parts, strict=True)},
        hidden=to_numpy(found.hidden),
        radius=None if found.radius == float("inf") else found.radius,
        length=found.length,
    )


def leading_direction(lin: LinearMap, token: int, progress: Progress | None = None) -> torch.Tensor:
    """v_1 of the token's own matrix, signed so that v . x >= 0."""
    v = top_triplets(lin, 1, token=token, progress=progress).Vh[0]
    return v if float(v @ lin.inputs[token].to(v)) >= 0 else -v


def alternative(lin: LinearMap, token: int) -> int:
    """The model's likeliest token in this place that is not there, by what stands before; of the first one, whatever
    it begins a text with, or else the likeliest next token."""
    before = lin.token_ids[:token]
    if not before:
        begin = begin_token(lin.lm)
        before = seen_ids(lin) if begin is None else [begin]
    likely = next_logits(lin.lm, before).topk(2).indices.tolist()
    return int(likely[0] if likely[0] != lin.token_ids[token] else likely[1])


def typed_other(lin: LinearMap, token: int, towards: str | int) -> int:
    """The id of a token that another one is to become; a text may lack the space before it."""
    if not isinstance(towards, str):
        return token_id(lin.lm, towards)
    forms = token_forms(lin.lm, towards)
    spaced = lin.tokens[token][:1] == " "
    alike = [i for i, name in zip(forms, lin.lm.token_strings(forms), strict=True) if (name[:1] == " ") == spaced]
    return [*alike, *forms][0]


@passes
def counterfactual_run(
    lin: LinearMap,
    other: Sequence[int],
    target: int,
    kind: TargetKind = "logit",
    progress: Progress | None = None,
) -> CounterfactualRun:
    """What the prompt with the token ids ``other`` changes in the logit or log-probability of the token ``target``.

    Of a map at another position than the last, tokens up to it. Raises EqlinError for a prompt of another length or
    without a difference.
    """
    w = direction(checked_map(lin), target, kind)
    own, ids = seen_ids(lin), list(other)
    if len(ids) != len(own):
        raise InvalidValue(f"The other prompt has {len(ids)} tokens, this one {len(own)}: choose one as long.")
    found = counterfactual(lin, [*ids, *lin.token_ids[len(own) :]], w[None], part(progress, 0.0, 0.9))
    hidden = {name: float(getattr(found, name)[0]) for name in ORDER}
    before, after = float(found.before[0]), float(found.after[0])
    if kind == "log-probability":
        logs = [wide(next_logits(lin.lm, of)).log_softmax(-1) for of in (own, ids)]
        direct = after - before
        before, after = (float(log[target]) for log in logs)
        hidden["softmax"] = after - before - direct
    return CounterfactualRun(
        key=run_key(lin),
        other_ids=tuple(ids),
        kind=kind,
        target=lin.lm.token_strings([target])[0],
        tokens=found.tokens[: len(own)],
        others=found.others[: len(own)],
        positions=found.positions,
        map=to_numpy(found.map[0]),
        hidden=hidden,
        before=before,
        after=after,
    )
