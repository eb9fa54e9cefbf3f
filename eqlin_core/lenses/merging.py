"""Lenses fitted on parts of a corpus, merged into the one that a fit of the whole corpus would have given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from eqlin_core import arguments
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.lenses.lens import UNRECORDED, Lens, checked_lens
from eqlin_core.lenses.moments import Moments

# What lenses must share to be parts of one, with what a message calls it.
_SHARED = {
    "kind": "kind",
    "positions": "positions",
    "skip": "number of skipped positions",
    "layers": "layers",
    "blocks": "number of blocks",
    "model": "model",
    "revision": "revision of the model",
    "dtype": "precision",
    "engine": "version of the engine",
}


def merge_lenses(lenses: Sequence[Lens]) -> Lens:
    """The lens of all prompts of these lenses together: mean, spread and counts as one fit has them, to rounding.

    They may have been fitted elsewhere and at different times. Raises EqlinError for lenses that differ in anything but
    their prompts, and for one whose file does not say what it was averaged over.
    """
    takes = "a list of lenses, as fit_lens gives them"
    parts = [checked_lens("A part", lens) for lens in arguments.several("lenses", lenses, takes, least=1)]
    first = parts[0]
    for other in parts:
        if other.squares is None or other.kind == UNRECORDED:
            raise EqlinError("A lens whose file does not say what it was averaged over cannot be merged: fit it again.")
        for name, called in _SHARED.items():
            one, two = getattr(first, name), getattr(other, name)
            if one != two:
                shown = f"{arguments.shown(one)} and {arguments.shown(two)}"
                raise InvalidValue(f"The lenses differ in their {called} ({shown}), so they are no parts of one.")
        if other.width != first.width:
            raise InvalidValue(f"The lenses differ in their width ({first.width} and {other.width}).")
    if len(parts) == 1:
        return first
    together = Moments.none(len(first.layers), first.width)
    for part in parts:
        assert part.squares is not None
        together.merge(part.matrices, part.squares, part.prompts)
    return replace(
        first,
        matrices=together.mean.float(),
        squares=together.squares,
        changes=torch.zeros(0, len(first.layers), dtype=torch.float64),
        prompts=together.count,
        source_positions=sum(part.source_positions for part in parts),
        left_out=sum(part.left_out for part in parts),
        prompt_digests=tuple(digest for part in parts for digest in part.prompt_digests),
        stored="float16" if any(part.stored == "float16" for part in parts) else "float32",
    )
