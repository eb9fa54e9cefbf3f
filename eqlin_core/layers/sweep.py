"""The sweep over all layers: what the maps to every block, its attention and its MLP read and write.

Cumulative maps lead from the embeddings to a place, layer-wise ones from the block's own input (Golden 2025, section
4.3); both are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.layers.blocks import OpenNetwork
from eqlin_core.layers.collector import TOGETHER, Collector
from eqlin_core.layers.cost import SweepCost, sweep_cost
from eqlin_core.layers.maps import Maps, block_maps, forward_maps, reverse_maps
from eqlin_core.layers.results import KINDS, LayerSweep
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.maps.linearization import linearize
from eqlin_core.models.fields import largest
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report, shown
from eqlin_core.resources import budget
from eqlin_core.runs.convention import Convention, Share

# Of the time of a sweep that shows something early, what that takes.
_EARLY_SHARE = 0.4


@dataclass(frozen=True)
class Early:
    """What a sweep shows before it has everything: so many triplets of these kinds, of all layers.

    ``show`` takes the sweep of the layers that are there, the first time after ``TOGETHER`` layers, the last time
    with all.
    """

    show: Callable[[LayerSweep], None]
    kinds: tuple[str, ...] = ("layer",)
    k: int = 2


def layer_sweep(
    lm: LanguageModel,
    prompt: str | None = None,
    mode: str = "cumulative",
    kinds: Sequence[str] = KINDS,
    k: int = 8,
    token_ids: Sequence[int] | None = None,
    final_norm: bool = True,
    gated_path: Share = "up",
    progress: Progress | bool | None = None,
    *,
    attention: Share = "held",
    method: str | None = None,
    memory_budget: int | None = None,
) -> LayerSweep:
    """The k largest singular triplets of the maps to every layer and kind, their stable ranks and their read-outs.

    ``mode``: from the embeddings ("cumulative") or from each block's own input ("layerwise"), to what the explained
    position holds there, read through the final norm unless ``final_norm=False``. ``method`` is the cheaper of forward
    accumulation and reverse passes unless it is given; the former rests on held attention weights. ``gated_path`` and
    ``attention`` choose the map as in ``linearize``. ``progress(fraction, message)`` may cancel as in ``jacobian``;
    ``progress=True`` draws a bar.
    Raises EqlinError for what ``linearize`` refuses, unknown modes and kinds, and blocks without the wanted parts.
    """
    _check_choice(lm, mode, kinds, k, method)
    final_norm = arguments.flag("final_norm", final_norm)
    arguments.called("progress", progress, shows=True)
    dials = Convention(gated_path, attention)
    lin = linearize(lm, prompt, token_ids=token_ids, memory_budget=memory_budget, **dials.keywords)
    with shown(progress) as told:
        return sweep_map(lin, mode, kinds, k, final_norm=final_norm, progress=told, method=method)


@passes
def sweep_map(
    lin: LinearMap,
    mode: str = "cumulative",
    kinds: Sequence[str] | None = KINDS,
    k: int = 8,
    *,
    final_norm: bool = True,
    progress: Progress | None = None,
    method: str | None = None,
    early: Early | None = None,
) -> LayerSweep:
    """The same for a map from the embeddings to the output that is there already, with what is shown early, if any.

    ``kinds=None`` takes all that the blocks have: only block outputs where these are not a mixer and an MLP.
    """
    _check_choice(checked_map(lin).lm, mode, KINDS if kinds is None else kinds, k, method)
    net = OpenNetwork(lin)
    if kinds is None:
        kinds = KINDS if net.divided else ("layer",)
    if tuple(kinds) != ("layer",):
        net.require_parts()
    L = len(net.blocks)
    done, begun, share = 0, 0.0, 1.0

    def check() -> None:
        report(progress, begun + share * done / L, f"Layer {done + 1} of {L}")

    used, maps = _maps(net, mode, method, check)
    if early is not None:
        share = _EARLY_SHARE
        kept: list[Maps] | None = [] if _all_fit(net) else None
        layers = Collector(net, mode, early.kinds, early.k, final_norm)
        for done, layer_maps in enumerate(maps):
            check()
            layers.add(done, layer_maps)
            if kept is not None:
                kept.append(layer_maps)
            if (done + 1) % TOGETHER == 0 or done + 1 == L:
                early.show(layers.result(used))
        maps = _maps(net, mode, method, check)[1] if kept is None else _handed_out(kept)
        done, begun, share = 0, _EARLY_SHARE, 1 - _EARLY_SHARE
    layers = Collector(net, mode, tuple(kinds), k, final_norm)
    for done, layer_maps in enumerate(maps):
        check()
        layers.add(done, layer_maps)
    report(progress, 1.0, "Layers")
    return layers.result(used)


def _all_fit(net: OpenNetwork) -> bool:
    """Whether the maps of all layers may stay in memory, so that they need not be computed twice."""
    lin = net.lin
    (T, d), itemsize = lin.inputs.shape, max(4, lin.inputs.element_size())
    room = budget.free_bytes(lin.inputs.device) // 8 if lin.memory_budget is None else lin.memory_budget // 2
    return len(net.blocks) * len(KINDS) * T * d * d * itemsize <= room


def _handed_out(kept: list[Maps]) -> Iterator[Maps]:
    """One layer's maps after the other, each let go as soon as it is used."""
    while kept:
        yield kept.pop(0)


