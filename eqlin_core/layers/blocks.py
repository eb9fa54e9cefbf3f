"""A frozen network opened at every block: what each block reads, what its attention and its MLP add, and their maps.

Only attention mixes positions. Everything else on the linear path acts on each position alone, so a block is three
small matrices for each position (values, attention output, MLP) and the recorded attention weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.leaks import reachable
from eqlin_core.freezing.norms import NormRule, probe_norm
from eqlin_core.freezing.streams import Additions, ResidualStream, sum_of
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.models import sites

Check = Callable[[], Any]  # called between chunks; ends the computation by raising


@dataclass
class Block:
    """One block in a pass: its input, what was added to it, its output, and its attention. Tensors [batch, T, ...].

    ``value`` [batch, kv, T, e] and ``mixed`` [batch, T, heads, e] stand before and after the mixing by ``weights``
    [1, heads, T, T]; all three are None where the block has no attention, or more than one.
    """

    stream: ResidualStream
    out: Tensor
    weights: Tensor | None = None
    value: Tensor | None = None
    mixed: Tensor | None = None
    kinds: list[str] = field(default_factory=list)  # of every addend, "attn" or "mlp"; empty where they are not told
    read: Tensor | None = None  # the part of the stream that the MLP reads
    parallel: bool = False  # whether that is the block's input, before attention has added to it

    @property
    def input(self) -> Tensor:
        """x: the residual stream that the block was called with."""
        return self.stream.stream[0]

    def added(self, kind: str) -> Tensor:
        """What "attn" or "mlp" adds to the residual stream; for "layer" the block's output."""
        return self.out if kind == "layer" else sum_of(self.stream, self.kinds, kind).view_as(self.out)


@dataclass(frozen=True)
class PositionMaps:
    """The parts of one block that act on each position alone, in the working dtype.

    ``values`` [T, kv e, d], ``output`` [T, d, heads e] and ``mlp`` [T, d, d] are matrices; ``weights`` [heads, T, T]
    mixes the values between them, head h reading value head h // (heads / kv).
    """

    values: Tensor
    output: Tensor
    mlp: Tensor
    weights: Tensor
    kv: int

    def attention(self, x: Float[Tensor, "n d c"], stop: int) -> Float[Tensor, "n d c"]:
        """What attention adds at the n positions before ``stop`` when ``x``, c columns each, stands at its input."""
        n, _, c = x.shape
        here = slice(stop - n, stop)
        weights = self.weights[:, here, here]
        heads, group = len(weights), len(weights) // self.kv
        values = (self.values[here] @ x).view(n, self.kv, -1, c)  # n, kv, e, c
        rows = values.transpose(0, 1).reshape(self.kv, n, -1)  # kv, n, e*c
        mixed = torch.bmm(weights.reshape(self.kv, group * n, n), rows)  # kv, group*n, e*c
        mixed = mixed.view(heads, n, -1, c).transpose(0, 1).reshape(n, -1, c)  # n, heads*e, c
        return self.output[here] @ mixed


