"""The maps of one prompt from the residual stream after every block to the last one, by reverse passes shared by all.

With the cotangents of one output dimension placed at the target positions, a single reverse pass gives that row of the
map from every block at once. The estimators differ in where cotangents stand and where gradients are read.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import coefficient_dtype
from eqlin_core.lenses.streams import KINDS, RecordedStream
from eqlin_core.maps.passes import blocks_passed
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget, plan
from eqlin_core.resources.device_time import wait

POSITIONS = ("future", "same", "last")


def read_positions(tokens: int, positions: str, skip: int) -> list[int]:
    """The source positions of a prompt, its targets too: without the first ``skip`` and the last, or the last alone.

    Empty for a prompt that is too short.
    """
    return [tokens - 1] if positions == "last" else list(range(skip, tokens - 1))


@passes
def maps_of_prompt(
    stream: RecordedStream,
    layers: Sequence[int],
    positions: str,
    places: Sequence[int],
    memory_budget: int | None = None,
    progress: Progress | None = None,
) -> Float[Tensor, "layers d d"]:
    """[layers, d, d] on the CPU: of each source layer the mean over the source positions ``places`` of its map.

    "future": the sum over the targets among ``places`` (at and after the source); "same", "last": the source itself.
    The matrix of a map has a row for every output dimension.
    """
    if positions == "last":
        stream = stream.last_position()
        places = [len(stream.values) - 1]
    tokens, d = stream.values.shape
    found = torch.zeros(len(layers), d, d, dtype=coefficient_dtype(stream.values.dtype))
    # one cotangent serves all positions at once, or each has its own
    groups = [list(places)] if positions == "future" else [[place] for place in places]
    rows = _rows_at_once(stream, len(layers), memory_budget)
    for g, group in enumerate(groups):

        def part(start: int, stop: int, g: int = g, group: list[int] = group) -> None:
            u = stream.values.new_zeros(stop - start, tokens, d)
            for row in range(stop - start):
                u[row, group, start + row] = 1
            a, b = ((g + end / d) / len(groups) for end in (start, stop))
            with blocks_passed(stream.nodes, progress, a, b, "Lens"):
                gradients = _gradients(stream, layers, u)
            for i, gradient in enumerate(gradients):
                found[i, start:stop] += gradient[:, 0, group].to(found.dtype).sum(1).cpu()
            wait(stream.values.device)
            report(progress, b, "Lens")

        budget.in_chunks(d, rows, part)
    return found / len(places)


@passes
def adjoint_at(
    stream: RecordedStream, layers: Sequence[int], position: int, w: Float[Tensor, " d"]
) -> Float[Tensor, "layers d"]:
    """J_l^T w of one prompt's map at a position, from the stream after each of these blocks there; one reverse pass."""
    u = torch.zeros_like(stream.values)
    u[position] = w.to(u)
    gradients = _gradients(stream, layers, u[None])
    return torch.stack([gradient[0, 0, position].to(u.device) for gradient in gradients])


@passes
def transported_at(stream: RecordedStream, layers: Sequence[int], position: int) -> Float[Tensor, "layers d"]:
    """J_l h_l of one prompt's map at a position, h_l the stream after block l there; a reverse pass a layer, no matrix.

    J_l^T u . h_l is linear in u, and its derivative with respect to u is what is wanted.
    """
    if not layers:
        return stream.values.new_zeros(0, stream.values.shape[-1])
    with torch.enable_grad():
        value = stream.values[position]
        u = torch.zeros_like(value).requires_grad_()
        gradients = torch.autograd.grad(value, _sources(stream, layers), u, create_graph=True, allow_unused=True)
    rows = []
    for layer, gradient in zip(layers, gradients, strict=True):
        if gradient is None:
            rows.append(torch.zeros_like(value))
            continue
        with torch.enable_grad():
            product = (gradient[0, position] * stream.blocks[layer][0, position].detach().to(gradient.device)).sum()
        (row,) = torch.autograd.grad(product, u, retain_graph=True)
        rows.append(row)
    return torch.stack(rows).detach()


def _gradients(
    stream: RecordedStream, layers: Sequence[int], u: Float[Tensor, "rows tokens d"]
) -> list[Float[Tensor, "rows one tokens d"]]:
    """Of every cotangent of the last residual stream its gradient at each of the sources."""
    stream.network.require_same_weights()
    sources = _sources(stream, layers)
    found = torch.autograd.grad(stream.values, sources, u, retain_graph=True, is_grads_batched=True, allow_unused=True)
    return [
        source.new_zeros(len(u), *source.shape) if gradient is None else gradient
        for source, gradient in zip(sources, found, strict=True)
    ]


def _sources(stream: RecordedStream, layers: Sequence[int]) -> list[Tensor]:
    return [stream.blocks[layer] for layer in layers]


def _rows_at_once(stream: RecordedStream, layers: int, memory_budget: int | None) -> int:
    """Rows of one reverse pass: those that fit, with the gradients that they leave at every source."""
    lm, (tokens, d) = stream.network.lm, stream.values.shape
    live = KINDS[stream.kind].mixes_live
    size = plan.row_bytes(lm, tokens, live=live) + layers * tokens * d * stream.values.element_size()
    fitting = budget.chunk_size(size, tokens, stream.values.device, memory_budget)
    return max(1, min(fitting, plan.chunk_rows(lm, tokens, stream.values.device, memory_budget, live=live)))
