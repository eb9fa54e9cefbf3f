"""Places in the network between which a map is taken: the blocks, their parts, and the final norm."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eqlin_core.errors import EqlinError


@dataclass(frozen=True)
class Site:
    """A place in block ``layer`` (from 0): its "input", what "attn" or "mlp" adds, or the block's output "layer"."""

    layer: int
    kind: Literal["input", "attn", "mlp", "layer"]


Source = Site | str  # "embedding" or the input of a block
Target = Site | str  # "output" or a part of a block


def check_sites(source: Source, target: Target, n_layers: int) -> None:
    """Raise EqlinError for a place that does not exist or that a map cannot start from or lead to."""
    for site in (source, target):
        if isinstance(site, Site):
            if not 0 <= site.layer < n_layers:
                raise EqlinError(f"Block {site.layer} does not exist: this model has blocks 0 to {n_layers - 1}.")
        elif site not in ("embedding", "output"):
            raise EqlinError(f"{site!r} is no place in the network; use 'embedding', 'output' or Site(layer, kind).")
    if source == "output" or (isinstance(source, Site) and source.kind != "input"):
        raise EqlinError(f"A source is 'embedding' or the input of a block, Site(layer, 'input'), not {source!r}.")
    if target == "embedding" or (isinstance(target, Site) and target.kind not in ("attn", "mlp", "layer")):
        raise EqlinError(f"A target is 'output' or Site(layer, 'attn' | 'mlp' | 'layer'), not {target!r}.")
    if isinstance(source, Site) and isinstance(target, Site) and source.layer > target.layer:
        raise EqlinError(f"The source, block {source.layer}, lies behind the target, block {target.layer}.")


def find_layers(decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's list of blocks. Raises EqlinError where there is none of the length that the config promises."""
    for module in decoder.children():
        if isinstance(module, nn.ModuleList) and len(module) == n_layers:
            return module
    raise EqlinError(f"{type(decoder).__name__} has no list of {n_layers} blocks, so its layers cannot be found.")


def find_final_norm(decoder: nn.Module, layers: nn.ModuleList) -> nn.Module:
    """The norm between the last block and the output: the last child of the decoder that has one weight per width."""
    norms = [m for m in decoder.children() if isinstance(w := getattr(m, "weight", None), Tensor) and w.dim() == 1]
    if not norms:  # a norm without weights stands after the blocks
        children = list(decoder.children())
        norms = [m for m in children[children.index(layers) + 1 :] if "norm" in type(m).__name__.lower()]
    if not norms:
        raise EqlinError(f"{type(decoder).__name__} has no final norm; use final_norm=False.")
    return norms[-1]


def block_input(args: Any, kwargs: Any) -> Tensor:
    """The hidden states that a block is called with."""
    return args[0] if args else kwargs["hidden_states"]


def replace_block_input(args: Any, kwargs: Any, value: Tensor) -> tuple[Any, Any]:
    """The arguments of a block with other hidden states."""
    return ((value, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": value})


def block_output(out: Any) -> Tensor:
    """The hidden states that a block returns."""
    return out[0] if isinstance(out, tuple) else out


class ResidualStream:
    """The tensors of one block that carry its input by additions only, and what each addition brought.

    ``Additions`` tells it of every addition and every change of shape in the block; ``added`` then lists the addends.
    """

    def __init__(self, block_input: Tensor) -> None:
        self.stream = [block_input]
        self.added: list[Tensor] = []
        self._sums: list[tuple[Tensor, Tensor, Tensor]] = []

    def carries(self, tensor: Tensor) -> bool:
        """Whether ``tensor`` is the block's input plus what was added so far."""
        return any(tensor is t for t in self.stream)

    def saw_sum(self, left: Tensor, right: Tensor, total: Tensor) -> None:
        """``total`` = ``left`` + ``right`` was computed."""
        for carried, addend in ((left, right), (right, left)):
            if self.carries(carried):
                self.stream.append(total)
                self.added.extend(self._parts(addend))
                return
        self._sums.append((left, right, total))

    def saw_view(self, tensor: Tensor, view: Tensor) -> None:
        """``view`` is ``tensor`` in another shape."""
        if self.carries(tensor):
            self.stream.append(view)

    def _parts(self, addend: Tensor) -> list[Tensor]:
        """A parallel block may sum its attention and its MLP before it adds them to the stream."""
        for left, right, total in self._sums:
            if total is addend and left.shape == right.shape == self.stream[0].shape:
                return [*self._parts(left), *self._parts(right)]
        return [addend]

    def ends_in(self, block_output: Tensor) -> bool:
        """Whether the block's output is its input plus what was added."""
        return block_output is self.stream[-1]


class Additions(TorchFunctionMode):
    """Tells a residual stream of every addition of two tensors, and of every tensor that only changed its shape."""

    _SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
    _VIEWS = frozenset({"view", "reshape", "flatten", "unflatten", "contiguous", "to"})

    def __init__(self, stream: ResidualStream) -> None:
        super().__init__()
        self._stream = stream

    @no_type_check  # runs for every function of a pass: checking it would take longer than the pass
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in self._SUMS and len(args) == 2 and all(isinstance(a, Tensor) for a in args):
            self._stream.saw_sum(args[0], args[1], out)
        elif name in self._VIEWS and isinstance(out, Tensor) and out is not args[0]:
            self._stream.saw_view(args[0], out)
        return out


def sum_of(stream: ResidualStream, kinds: list[str], kind: str) -> Tensor:
    """What the addends of one kind bring together."""
    return torch.stack([t for t, k in zip(stream.added, kinds, strict=True) if k == kind]).sum(0)


def stock_value(
    decoder: nn.Module, block: nn.Module, ids: Tensor, kind: str, kinds: list[str]
) -> Float[Tensor, "1 tokens d"]:
    """The value at one block of an untouched decoder; ``kinds`` says which addend of its stream is of which kind."""
    seen: list[Tensor] = []
    with ExitStack() as stack:

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            streams.append(ResidualStream(block_input(args, kwargs)))
            stack.enter_context(Additions(streams[-1]))

        def after(module: nn.Module, args: Any, out: Any) -> None:
            seen.append(
                block_output(out) if kind == "layer" else sum_of(streams[-1], kinds, kind).view_as(block_output(out))
            )

        streams: list[ResidualStream] = []
        stack.callback(block.register_forward_hook(after).remove)
        if kind != "layer":
            stack.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
        decoder(input_ids=ids[None], use_cache=False)
    return seen[0]
