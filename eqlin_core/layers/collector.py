"""The triplets of layer after layer: decomposed as the maps come, read out a few layers at a time."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import dtype_name
from eqlin_core.layers.blocks import Block, OpenNetwork
from eqlin_core.layers.maps import Maps
from eqlin_core.layers.results import LayerSweep, ReadTriplets
from eqlin_core.linalg.signs import signed
from eqlin_core.linalg.truncated_svd import stable_rank, truncated_svd
from eqlin_core.models.readout import top_tokens
from eqlin_core.resources import budget
from eqlin_core.runs.exactness import bounds_of

READ = 8
# Layers that are read out together: a scan of the vocabulary costs nearly the same for one of them.
TOGETHER = 5
_SCANNED = 2048  # vectors that go through the vocabulary at once


class Collector:
    """The triplets of the layers so far; only one layer's matrices are held."""

    def __init__(self, net: OpenNetwork, mode: str, kinds: tuple[str, ...], k: int, final_norm: bool) -> None:
        self._net, self._mode, self._kinds, self._k, self._final_norm = net, mode, kinds, k, final_norm
        zero = torch.zeros_like(net.leaf)
        self._at_zero = net.replay(zero, blank=mode == "layerwise")
        self._tokens: list[dict[str, Tensor]] = []
        self._joint: list[dict[str, Tensor]] = []
        self._values: list[dict[str, Tensor]] = []
        self._read = 0  # layers that are read out

    def add(self, layer: int, maps: Maps) -> None:
        """Decompose the maps of one layer."""
        net, K = self._net, len(self._kinds)
        x = net.here((net.blocks[layer].input if self._mode == "layerwise" else net.leaf).detach()[0])  # T, d
        through = [self._through(net.blocks[layer], maps, kind, self._at_zero[layer]) for kind in self._kinds]
        y, bias = (torch.stack([t[i] for t in through]) for i in (1, 2))  # K, d
        J = torch.stack([t[0] for t in through])  # K, T, d, d
        T, d = J.shape[1:3]
        errors = (torch.einsum("ktoi,ti->ko", J, x) + bias - y).norm(dim=-1) / y.norm(dim=-1)
        self._values.append({"values": y, "errors": errors})
        each = _decompose(J.flatten(0, 1), y.repeat_interleave(T, 0), x.repeat(K, 1), self._k, self._rows(J))
        self._tokens.append({name: t.unflatten(0, (K, T)) for name, t in each.items()})
        joint = J.transpose(1, 2).reshape(K, d, T * d)
        self._joint.append(_decompose(joint, y, x.reshape(1, -1).expand(K, -1), self._k, rows=1))
        if len(self._values) - self._read == TOGETHER:
            self._read_out()

    def result(self, method: str) -> LayerSweep:
        """Everything collected so far, on the CPU."""
        self._read_out()
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
            bound=bounds_of(dtype, lin.products)[0],
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
        y, bias = (net.here(b.added(kind)[0, net.position].detach()) for b in (block, at_zero))
        if not self._final_norm:
            return maps[kind], y, bias
        norm = net.read_through(y)
        return norm.matrices(maps[kind]), norm.value(y), norm.value(bias)

    def _read_out(self) -> None:
        """Add the tokens that u writes and v reads, and those that the values read as, of layers that have none yet.

        Of a joint v they are those of the token that it reads most.
        """
        new, self._read = slice(self._read, len(self._values)), len(self._values)
        each, joint, values = (rows[new] for rows in self._all())
        if not values:
            return
        lm, (T, d) = self._net.lin.lm, self._net.leaf.shape[1:]
        written = [(triplets, "u", triplets["U"].mT) for triplets in (*each, *joint)]
        written += [(value, "y", value["values"]) for value in values]
        read = [(triplets, "v", triplets["Vh"]) for triplets in each]
        for triplets in joint:
            v = triplets["Vh"].unflatten(-1, (T, d))  # K, k, T, d
            most = v.norm(dim=-1).argmax(-1)[..., None, None].expand(*v.shape[:-2], 1, d)
            read.append((triplets, "v", v.gather(-2, most)[..., 0, :]))
        for table, places, cosine in ((lm.unembedding, written, False), (lm.input_embeddings, read, True)):
            vectors = torch.cat([vectors.reshape(-1, d) for _, _, vectors in places])
            parts = [top_tokens(table, part, READ, cosine=cosine) for part in vectors.split(_SCANNED)]
            scores, ids = (torch.cat(part) for part in zip(*parts, strict=True))
            sizes = [vectors[..., 0].numel() for _, _, vectors in places]
            split = zip(places, scores.float().split(sizes), ids.split(sizes), strict=True)
            for (into, name, vectors), best, found in split:
                into[f"{name}_ids"] = found.view(*vectors.shape[:-1], -1)
                into[f"{name}_scores"] = best.view(*vectors.shape[:-1], -1)


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
