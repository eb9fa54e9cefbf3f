"""What freezing hides: the measured effect of deleting a token, the exact map's part of it and what it holds fixed.

The frozen network is run without the token, then with its attention set free, its norms, its gates: each step's change
is what that kind would have done, and together they are what the untouched model does.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.inputs import require_embeddings
from eqlin_core.freezing.network import RULES, FrozenNetwork
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.baselines import MEAN, baseline_embedding
from eqlin_core.models.experts import eager_experts
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget

# Set free one after the other; experts are chosen anew together with the gates.
ORDER = ("attention", "norms", "gates")
_FREED = ({"attention"}, {"attention", "norms"}, {"attention", "norms", "gates", "router"})


@dataclass(frozen=True)
class HiddenEffects:
    """For every direction w and token i, how much w . y falls when x_i is replaced by the filler; all [m, tokens].

    ``map``: w . J_i (x_i - filler), the exact split's term; ``attention``, ``norms``, ``gates``: what is added as these
    are set free, in this order. They sum to ``measured``, the fall in the untouched model.
    """

    map: Float[Tensor, "m tokens"]
    attention: Float[Tensor, "m tokens"]
    norms: Float[Tensor, "m tokens"]
    gates: Float[Tensor, "m tokens"]
    measured: Float[Tensor, "m tokens"]


@passes
def hidden_effects(
    lin: LinearMap, directions: Float[Tensor, "m d"], filler: str | int = MEAN, progress: Progress | None = None
) -> HiddenEffects:
    """Every token's deletion, kind by kind: T replays of the frozen network at each step, T rows of the model itself.

    ``lin`` leads from the embeddings to the output; its convention says what its map and its held gates are. Raises
    EqlinError for another map and for a filler that is not one token.
    """
    require_whole(lin)
    arguments.rows("directions", directions, len(lin.output))
    arguments.called("progress", progress)
    w = directions.to(lin.output)
    put = baseline_embedding(lin.lm, filler).to(lin.inputs)

    def without(start: int, stop: int) -> Tensor:
        rows = lin.inputs.expand(stop - start, *lin.inputs.shape).clone()
        rows[torch.arange(stop - start), torch.arange(start, stop)] = put
        return rows

    outputs = set_free(lin, lin.n_tokens, without, progress)
    falls = (w @ lin.output)[:, None] - torch.einsum("md,snd->smn", w, outputs.to(w))  # steps, m, T
    attention, norms, gates = (falls[n] - falls[n - 1] for n in range(1, len(falls)))
    return HiddenEffects(falls[0], attention, norms, gates, falls[-1])


def set_free(
    lin: LinearMap, count: int, rows: Callable[[int, int], Tensor], progress: Progress | None = None
) -> Float[Tensor, "steps count d"]:
    """The outputs of ``count`` other prompts in the frozen network, then with each kind of ``ORDER`` set free as well.

    ``rows(start, stop)`` gives the embeddings [stop - start, T, d] of some of them. The last step is the untouched
    model.
    """
    outputs = lin.output.new_empty(1 + len(ORDER), count, len(lin.output))

    def step(n: int, run: FrozenNetwork | None) -> None:
        def part(start: int, stop: int) -> None:
            given = rows(start, stop)
            with torch.no_grad():
                y = stock_outputs(lin, given) if run is None else run.replay(given)[:, lin.position]
            outputs[n, start:stop] = y.to(outputs)
            report(progress, (n + stop / count) / len(outputs), ("The frozen map", *ORDER)[n].capitalize())

        budget.in_chunks(count, lin._pass_rows(), part)

    step(0, lin.network)
    for n, freed in enumerate(_FREED, 1):
        held = RULES - freed
        step(n, _freed(lin, held) if held else None)
    return outputs


def require_whole(lin: LinearMap) -> None:
    """Raise EqlinError for a map that does not lead from the embeddings to the output, or reads ids beside them."""
    network = checked_map(lin).network
    if network.source != "embedding" or network.target != "output":
        raise EqlinError("What freezing hides is measured of the map from the embeddings to the output.")
    require_embeddings(lin.lm)


def _freed(lin: LinearMap, held: Collection[str]) -> FrozenNetwork:
    return FrozenNetwork(lin.lm, lin.inputs, convention=lin.convention, rules=held, ids=lin.token_ids)


def stock_outputs(lin: LinearMap, rows: Float[Tensor, "n tokens d"]) -> Float[Tensor, "n d"]:
    """The untouched model's outputs at the map's position, of prompts with these embeddings."""
    with eager_experts(lin.lm.model):  # the fused experts know no float64
        return lin.network.decoder(inputs_embeds=rows, use_cache=False).last_hidden_state[:, lin.position]
