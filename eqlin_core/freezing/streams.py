"""The residual stream of one block: what carries its input by additions only, and what each addition brought."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from eqlin_core.models.sites import block_input, block_output


class ResidualStream:
    """The tensors of one block that carry its input by additions only, and what each addition brought.

    ``Additions`` tells it of every addition and every change of shape in the block; ``added`` then lists the addends,
    ``inputs`` what carries the input alone: itself, in other shapes and on other devices.
    """

    def __init__(self, block_input: Tensor) -> None:
        self.stream = [block_input]
        self.inputs = [block_input]
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
        if any(tensor is t for t in self.inputs):
            self.inputs.append(view)

    def _parts(self, addend: Tensor) -> list[Tensor]:
        """A parallel block may sum its attention and its MLP before it adds them to the stream."""
        for left, right, total in self._sums:
            if total is addend and left is not total and left.shape == right.shape == self.stream[0].shape:
                return [*self._parts(left), *self._parts(right)]
        return [addend]

    def ends_in(self, block_output: Tensor) -> bool:
        """Whether the block's output is its input plus what was added."""
        return block_output is self.stream[-1]


class Additions(TorchFunctionMode):
    """Tells a residual stream of every addition of two tensors, and of every tensor that only changed its shape."""

    _SUMS = frozenset({"add", "add_", "__add__", "__radd__", "__iadd__"})
    _IN_PLACE = frozenset({"add_", "__iadd__"})
    _VIEWS = frozenset({"view", "reshape", "flatten", "unflatten", "contiguous", "to"})

    def __init__(self, stream: ResidualStream) -> None:
        super().__init__()
        self._stream = stream

    @no_type_check  # runs for every function of a pass: checking it would take longer than the pass
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        adds = name in self._SUMS and len(args) == 2 and all(isinstance(a, Tensor) for a in args)
        left = args[0] if args else None
        if adds and name in self._IN_PLACE and not self._stream.carries(left) and left.shape == args[1].shape:
            left = left.clone()  # `mlp += attention` leaves no tensor of the MLP alone
        out = func(*args, **(kwargs or {}))
        if adds:
            self._stream.saw_sum(left, args[1], out)
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

        def before(_module: nn.Module, args: Any, kwargs: Any) -> None:
            streams.append(ResidualStream(block_input(args, kwargs)))
            stack.enter_context(Additions(streams[-1]))

        def after(_module: nn.Module, _args: Any, out: Any) -> None:
            seen.append(
                block_output(out) if kind == "layer" else sum_of(streams[-1], kinds, kind).view_as(block_output(out))
            )

        streams: list[ResidualStream] = []
        stack.callback(block.register_forward_hook(after).remove)
        if kind != "layer":
            stack.callback(block.register_forward_pre_hook(before, with_kwargs=True).remove)
        decoder(input_ids=ids[None], use_cache=False)
    return seen[0]