class OpenNetwork:
    """The frozen network of a map from the embeddings to the output, with its autograd graph opened at every block.

    Raises EqlinError for a map between other places.
    """

    def __init__(self, lin: LinearMap) -> None:
        if lin.network.source != "embedding" or lin.network.target != "output":
            raise EqlinError("The network is opened from its embeddings to its output; linearize without other places.")
        self.lin, self.network = lin, lin.network
        self.position = lin.position
        self.leaf = lin.inputs[None].clone().requires_grad_()  # 1, T, d
        self._seen: list[Block] = []
        with self._capturing():
            self.output = self.network.traced(self.leaf)  # 1, T, d
        self.blocks = self._seen
        for block in self.blocks:
            _tell_parts(block)
        self.final_norm = self._final_norm()

    @property
    def divided(self) -> bool:
        """Whether every block adds its attention and its MLP to a residual stream, so that these have maps."""
        return all(block.kinds for block in self.blocks)

    @property
    def dtype(self) -> torch.dtype:
        """What maps are accumulated in: the dtype of the network, or float32 where that is lower."""
        return coefficient_dtype(self.leaf.dtype)

    def replay(self, v: Float[Tensor, "batch tokens d"], *, blank: bool = False) -> list[Block]:
        """Every block in a replay with other embeddings, without a graph; with ``blank`` each block's input is zero."""
        with self._capturing(blank), torch.no_grad():
            self.network.replay(v)
        replayed = self._seen
        for block, known in zip(replayed, self.blocks, strict=True):
            block.kinds = known.kinds
        return replayed

    def require_parts(self) -> None:
        """Raise EqlinError where a block is not input + attention + MLP."""
        for layer, block in enumerate(self.blocks):
            if not block.kinds:
                raise EqlinError(
                    f"Block {layer} is not seen to add attention and an MLP to a residual stream (a state-space block "
                    "has neither), so there are no maps of these; choose the kind 'layer'."
                )

    # ---- maps ------------------------------------------------------------------------------------------------------

    def rows(self, value: Tensor, source: Tensor, cotangents: Tensor, check: Check | None = None) -> Tensor:
        """[r, *source's shape]: one reverse pass for every cotangent [r, *value's shape], in chunks."""
        parts = []
        for part in cotangents.split(self.lin._chunk()):
            given = part.contiguous()  # an expanded one would cost a matrix product for every position
            (rows,) = torch.autograd.grad(value, source, given, retain_graph=True, is_grads_batched=True)
            parts.append(rows)
            if check is not None:
                check()
        return torch.cat(parts)

    def jacobian(self, value: Float[Tensor, " d"], source: Tensor, check: Check | None = None) -> Tensor:
        """[T, d, d] of the value of one position with respect to every position of ``source`` [1, T, d]."""
        identity = torch.eye(len(value), dtype=value.dtype, device=value.device)
        rows = self.rows(value, source, identity, check)
        return rows.reshape(len(value), -1, source.shape[-1]).transpose(0, 1).to(self.dtype)

    def positionwise(self, value: Tensor, source: Tensor, check: Check | None = None) -> Float[Tensor, "T m n"]:
        """The matrix of every position where ``value`` [1, T, ...] at a position reads ``source`` only there."""
        flat = value.reshape(value.shape[1], -1)  # T, m
        T, m = flat.shape
        identity = torch.eye(m, dtype=value.dtype, device=value.device)
        rows = self.rows(flat, source, identity[:, None].expand(m, T, m), check)
        return rows.reshape(m, T, -1).transpose(0, 1).to(self.dtype)

    def position_maps(self, layer: int, check: Check | None = None) -> PositionMaps:
        """The matrices of block ``layer``."""
        block = self.blocks[layer]
        assert block.value is not None
        assert block.mixed is not None
        assert block.weights is not None
        assert block.read is not None
        return PositionMaps(
            values=self.positionwise(block.value.transpose(1, 2), block.input, check).contiguous(),
            output=self.positionwise(block.added("attn"), block.mixed, check).contiguous(),
            mlp=self.positionwise(block.added("mlp"), block.read, check).contiguous(),
            weights=block.weights[0].to(self.dtype),
            kv=block.value.shape[1],
        )

    def mlp_map(self, layer: int, check: Check | None = None) -> Float[Tensor, "d d"]:
        """The matrix of the MLP of block ``layer`` at the explained position."""
        block = self.blocks[layer]
        assert block.read is not None
        return self.jacobian(block.added("mlp")[0, self.position], block.read, check)[self.position]

    def entrance(self, check: Check | None = None) -> Float[Tensor, "T d d"]:
        """The matrices from the embeddings to the first block's input, position by position."""
        first = self.blocks[0].input
        if first is self.leaf:
            T, d = self.leaf.shape[1:]
            return torch.eye(d, dtype=self.dtype, device=first.device).expand(T, d, d)
        return self.positionwise(first, self.leaf, check)

    # ---- the final norm --------------------------------------------------------------------------------------------

    def read_through(self, value: Float[Tensor, " d"]) -> FinalNorm:
        """The final norm with its denominator held at ``value``."""
        if self.final_norm is None:
            raise EqlinError("This model's final norm cannot be frozen; use final_norm=False.")
        return FinalNorm(self.final_norm, self.final_norm.coefficient(value.to(self.dtype)))

    def _final_norm(self) -> NormRule | None:
        try:
            module = sites.find_final_norm(self.network.decoder, self.network.ends.layers)
        except EqlinError:
            return None
        return probe_norm(module, module, self.blocks[-1].out.detach())

    # ---- capturing -------------------------------------------------------------------------------------------------

    @contextmanager
    def _capturing(self, blank: bool = False) -> Iterator[None]:
        """Within the context a pass notes every block in ``_seen``."""
        self._seen = []
        attention: list[tuple[Tensor, Tensor, Tensor]] = []
        with ExitStack() as hooks, ExitStack() as modes:

            def before(_module: Any, args: Any, kwargs: Any) -> Any:
                attention.clear()
                x = sites.block_input(args, kwargs)
                streams.append(ResidualStream(torch.zeros_like(x) if blank else x))
                modes.enter_context(Additions(streams[-1]))
                return sites.replace_block_input(args, kwargs, streams[-1].stream[0])

            def after(_module: Any, _args: Any, out: Any) -> None:
                modes.pop_all().close()
                weights, value, mixed = attention[0] if len(attention) == 1 else (None, None, None)
                self._seen.append(Block(streams.pop(), sites.block_output(out), weights, value, mixed))

            streams: list[ResidualStream] = []
            for layer in self.network.ends.layers:
                hooks.callback(layer.register_forward_pre_hook(before, with_kwargs=True).remove)
                hooks.callback(layer.register_forward_hook(after).remove)
            with self.network.watching_attention(lambda *seen: attention.append(seen)):
                yield


