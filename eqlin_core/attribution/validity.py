"""How far the frozen map reaches: one token's embedding is moved, and the map is held against the model itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.attribution.unfreezing import ORDER, require_whole, set_free, stock_outputs
from eqlin_core.dtypes import dtype_name, wide
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.models.baselines import token_id
from eqlin_core.models.prompts import prompt_ids, token_tensor
from eqlin_core.models.readout import next_token_logits
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part, report
from eqlin_core.reprs import Facts, ShortRepr, span

POINTS = 17
# The logits of all fractions are held at once.
MOST_POINTS = 1000
# To so much of the whole way the radius is known.
_CLOSE = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class Validity(ShortRepr):
    """The frozen map against the model while the embedding of token ``position`` goes a fraction t of a way.

    Of every fraction [S]: ``divergence``, KL(model || frozen map) of the next token in nats; ``frozen_top`` and
    ``model_top``, the likeliest tokens' ids; ``change`` of what is followed, the logit of the token that was likeliest
    at t = 0, by its ``parts`` [4, S]: the map, and what attention, norms and gates hide as they are set free in this
    order; the parts sum to the change in the model. ``hidden`` [S]: ||y_model - y_frozen|| / ||y_model - y||, the share
    of the output's change that the map does not have; NaN at t = 0.
    ``radius``: the smallest fraction at which the map's likeliest token is not the model's, inf where there is none up
    to t = 1; ``length``: how long the whole way is, in lengths of the token's embedding.
    """

    position: int
    token: str
    towards: str
    fractions: Float[Tensor, " S"]
    divergence: Float[Tensor, " S"]
    frozen_top: Int[Tensor, " S"]
    model_top: Int[Tensor, " S"]
    parts: Float[Tensor, "4 S"]
    hidden: Float[Tensor, " S"]
    radius: float
    length: float

    def _facts(self) -> Facts:
        yield "token", repr(self.token)
        yield "towards", f"towards {self.towards}"
        yield "fractions", f"t {span(self.fractions.tolist())}"
        yield "radius", f"radius {self.radius:.3g}"

    @property
    def agrees(self) -> Bool[Tensor, " S"]:
        """Where both have the same likeliest token."""
        return self.frozen_top == self.model_top


@passes
def validity(
    lin: LinearMap,
    position: int,
    towards: str | int | Float[Tensor, " d"],
    *,
    points: int = POINTS,
    progress: Progress | None = None,
) -> Validity:
    """Move the embedding of the token at ``position`` towards another token's, or along a direction of its own length.

    ``towards``: a token (text or id) or a vector [d], whose length does not count. ``points`` fractions from 0 to 1, at
    most 1000, are measured, in the frozen network, with each kind of coefficient set free, and in the model itself; the
    radius is then found by halving. Raises EqlinError for a position that is not there, what is no token, a vector of
    another width or without a length, for a map of an inner place, and where numbers overflow.
    """
    require_whole(lin)
    arguments.called("progress", progress)
    points = arguments.whole("points", points, 2, MOST_POINTS)
    has = f"the prompt has {lin.n_tokens} tokens"
    position = arguments.position("position", position, lin.n_tokens, has) % lin.n_tokens
    name, way = _way(lin, position, towards)
    fractions = torch.linspace(0, 1, points, dtype=torch.float64)
    outputs = set_free(lin, points, lambda a, b: _moved(lin, position, way, fractions[a:b]), part(progress, 0.0, 0.9))
    frozen, model = outputs[0], outputs[-1]
    logits = [wide(next_token_logits(lin.lm, y)).cpu() for y in (frozen, model)]
    if not bool(outputs.isfinite().all()) or not all(bool((of < torch.inf).all()) for of in logits):
        raise EqlinError(f"Numbers overflow in {dtype_name(lin.inputs.dtype)} on the way: choose a higher precision.")
    tops = [of.argmax(-1) for of in logits]
    logs = [of.log_softmax(-1) for of in logits]
    divergence = (logs[1].exp() * (logs[1] - logs[0])).nan_to_num(0.0).sum(-1).clamp_min(0.0)
    values, before = wide(outputs), wide(lin.output)
    followed = wide(lin.lm.unembedding[int(tops[1][0])]).to(values.device)
    change = values @ followed - before @ followed  # steps, S
    parts = torch.cat([change[:1], change.diff(dim=0)])
    moved = (wide(model) - wide(model[:1])).norm(dim=-1)
    missed = (wide(model) - wide(frozen)).norm(dim=-1)
    return Validity(
        position=position,
        token=lin.tokens[position],
        towards=name,
        fractions=fractions,
        divergence=divergence,
        frozen_top=tops[0],
        model_top=tops[1],
        parts=parts.cpu(),
        hidden=torch.where(moved > 0, missed / moved, torch.nan).cpu(),
        radius=_radius(lin, position, way, fractions, tops[0] == tops[1], part(progress, 0.9, 1.0)),
        length=float(wide(way).norm() / wide(lin.inputs[position]).norm()),
    )


@dataclass(frozen=True, eq=False, repr=False)
class Counterfactual(ShortRepr):
    """The change of m directions' w . y from one prompt to another of equal length, by what brings it; [m, ...].

    ``map`` [m, n]: w . J_i (x'_i - x_i) of each of the n positions that differ, ``positions``; ``attention``, ``norms``
    and ``gates`` [m]: what is added as these are set free in this order. They sum to ``measured`` [m], the change in
    the untouched model. ``before`` and ``after`` [m] are w . y of the two prompts.
    """

    tokens: list[str]
    others: list[str]
    positions: list[int]
    map: Float[Tensor, "m n"]
    attention: Float[Tensor, " m"]
    norms: Float[Tensor, " m"]
    gates: Float[Tensor, " m"]
    measured: Float[Tensor, " m"]
    before: Float[Tensor, " m"]
    after: Float[Tensor, " m"]

    def _facts(self) -> Facts:
        changed = [f"{self.tokens[i]!r} to {self.others[i]!r}" for i in self.positions]
        yield "changed", ", ".join(changed[:3]) + (" and more" if len(changed) > 3 else "")
        yield "measured", f"change {span(self.measured.tolist())}"


@passes
def counterfactual(
    lin: LinearMap,
    other: str | Sequence[int],
    directions: Float[Tensor, "m d"],
    progress: Progress | None = None,
) -> Counterfactual:
    """What another prompt of as many tokens changes: the map's part of each swapped token, and what freezing hides.

    ``other`` is a text or token ids; ``directions`` are rows w of the output space. Raises EqlinError for a prompt of
    another length, one without a difference, and for a map of an inner place.
    """
    require_whole(lin)
    arguments.rows("directions", directions, len(lin.output))
    arguments.called("progress", progress)
    ids = list(prompt_ids(lin.lm, other) if isinstance(other, str) else prompt_ids(lin.lm, None, other))
    if len(ids) != lin.n_tokens:
        raise InvalidValue(f"The other prompt has {len(ids)} tokens, this one {lin.n_tokens}: choose one as long.")
    positions = [i for i, (a, b) in enumerate(zip(lin.token_ids, ids, strict=True)) if a != b]
    if not positions:
        raise InvalidValue("The other prompt has the same tokens: change at least one.")
    with torch.no_grad():
        inputs = lin.lm.model.get_input_embeddings()(token_tensor(lin.lm, ids)).to(lin.inputs)

    def changed(start: int, stop: int) -> Tensor:
        """Each swap alone shows the map's part of it, for the map adds them up; all together what freezing hides."""
        rows = lin.inputs.expand(stop - start, *lin.inputs.shape).clone()
        for row, n in zip(rows, range(start, stop), strict=True):
            places = [positions[n]] if n < len(positions) else positions
            row[places] = inputs[places]
        return rows

    w = wide(directions.to(lin.output))
    outputs = wide(set_free(lin, len(positions) + 1, changed, progress))
    change = torch.einsum("md,snd->smn", w, outputs - wide(lin.output)).cpu()  # steps, m, swaps and all
    steps = change[:, :, -1].diff(dim=0)
    before = (w @ wide(lin.output)).cpu()
    return Counterfactual(
        tokens=list(lin.tokens),
        others=lin.lm.token_strings(ids),
        positions=positions,
        map=change[0, :, :-1],
        **dict(zip(ORDER, steps, strict=True)),
        measured=change[-1, :, -1],
        before=before,
        after=before + change[-1, :, -1],
    )


def _way(lin: LinearMap, position: int, towards: str | int | Tensor) -> tuple[str, Float[Tensor, " d"]]:
    """(what people call it, the whole way) from a token's embedding."""
    x = lin.inputs[position]
    if isinstance(towards, Tensor):
        arguments.tensor("towards", towards, f"[{len(x)}] (one vector)", tuple(x.shape).__eq__)
        length = float(wide(towards).norm())
        if not length > 0:
            raise InvalidValue("A direction without a length leads nowhere.")
        return "a direction", (wide(towards) * (float(wide(x).norm()) / length)).to(x)
    token = token_id(lin.lm, towards)
    with torch.no_grad():
        other = lin.lm.model.get_input_embeddings()(torch.tensor([token], device=lin.lm.device))[0].to(x)
    (name,) = lin.lm.token_strings([token])
    if not bool((other != x).any()):
        raise InvalidValue(f"The token at position {position} is {name!r} already: choose another.")
    return repr(name), other - x


def _moved(lin: LinearMap, position: int, way: Tensor, fractions: Tensor) -> Float[Tensor, "n tokens d"]:
    rows = lin.inputs.expand(len(fractions), *lin.inputs.shape).clone()
    rows[:, position] += fractions.to(way)[:, None] * way
    return rows


def _radius(
    lin: LinearMap, position: int, way: Tensor, fractions: Tensor, agrees: Tensor, progress: Progress | None
) -> float:
    """The fraction at which the likeliest tokens differ first, between two that were measured."""
    wrong = (~agrees).nonzero()
    if not len(wrong):
        return float("inf")
    first = int(wrong[0])
    if first == 0:
        return 0.0
    low, high = float(fractions[first - 1]), float(fractions[first])
    while high - low > _CLOSE:
        report(progress, 0.0, "Radius")
        middle = (low + high) / 2
        rows = _moved(lin, position, way, torch.tensor([middle], dtype=torch.float64))
        low, high = (middle, high) if _same_top(lin, rows) else (low, middle)
    report(progress, 1.0, "Radius")
    return high


@torch.no_grad()
def _same_top(lin: LinearMap, rows: Tensor) -> bool:
    frozen, model = lin.network.replay(rows)[:, lin.position], stock_outputs(lin, rows)
    return bool((next_token_logits(lin.lm, frozen).argmax(-1) == next_token_logits(lin.lm, model).argmax(-1)).all())
