"""Fitting a lens: prompt after prompt, the maps of all source layers from one graph, averaged as they come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.lenses.derivatives import POSITIONS, maps_of_prompt, read_positions
from eqlin_core.lenses.lens import Lens, digest_of
from eqlin_core.lenses.moments import Moments
from eqlin_core.lenses.streams import KINDS, recorded_stream
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import CheckedIds, prompt_ids
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part, report, shown
from eqlin_core.resources import budget
from eqlin_core.version import __version__

# Of the published lens: positions before this one are left out, where attention sinks are.
SKIP = 16
# Float64 mean, float32 mean, and what one prompt adds, of every source layer.
_BYTES_OF_AN_ENTRY = 8 + 4 + 8


@passes
def fit_lens(
    lm: LanguageModel,
    prompts: Sequence[str | Sequence[int]],
    kind: str = "frozen",
    *,
    layers: Sequence[int] | None = None,
    positions: str = "future",
    skip: int = SKIP,
    stop: float | int | None = None,
    memory_budget: int | None = None,
    progress: Progress | bool | None = None,
) -> Lens:
    """The mean and the spread over a corpus of the maps from the stream after block l to the last, before the norm.

    ``prompts``: texts, or lists of token ids. ``layers``: the source blocks l, from 0; all but the last unless given.
    ``kind``: "frozen", the exact engine's maps, attention weights, norms and gates held; "jacobian", d h_final / d h_l
    of the untouched model (Gurnee et al., "Verbalizable Representations Form a Global Workspace in Language Models",
    2026); "norms-frozen", only the denominators of norms and the factors of activations held; "r-lens", these, and each
    factor of a gated product with half of its derivative.
    ``positions``: "future", the published estimator: at a source position the sum over the target positions from it
    on, then the mean over source positions; "same": source and target are one position, one pass a position instead of
    one for all; "last": the last position alone. Both ends leave out the first ``skip`` positions and the last one,
    but for "last". A prompt has the weight of any other; one with no position left is left out and counted.
    ``stop``: end when the largest relative change of a layer's mean by a prompt is below it; published: 2e-3.
    Cost: a recording and d reverse passes of a prompt, for all layers at once. ``memory_budget`` (bytes) bounds the
    chunks. ``progress(fraction, message)`` cancels by raising or answering False; True draws a bar.
    Raises EqlinError where no prompt is long enough, for layers that do not exist, and for a model that does not have
    one residual stream or, but for "jacobian", cannot be frozen.
    """
    checked_model(lm)
    arguments.choice("kind", kind, tuple(KINDS))
    arguments.choice("positions", positions, POSITIONS)
    skip = 0 if positions == "last" else arguments.whole("skip", skip, 0, 10**9)
    if stop is not None:
        stop = arguments.number("stop", stop, above=0)
    memory_budget = arguments.budget("memory_budget", memory_budget)
    arguments.called("progress", progress, shows=True)
    sources = _checked_layers(lm, layers)
    corpus = _checked_prompts(lm, prompts)
    read = [ids for ids in corpus if read_positions(len(ids), positions, skip)]
    if not read:
        raise InvalidValue(
            f"No prompt has the {skip + 2} tokens that it takes: skip={skip} leaves out so many at its start, and the "
            "last one is left out; give longer prompts or a smaller skip."
        )
    size = _BYTES_OF_AN_ENTRY * len(sources) * lm.width**2
    budget.require(size, torch.device("cpu"), "The lens", max(map(len, read)))
    if kind not in ("jacobian", "frozen"):
        recorded_stream(lm, read[0], "frozen")  # raises where a norm or an activation is not recognised
    with shown(progress) as listener:
        return _fit(lm, read, len(corpus) - len(read), kind, sources, positions, skip, stop, memory_budget, listener)


def _fit(
    lm: LanguageModel,
    prompts: list[CheckedIds],
    left_out: int,
    kind: str,
    layers: list[int],
    positions: str,
    skip: int,
    stop: float | None,
    memory_budget: int | None,
    progress: Progress | None,
) -> Lens:
    moments = Moments.none(len(layers), lm.width)
    changes: list[Tensor] = []
    used, total = 0, len(prompts)
    report(progress, 0.0, "Lens")
    for i, ids in enumerate(prompts):
        places = read_positions(len(ids), positions, skip)
        stream = recorded_stream(lm, ids, kind)
        within = part(progress, i / total, (i + 1) / total, f"Lens, prompt {i + 1} of {total}")
        found = maps_of_prompt(stream, layers, positions, places, memory_budget, within)
        if not bool(found.isfinite().all()):
            raise EqlinError(
                f"The map of prompt {i + 1} is not finite in {dtype_name(lm.dtype)}: choose a higher precision."
            )
        changes.append(moments.add(found))
        used += len(places)
        if stop is not None and i and float(changes[-1].max()) < stop:
            break
    return Lens(
        kind=kind,
        positions=positions,
        skip=skip,
        layers=layers,
        blocks=lm.n_layers,
        matrices=moments.mean.float(),
        squares=moments.squares,
        changes=torch.stack(changes),
        prompts=moments.count,
        source_positions=used,
        left_out=left_out,
        prompt_digests=tuple(digest_of(ids) for ids in prompts[: moments.count]),
        model=lm.name,
        revision=lm.revision,
        dtype=dtype_name(lm.dtype),
        engine=__version__,
    )


def _checked_layers(lm: LanguageModel, layers: Any) -> list[int]:
    last = lm.n_layers - 1
    if last < 1:
        raise EqlinError("This model has one block, so no lens has a layer before the last one to start from.")
    if layers is None:
        return list(range(last))
    given = arguments.several("layers", layers, f"a list of blocks from 0 to {last - 1}", least=1)
    return sorted({arguments.whole("A layer", layer, 0, last - 1, "all blocks but the last") for layer in given})


def _checked_prompts(lm: LanguageModel, prompts: Any) -> list[CheckedIds]:
    takes = "a list of prompts (texts, or lists of token ids)"
    given = arguments.several("prompts", prompts, takes, least=1)
    return [prompt_ids(lm, one) if isinstance(one, str) else prompt_ids(lm, None, one) for one in given]
