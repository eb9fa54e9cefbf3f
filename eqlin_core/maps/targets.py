"""Directions of the output space that a prediction is read along: logits, log-probabilities, contrasts, sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.baselines import token_id
from eqlin_core.models.readout import mean_rows, next_token_logits
from eqlin_core.runs.split import TARGET_KINDS, TargetKind

Token = str | int


def direction(
    lin: LinearMap, token: Token | Sequence[Token], kind: TargetKind = "logit", *, versus: Token | None = None
) -> Float[Tensor, " d"]:
    """w [d], so that w . y is what ``kind`` says of the token: the terms of every split of it sum to w . y.

    "logit": the token's row W_t of the unembedding. "log-probability": W_t - sum_v p_v W_v, with p the model's own
    next-token distribution: the derivative of log p_t by y, which sums to the logit less the mean logit under p.
    Several tokens: the rows' mean, each weighted by its probability among them. ``versus``: the difference to a second
    token, for which both kinds are the same. Raises EqlinError for what is not a token of the model, and for a map that
    does not end at the output.
    """
    arguments.choice("kind", kind, TARGET_KINDS)
    lm = checked_map(lin).lm
    several = not isinstance(token, str) and arguments.as_whole(token) is None
    tokens: Any = (
        arguments.several("token", token, "a token or a list of at least one token", least=1) if several else [token]
    )
    ids = [token_id(lm, t) for t in tokens]
    rows = wide(lm.unembedding[ids].to(lin.output.device))  # what is left of a difference may be small
    p = probabilities(lin) if kind == "log-probability" or several else None
    w = rows[0]
    if several:
        assert p is not None
        w = (p[ids] / p[ids].sum()).to(rows) @ rows
    if versus is not None:
        w = w - wide(lm.unembedding[token_id(lm, versus)]).to(w)
    elif kind == "log-probability":
        assert p is not None
        w = w - mean_row(lin, p).to(w)
    return w.to(lin.output)


def probabilities(lin: LinearMap) -> Float[Tensor, " vocab"]:
    """The next-token distribution at the map's output, in float64, with all that the model applies to its logits."""
    if lin.network.target != "output":
        raise EqlinError("Probabilities are read at the output: linearize without another target.")
    return wide(next_token_logits(lin.lm, lin.output[None])[0]).softmax(-1)


def mean_row(lin: LinearMap, p: Float[Tensor, " vocab"]) -> Float[Tensor, " d"]:
    """sum_v p_v W_v [d] in float64: along it y gives the mean of all logits under p."""
    return mean_rows(lin.lm, p[None])[0]
