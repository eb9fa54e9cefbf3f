"""A frozen network opened at every block: what each block reads, what its attention and its MLP add, and their maps.

Where only attention mixes positions, everything else on the linear path acts on each position alone, so a block is
three small matrices for each position (values, attention output, MLP) and the recorded attention weights. Where other
mixers do (recurrent ones, or attention between modules), a block's parts are told by what they read: its mixer reads
other positions, its MLP does not.
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
from eqlin_core.freezing.norms import NormRule, final_norm_rule
from eqlin_core.freezing.streams import Additions, ResidualStream, sum_of
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.models import sites
from eqlin_core.multiplication import passes

Check = Callable[[], Any]  # called between chunks; ends the computation by raising


@dataclass
class Block:
    """One block in a pass: its input, what was added to it, its output, and its attention. Tensors [batch, T, ...].

    ``value`` [batch, kv, T, e] and ``mixed`` [batch, T, heads, e] stand before and after the mixing by ``weights``
    [1, heads, T, T]; all three are None where the block has no attention, more than one, or another mixer beside it.
    """

    stream: ResidualStream
    out: Tensor
    weights: Tensor | None = None
    value: Tensor | None = None
    mixed: Tensor | None = None
    kinds: list[str] = field(default_factory=list)  # of every addend, "attn" (the mixer) or "mlp"; empty: not told
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
        self._require_tokens()
        for block in self.blocks:
            if not self.network.attends_only:
                block.weights = block.value = block.mixed = None
            _tell_parts(block, self.position)
            if block.value is not None and not _depends(block.value, block.input):  # another block's, which it shares
                block.weights = block.value = None
        self.final_norm = self._final_norm()

    @property
    def divided(self) -> bool:
        """Whether every block adds its mixer and its MLP to a residual stream, so that these have maps."""
        return all(block.kinds for block in self.blocks)

    @property
    def by_heads(self) -> bool:
        """Whether that mixer is attention alone, by one set of weights for each head."""
        return self.divided and all(block.value is not None for block in self.blocks)

    @property
    def dtype(self) -> torch.dtype:
        """What maps are accumulated in: the dtype of the network, or float32 where that is lower."""
        return coefficient_dtype(self.leaf.dtype)

    def here(self, value: Tensor) -> Tensor:
        """A value of any block as maps are accumulated: in ``dtype``, and where the embeddings are."""
        return value.to(self.leaf.device, self.dtype)

    def replay(self, v: Float[Tensor, "batch tokens d"], *, blank: bool = False) -> list[Block]:
        """Every block in a replay with other embeddings, without a graph; with ``blank`` each block's input is zero."""
        with self._capturing(blank), torch.no_grad():
            self.network.replay(v)
        replayed = self._seen[-len(self.blocks) :]
        if len(replayed[0].out) != len(v):  # the network ran its rows one by one
            runs = self._seen[-len(v) * len(self.blocks) :]
            replayed = [_together(runs[i :: len(self.blocks)]) for i in range(len(self.blocks))]
        for block, known in zip(replayed, self.blocks, strict=True):
            block.kinds = known.kinds
        return replayed

    def require_own(self) -> None:
        """Raise EqlinError where a block reads more than its input, so that no map from that input is the whole."""
        for layer, block in enumerate(self.blocks):
            if block.input is not self.leaf and _depends(block.out, self.leaf, past=block.input):
                raise EqlinError(
                    f"Block {layer} reads more than what the block before it hands on (values of another block, or the "
                    "embeddings again), so it has no map of its own; choose the cumulative maps."
                )

    def require_parts(self, *, by_heads: bool = False) -> None:
        """Raise EqlinError where a block is not input + mixer + MLP, or its mixer is not attention ``by_heads``."""
        for layer, block in enumerate(self.blocks):
            if by_heads and block.mixed is None:
                raise EqlinError(f"Block {layer} {self._no_heads()}, so logits have no split over heads.")
            if not block.kinds:
                raise EqlinError(
                    f"Block {layer} does not add one part that mixes positions and an MLP that does not, so there are "
                    "no maps of these; choose the kind 'layer'."
                )

    def _no_heads(self) -> str:
        if self.network.attends_only:
            return "has no attention of its own, or more than one"
        if self.network.mixes:
            return "computes its attention outside transformers' attention interface, where heads are not seen"
        return "mixes positions by a recurrence or a convolution"

    def _require_tokens(self) -> None:
        for layer, block in enumerate(self.blocks):
            if block.out.shape != self.leaf.shape or block.input.shape != self.leaf.shape:
                raise EqlinError(
                    f"Block {layer} hands on {tuple(block.out.shape[:-1])} vectors, not one for each token, so layers "
                    "have no maps of their own."
                )
        if not self.blocks:
            raise EqlinError(
                "The blocks of this model are no list that runs once, so layers have no maps of their own."
            )

    # ---- maps ------------------------------------------------------------------------------------------------------

    @property
    def products(self) -> str:
        """How the map multiplies float32 numbers."""
        return self.lin.products

    @passes
    def rows(self, value: Tensor, source: Tensor, cotangents: Tensor, check: Check | None = None) -> Tensor:
        """[r, *source's shape]: one reverse pass for every cotangent [r, *value's shape], in chunks."""
        parts = []
        for part in cotangents.split(self.lin._chunk()):
            # an expanded one would cost a matrix product for every position
            given = part.to(value.device).contiguous()
            (rows,) = torch.autograd.grad(
                value, source, given, retain_graph=True, is_grads_batched=True, allow_unused=True
            )
            parts.append(source.new_zeros(len(part), *source.shape) if rows is None else rows)
            if check is not None:
                check()
        return torch.cat(parts)

    def jacobian(self, value: Float[Tensor, " d"], source: Tensor, check: Check | None = None) -> Tensor:
        """[T, d, d] of the value of one position with respect to every position of ``source`` [1, T, d]."""
        identity = torch.eye(len(value), dtype=value.dtype, device=value.device)
        rows = self.rows(value, source, identity, check)
        return self.here(rows.reshape(len(value), -1, source.shape[-1]).transpose(0, 1))

    def positionwise(self, value: Tensor, source: Tensor, check: Check | None = None) -> Float[Tensor, "T m n"]:
        """The matrix of every position where ``value`` [1, T, ...] at a position reads ``source`` only there."""
        flat = value.reshape(value.shape[1], -1)  # T, m
        T, m = flat.shape
        identity = torch.eye(m, dtype=value.dtype, device=value.device)
        rows = self.rows(flat, source, identity[:, None].expand(m, T, m), check)
        return self.here(rows.reshape(m, T, -1).transpose(0, 1))

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
            weights=self.here(block.weights[0]),
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
            return torch.eye(d, dtype=self.dtype, device=self.leaf.device).expand(T, d, d)
        return self.positionwise(first, self.leaf, check)

    # ---- the final norm --------------------------------------------------------------------------------------------

    def read_through(self, value: Float[Tensor, " d"]) -> FinalNorm:
        """The final norm with its denominator held at ``value``."""
        if self.final_norm is None:
            raise EqlinError("This model's final norm cannot be frozen; use final_norm=False.")
        return FinalNorm(self.final_norm, self.final_norm.coefficient(self.here(value)))

    def _final_norm(self) -> NormRule | None:
        module = sites.find_final_norm(self.network.decoder, self.network.ends.layers)
        return final_norm_rule(module, self.blocks[-1].out.detach())

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
            with self.network.in_full(), self.network.watching_attention(lambda *seen: attention.append(seen)):
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