@dataclass(frozen=True)
class FinalNorm:
    """The final norm held at one value: linear but for its ``beta``."""

    rule: NormRule
    coefficient: Float[Tensor, " d"]

    def value(self, y: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The norm of ``y``, with what it adds of its own."""
        return self.rule.linear(y.to(self.coefficient.dtype), self.coefficient)

    def linear(self, y: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """Only its linear part."""
        y = y.to(self.coefficient.dtype)
        return self.coefficient * (y - y.mean(-1, keepdim=True) if self.rule.centred else y)

    def adjoint(self, w: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch d"]:
        """The linear part's transpose: where a direction of the output looks in the residual stream."""
        scaled = self.coefficient * w.to(self.coefficient.dtype)
        return scaled - scaled.mean(-1, keepdim=True) if self.rule.centred else scaled

    def matrices(self, J: Float[Tensor, "*batch d n"]) -> Float[Tensor, "*batch d n"]:
        """The linear part after a map."""
        return self.coefficient[:, None] * (J - J.mean(-2, keepdim=True) if self.rule.centred else J)


def _tell_parts(block: Block) -> None:
    """Fill in which addends are attention's, and what the MLP reads; nothing where the block is built otherwise."""
    stream = block.stream.stream
    if block.mixed is None or not block.stream.ends_in(block.out):
        return
    before = {block.input.grad_fn}
    inside = {t.grad_fn for t in stream}
    node = block.mixed.grad_fn
    kinds = ["attn" if node in reachable(addend, inside) else "mlp" for addend in block.stream.added]
    if set(kinds) != {"attn", "mlp"}:
        return
    behind = [reachable(t, before) for t, kind in zip(block.stream.added, kinds, strict=True) if kind == "mlp"]
    block.parallel = not any(node in nodes for nodes in behind)
    after_attention = [t for t in stream[1:] if node in reachable(t, before)]
    if not block.parallel:
        after_attention = [t for t in after_attention if any(t.grad_fn in nodes for nodes in behind)]
    block.kinds = kinds
    block.read = block.input if block.parallel else after_attention[0]
