"""The sweep over all layers: what the maps to every block, its attention and its MLP read and write.

Cumulative maps lead from the embeddings to a place, layer-wise ones from the block's own input (Golden 2025, section
4.3); both are exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.layers.blocks import Block, OpenNetwork
from eqlin_core.layers.cost import SweepCost, sweep_cost
from eqlin_core.layers.maps import Maps, block_maps, forward_maps, reverse_maps
from eqlin_core.layers.results import KINDS, LayerSweep, ReadTriplets
from eqlin_core.linalg.signs import signed
from eqlin_core.linalg.truncated_svd import stable_rank, truncated_svd
from eqlin_core.maps.linear_map import LinearMap, checked_map, linearize
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.readout import top_tokens
from eqlin_core.progress import Progress, report, shown
from eqlin_core.resources import budget
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.exactness import BOUNDS

READ = 8


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


@torch.inference_mode(mode=False)
def sweep_map(
    lin: LinearMap,
    mode: str = "cumulative",
    kinds: Sequence[str] = KINDS,
    k: int = 8,
    *,
    final_norm: bool = True,
    progress: Progress | None = None,
    method: str | None = None,
) -> LayerSweep:
    """The same for a map from the embeddings to the output that is there already."""
    _check_choice(checked_map(lin).lm, mode, kinds, k, method)
    net = OpenNetwork(lin)
    if tuple(kinds) != ("layer",):
        net.require_parts()
    L = len(net.blocks)
    done = 0

    def check() -> None:
        report(progress, done / L, f"Layer {done + 1} of {L}")

    used, maps = _maps(net, mode, method, check)
    layers = _Layers(net, mode, tuple(kinds), k, final_norm)
    for done, layer_maps in enumerate(maps):
        check()
        layers.add(done, layer_maps)
    report(progress, 1.0, "Layers")
    return layers.result(used)


def cost_of(lin: LinearMap, kinds: int = len(KINDS)) -> SweepCost:
    """The cost of the cumulative sweep of this map both ways, in multiplications and bytes."""
    config = lin.lm.text_config
    inner = getattr(config, "intermediate_size", None) or 4 * lin.width
    heads = getattr(config, "num_attention_heads", None) or 1
    kv = getattr(config, "num_key_value_heads", None) or heads
    e = getattr(config, "head_dim", None) or lin.width // heads
    return sweep_cost(
        lin.position + 1,
        lin.width,
        lin.lm.n_layers,
        values=kv * e,
        mixed=heads * e,
        inner=max(inner) if isinstance(inner, list | tuple) else inner,
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
        return "block by block", block_maps(net, check)
    memory = budget.free_bytes(lin.inputs.device) // 2 if lin.memory_budget is None else lin.memory_budget
    held = net.network.convention.weight_share == 0
    chosen = method or (cost.cheaper(memory) if net.divided and held else "reverse")
    if chosen == "reverse":
        return chosen, reverse_maps(net, check)
    if not held:
        raise EqlinError(
            "Forward accumulation rests on held attention weights: take method='reverse' or attention='held'."
        )
    net.require_parts()
    # live at once for each column: values, mixed values and four vectors of the stream, at every position
    per_column = lin.n_tokens * 8 * lin.width * max(4, lin.inputs.element_size())
    return chosen, forward_maps(net, max(32, min(lin.width, memory // per_column)), check)


class _Layers:
    """Collects the triplets of layer after layer; only one layer's matrices are held."""

    def __init__(self, net: OpenNetwork, mode: str, kinds: tuple[str, ...], k: int, final_norm: bool) -> None:
        self._net, self._mode, self._kinds, self._k, self._final_norm = net, mode, kinds, k, final_norm
        zero = torch.zeros_like(net.leaf)
        self._at_zero = net.replay(zero, blank=mode == "layerwise")
        self._tokens: list[dict[str, Tensor]] = []
        self._joint: list[dict[str, Tensor]] = []
        self._values: list[dict[str, Tensor]] = []

    def add(self, layer: int, maps: Maps) -> None:
        """Decompose the maps of one layer and read the result out."""
        net, K = self._net, len(self._kinds)
        x = (net.blocks[layer].input if self._mode == "layerwise" else net.leaf).detach()[0].to(net.dtype)  # T, d
        through = [self._through(net.blocks[layer], maps, kind, self._at_zero[layer]) for kind in self._kinds]
        y, bias = (torch.stack([t[i] for t in through]) for i in (1, 2))  # K, d
        J = torch.stack([t[0] for t in through])  # K, T, d, d
        T, d = J.shape[1:3]
        errors = (torch.einsum("ktoi,ti->ko", J, x) + bias - y).norm(dim=-1) / y.norm(dim=-1)
        scores, ids = top_tokens(net.lin.lm.unembedding, y, READ)
        self._values.append({"values": y, "y_ids": ids, "y_scores": scores.float(), "errors": errors})
        each = _decompose(J.flatten(0, 1), y.repeat_interleave(T, 0), x.repeat(K, 1), self._k, self._rows(J))
        self._tokens.append({name: t.unflatten(0, (K, T)) for name, t in each.items()})
        joint = J.transpose(1, 2).reshape(K, d, T * d)
        self._joint.append(_decompose(joint, y, x.reshape(1, -1).expand(K, -1), self._k, rows=1))
        for triplets, right in ((self._tokens[-1], None), (self._joint[-1], T)):
            self._read(triplets, right)

    def result(self, method: str) -> LayerSweep:
        """Everything collected, on the CPU."""
        lin, lm = self._net.lin, self._net.lin.lm
        tokens, joint, values = ({n: torch.stack([r[n] for r in rows]).cpu() for n in rows[0]} for rows in self._all())
        ids = torch.cat([t[name].flatten() for t in (tokens, joint) for name in ("u_ids", "v_ids")])
        seen = sorted(set(ids.tolist()) | set(values["y_ids"].flatten().tolist()))
        dtype = dtype_name(lin.inputs.dtype)
        return LayerSweep(
            mode=self._mode,
            kinds=self._kinds,
            method=method,
            final_norm=self._final_norm,
            gated_path=lin.gated_path,
            attention=lin.attention,
            dtype=dtype,
            bound=BOUNDS[dtype][0],
            tokens=list(lin.tokens),
            token_ids=list(lin.token_ids),
            names=dict(zip(seen, lm.token_strings(seen), strict=True)),
            triplets=ReadTriplets(**tokens),
            joint=ReadTriplets(**joint),
            **values,
        )

    def _rows(self, J: Tensor) -> int:
        """Matrices that are decomposed together."""
        lin = self._net.lin
        return budget.chunk_size(20 * J[0, 0].numel() * J.element_size(), 1, J.device, lin.memory_budget)

    def _all(self) -> tuple[list[dict[str, Tensor]], ...]:
        return self._tokens, self._joint, self._values

    def _through(self, block: Block, maps: Maps, kind: str, at_zero: Block) -> tuple[Tensor, Tensor, Tensor]:
        """(J, y, b) of one kind: the map to that place, its value and its bias, through the final norm if so wished."""
        net = self._net
        y, bias = (b.added(kind)[0, net.position].detach().to(net.dtype) for b in (block, at_zero))
        if not self._final_norm:
            return maps[kind], y, bias
        norm = net.read_through(y)
        return norm.matrices(maps[kind]), norm.value(y), norm.value(bias)

    def _read(self, triplets: dict[str, Tensor], joint: int | None) -> None:
        """Add the tokens that u writes and v reads; of a joint v, those of the token that it reads most."""
        lm = self._net.lin.lm
        u, v = triplets["U"].mT, triplets["Vh"]  # ..., k, d
        if joint is not None:
            v = v.unflatten(-1, (joint, -1))  # K, k, T, d
            most = v.norm(dim=-1).argmax(-1)[..., None, None].expand(*v.shape[:-2], 1, v.shape[-1])
            v = v.gather(-2, most)[..., 0, :]
        for name, table, vectors, cosine in (("u", lm.unembedding, u, False), ("v", lm.input_embeddings, v, True)):
            scores, ids = top_tokens(table, vectors, READ, cosine=cosine)
            triplets[f"{name}_ids"] = ids.view(*vectors.shape[:-1], -1)
            triplets[f"{name}_scores"] = scores.float().view(*vectors.shape[:-1], -1)


def _decompose(
    J: Float[Tensor, "n d m"], y: Float[Tensor, "n d"], x: Float[Tensor, "n m"], k: int, rows: int
) -> dict[str, Tensor]:
    """The triplets of every matrix, signed so that u . y >= 0, with v . x and the cosine of v and x."""
    U, S, Vh = (torch.cat(p) for p in zip(*(truncated_svd(part, k) for part in J.split(rows)), strict=True))
    U, Vh = signed(U, Vh, y)
    projections = torch.einsum("nkm,nm->nk", Vh, x)
    norms = x.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    rank = stable_rank(J, S[:, 0])
    return {"U": U, "S": S, "Vh": Vh, "stable_rank": rank, "projections": projections, "cosines": projections / norms}
