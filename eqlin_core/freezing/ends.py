"""Where the map of a frozen network starts, embeddings or a block's input, and where it ends, output or in a block."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn

from eqlin_core.errors import EqlinError
from eqlin_core.freezing.norms import final_norm_rule
from eqlin_core.freezing.streams import Additions, ResidualStream, sum_of
from eqlin_core.models.sites import (
    Site,
    SourcePlace,
    TargetPlace,
    block_input,
    block_output,
    blocks_of,
    check_sites,
    find_final_norm,
    find_layers,
    replace_block_input,
)


class Ends:
    """Source and target of one network's map, and the hooks that put values in at the one and take them at the other.

    Attributes: ``layers``, the decoder's blocks, none where they are no list; ``added``, for a target inside a block,
    whether each addend of its residual stream is "attn" or "mlp", known once it was recorded. Raises EqlinError for
    places that do not exist.
    """

    def __init__(
        self, decoder: nn.Module, n_layers: int, source: SourcePlace, target: TargetPlace, final_norm: bool
    ) -> None:
        self.source, self.target, self.final_norm = source, target, final_norm
        inside = isinstance(source, Site) or isinstance(target, Site)
        self.layers = find_layers(decoder, n_layers) if inside else blocks_of(decoder, n_layers) or nn.ModuleList()
        self.added: list[str] = []
        self._decoder = decoder
        check_sites(source, target, len(self.layers))

    @property
    def starts_inside(self) -> bool:
        """Whether the source is a block's input, so that everything before it is the prompt's own."""
        return isinstance(self.source, Site)

    def hook(
        self,
        v: Tensor,
        seen: dict[str, Tensor],
        *,
        recording: bool,
        kinds: Callable[[ResidualStream], list[str]],
        add: Callable[..., None],
        stack: ExitStack,
    ) -> None:
        """Register hooks by ``add`` for a pass with ``v`` at the source; they fill "leaf" and "target" of ``seen``.

        A target inside the network ends the pass with ``Reached``. ``kinds(stream)`` says of a recorded stream's
        addends which are "attn" and which "mlp". ``stack`` closes when the pass ends.
        """
        if isinstance(self.source, Site):
            block = self.layers[self.source.layer]
            add(block.register_forward_pre_hook, partial(self._entering, v, seen, recording))
        if isinstance(self.target, Site):
            block = self.layers[self.target.layer]
            streams: list[ResidualStream] = []
            if self.target.kind != "layer":
                add(block.register_forward_pre_hook, partial(self._watch_stream, streams, stack))
            add(block.register_forward_hook, partial(self._reached, seen, streams, recording, kinds))

    def through_final_norm(self, target: Tensor, *, recording: bool, fit: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The final norm applied to an intermediate target, its denominator held at that place's own value.

        ``fit(coefficient, value)`` repeats the coefficient to a batch. Nothing is applied at the output, and without
        ``final_norm``. Raises EqlinError for a norm that cannot be frozen.
        """
        if not (isinstance(self.target, Site) and self.final_norm):
            return target
        if recording:
            module = find_final_norm(self._decoder, self.layers)
            rule = final_norm_rule(module, target.detach())
            if rule is None:
                raise EqlinError(f"The final norm, {type(module).__name__}, cannot be frozen; use final_norm=False.")
            self._norm = rule, rule.coefficient(target)
        rule, coefficient = self._norm
        return rule.linear(target, fit(coefficient, target))

    def _entering(
        self, v: Tensor, seen: dict[str, Tensor], recording: bool, _module: nn.Module, args: Any, kwargs: Any
    ) -> Any:
        seen["leaf"] = block_input(args, kwargs).detach().requires_grad_() if recording else v
        return replace_block_input(args, kwargs, seen["leaf"])

    def _watch_stream(
        self, streams: list[ResidualStream], stack: ExitStack, _module: nn.Module, args: Any, kwargs: Any
    ) -> None:
        streams.append(ResidualStream(block_input(args, kwargs)))
        stack.enter_context(Additions(streams[-1]))

    def _reached(
        self,
        seen: dict[str, Tensor],
        streams: list[ResidualStream],
        recording: bool,
        kinds: Callable[[ResidualStream], list[str]],
        _module: nn.Module,
        _args: Any,
        _kwargs: Any,
        out: Any,
    ) -> None:
        assert isinstance(self.target, Site)
        seen["target"] = block_output(out)
        if seen["target"].dim() != 3:
            raise EqlinError(f"Block {self.target.layer} does not hand on one vector for each token, so it has no map.")
        if streams:
            stream = streams.pop()
            if recording:
                self.added = self._checked_kinds(kinds(stream), stream, seen["target"])
            seen["target"] = sum_of(stream, self.added, self.target.kind).view_as(seen["target"])
        raise Reached

    def _checked_kinds(self, kinds: list[str], stream: ResidualStream, out: Tensor) -> list[str]:
        assert isinstance(self.target, Site)
        if not stream.ends_in(out) or set(kinds) != {"attn", "mlp"}:
            kind = type(self.layers[self.target.layer]).__name__
            raise EqlinError(
                f"Block {self.target.layer}, {kind}, does not add one part that mixes positions and an MLP to a "
                "residual stream, so they have no maps of their own; choose the kind 'layer'."
            )
        return kinds


class Reached(Exception):
    """A target inside the network is reached: the rest of the pass is not computed."""