def cost_of(lin: LinearMap, kinds: int = len(KINDS)) -> SweepCost:
    """The cost of the cumulative sweep of this map both ways, in multiplications and bytes."""
    config = lin.lm.text_config
    heads = largest(config, "num_attention_heads") or 1
    kv = largest(config, "num_key_value_heads") or heads
    e = largest(config, "head_dim") or lin.width // heads
    return sweep_cost(
        lin.position + 1,
        lin.width,
        lin.lm.n_layers,
        values=kv * e,
        mixed=heads * e,
        inner=largest(config, "intermediate_size") or 4 * lin.width,
        kinds=kinds,
        itemsize=max(4, lin.inputs.element_size()),
    )


def _check_choice(lm: LanguageModel, mode: str, kinds: Sequence[str], k: int, method: str | None) -> None:
    arguments.choice("mode", mode, ("cumulative", "layerwise"))
    known = isinstance(kinds, list | tuple) and all(isinstance(kind, str) and kind in KINDS for kind in kinds)
    if not known or not kinds or len(set(kinds)) != len(kinds):
        raise InvalidValue(
            f"kinds are some of {', '.join(map(repr, KINDS))}, each once, in a list, not {arguments.shown(kinds)}."
        )
    arguments.whole("k", k, 1, checked_model(lm).width, of="the model's width")
    if method is not None and (not isinstance(method, str) or method not in ("forward", "reverse")):
        raise InvalidValue(
            f"method is 'forward', 'reverse' or None for the cheaper one, not {arguments.shown(method)}."
        )


def _maps(net: OpenNetwork, mode: str, method: str | None, check: Any) -> tuple[str, Iterator[Maps]]:
    """(how they are computed, the maps of every layer)."""
    lin = net.lin
    cost = cost_of(lin)
    budget.require(cost.reverse_bytes, lin.inputs.device, "The maps of a layer", lin.n_tokens)
    if mode == "layerwise":
        net.require_own()
        return "block by block", block_maps(net, check)
    memory = budget.free_bytes(lin.inputs.device) // 2 if lin.memory_budget is None else lin.memory_budget
    held = net.network.convention.weight_share == 0
    chosen = method or (cost.cheaper(memory) if net.by_heads and held else "reverse")
    if chosen == "reverse":
        return chosen, reverse_maps(net, check)
    if not held:
        raise EqlinError(
            "Forward accumulation rests on held attention weights: take method='reverse' or attention='held'."
        )
    net.require_parts(by_heads=True)
    if not net.by_heads:
        raise EqlinError("Some blocks mix the values of another one: take method='reverse'.")
    # live at once for each column: values, mixed values and four vectors of the stream, at every position
    per_column = lin.n_tokens * 8 * lin.width * max(4, lin.inputs.element_size())
    return chosen, forward_maps(net, max(32, min(lin.width, memory // per_column)), check)