def _tell_parts(block: Block, position: int) -> None:
    """Fill in which addends are the mixer's, and what the MLP reads; nothing where the block is built otherwise."""
    if not block.stream.ends_in(block.out):
        return
    added = block.stream.added
    bases = [_base(addend, block) for addend in added]
    mixes = [_reads_others(addend, base, position) for addend, base in zip(added, bases, strict=True)]
    if block.mixed is None:
        kinds = ["attn" if mixing else "mlp" for mixing in mixes]
    else:
        inside = {t.grad_fn for t in block.stream.stream}
        kinds = ["attn" if block.mixed.grad_fn in reachable(addend, inside) else "mlp" for addend in added]
        if any(mixing and kind == "mlp" for mixing, kind in zip(mixes, kinds, strict=True)):
            return
    for i, addend in enumerate(added):
        if not addend.requires_grad:  # a bias of its own, added after what it belongs to
            kinds[i] = kinds[i - 1]
    read = [base for base, kind, t in zip(bases, kinds, added, strict=True) if kind == "mlp" and t.requires_grad]
    if set(kinds) != {"attn", "mlp"} or any(base is not read[0] for base in read):
        return
    block.kinds, block.read, block.parallel = kinds, read[0], any(read[0] is t for t in block.stream.inputs)


def _base(addend: Tensor, block: Block) -> Tensor:
    """The last part of the block's stream that an addend is computed from."""
    behind = reachable(addend, {block.input.grad_fn})
    stream = [t for t in block.stream.stream[1:] if t.shape == block.input.shape]
    return next((t for t in reversed(stream) if t.grad_fn in behind), block.input)


def _reads_others(addend: Tensor, base: Tensor, position: int) -> bool:
    """Whether an addend [1, T, d] at this position depends on what stands in ``base`` at another one."""
    if not addend.requires_grad:
        return False
    seen = addend.view_as(base)[0, position]
    probe = torch.randn(seen.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(seen)
    (gradient,) = torch.autograd.grad(seen, base, probe, retain_graph=True, allow_unused=True)
    if gradient is None:
        return False
    sizes = gradient[0].abs().amax(-1)
    others = torch.cat([sizes[:position], sizes[position + 1 :]])
    return bool((others > 1e-12 * sizes.max()).any())


def _depends(value: Tensor, source: Tensor, past: Tensor | None = None) -> bool:
    """Whether a value is computed from ``source``, by a way that does not lead through ``past``."""
    nodes = reachable(value, () if past is None else {past.grad_fn})
    if source.grad_fn is not None:
        return source.grad_fn in nodes
    return any(getattr(node, "variable", None) is source for node in nodes)


def _together(runs: list[Block]) -> Block:
    """One block in a batch whose rows ran one by one."""
    first = runs[0]
    stream = ResidualStream(torch.cat([run.input for run in runs]))
    stream.added = [torch.cat(addends) for addends in zip(*(run.stream.added for run in runs), strict=True)]
    mixed = [run.mixed for run in runs if run.mixed is not None]
    return Block(stream, torch.cat([run.out for run in runs]), first.weights, None, torch.cat(mixed) if mixed else None)
