"""Places in the network between which a map is taken: the blocks, their parts, and the final norm."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidType, InvalidValue


@dataclass(frozen=True)
class Site:
    """A place in block ``layer`` (from 0): its "input", what "attn" or "mlp" adds, or the block's output "layer"."""

    layer: int
    kind: Literal["input", "attn", "mlp", "layer"]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", arguments.whole("layer", self.layer))
        arguments.choice("kind", self.kind, ("input", "attn", "mlp", "layer"))


SourcePlace = Site | str  # "embedding" or the input of a block
TargetPlace = Site | str  # "output" or a part of a block


def check_sites(source: SourcePlace, target: TargetPlace, n_layers: int) -> None:
    """Raise EqlinError for a place that does not exist or that a map cannot start from or lead to."""
    for site in (source, target):
        if isinstance(site, Site):
            if not 0 <= site.layer < n_layers:
                raise InvalidValue(
                    f"Block {arguments.shown(site.layer)} does not exist: this model has blocks 0 to {n_layers - 1}."
                )
        elif not isinstance(site, str) or site not in ("embedding", "output"):
            raise (InvalidValue if isinstance(site, str) else InvalidType)(
                f"{arguments.shown(site)} is no place in the network; use 'embedding', 'output' or Site(layer, kind)."
            )
    if source == "output" or (isinstance(source, Site) and source.kind != "input"):
        raise InvalidValue(f"A source is 'embedding' or the input of a block, Site(layer, 'input'), not {source!r}.")
    if target == "embedding" or (isinstance(target, Site) and target.kind not in ("attn", "mlp", "layer")):
        raise InvalidValue(f"A target is 'output' or Site(layer, 'attn' | 'mlp' | 'layer'), not {target!r}.")
    if isinstance(source, Site) and isinstance(target, Site) and source.layer > target.layer:
        raise InvalidValue(f"The source, block {source.layer}, lies behind the target, block {target.layer}.")


def promised_blocks(config: Any) -> int:
    """How many blocks a configuration promises; that of its largest part where it has no count of its own."""
    known = getattr(config, "num_hidden_layers", None)
    if known is None:
        parts = [getattr(config, name, None) for name in config.sub_configs]
        known = max((getattr(part, "num_hidden_layers", None) or 0 for part in parts), default=0)
    return int(known)


def find_layers(decoder: nn.Module, n_layers: int) -> nn.ModuleList:
    """The decoder's list of blocks. Raises EqlinError where there is none of the length that the config promises."""
    found = blocks_of(decoder, n_layers)
    if found is not None:
        return found
    raise EqlinError(f"{type(decoder).__name__} has no list of {n_layers} blocks, so its layers cannot be found.")


def find_decoder(model: Any, n_layers: int) -> nn.Module:
    """The part of a causal language model that takes embeddings to hidden states.

    It is what the model calls its decoder, unless that is the whole model or has no blocks.
    """
    named = model.get_decoder()
    inside = [named, *(child for _, child in model.named_children() if child is not named)]
    for module in inside:
        if module is model or not isinstance(module, nn.Module):
            continue
        if "inputs_embeds" in inspect.signature(module.forward).parameters and blocks_of(module, n_layers):
            return module
    return cast(nn.Module, named)


def blocks_of(decoder: nn.Module, n_layers: int) -> nn.ModuleList | None:
    """Its list of blocks: of the promised length, directly in it or in one of its parts; or its only list."""
    direct = [m for m in decoder.children() if isinstance(m, nn.ModuleList)]
    deeper = [m for part in decoder.children() for m in part.children() if isinstance(m, nn.ModuleList)]
    found = next((m for m in (*direct, *deeper) if len(m) == n_layers), None)
    return found if found is not None or len(direct) != 1 else direct[0]


def find_final_norm(decoder: nn.Module, layers: nn.ModuleList) -> nn.Module:
    """The norm between the last block and the output: the last child of the decoder that has one weight per width.

    An identity where the decoder has none: its blocks end in norms of their own.
    """
    named = [module for name, module in decoder.named_children() if "emb" not in name]
    norms = [m for m in named if isinstance(w := getattr(m, "weight", None), Tensor) and w.dim() == 1]
    width = getattr(getattr(decoder, "config", None), "hidden_size", None)
    norms = [m for m in norms if cast(Tensor, m.weight).shape[0] == width] or norms
    if not norms and any(child is layers for child in named):  # a norm without weights stands after the blocks
        norms = [m for m in named[named.index(layers) + 1 :] if "norm" in type(m).__name__.lower()]
    return norms[-1] if norms else nn.Identity()


def block_input(args: Any, kwargs: Any) -> Tensor:
    """The hidden states that a block is called with."""
    return args[0] if args else kwargs["hidden_states"]


def replace_block_input(args: Any, kwargs: Any, value: Tensor) -> tuple[Any, Any]:
    """The arguments of a block with other hidden states."""
    return ((value, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": value})


def block_output(out: Any) -> Tensor:
    """The hidden states that a block returns."""
    return out[0] if isinstance(out, tuple | list) else out
