"""Passes through a frozen network that others wait for: token by token forwards, and reported backwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget
from eqlin_core.resources.device_time import wait


def each_alone(
    network: FrozenNetwork,
    values: Float[Tensor, "tokens d"],
    positions: Sequence[int],
    known: Sequence[Tensor | None],
    rows: int,
    progress: Progress | None,
) -> tuple[list[Float[Tensor, "tokens d_out"]], list[Tensor | None]]:
    """(J_i v_i of every token for each of these positions, what biases add at each): ``rows`` tokens a replay.

    ``known`` are the biases' parts as far as they are known. Where no position reads a later one, each replay begins at
    its first token, and what comes after a position is zero.
    """
    found = [values.new_zeros(len(values), network.values.shape[-1]) for _ in positions]
    biases = list(known)
    report(progress, 0.0, "Contributions")

    def part(start: int, stop: int) -> None:
        first = start if network.causal else 0  # what stands before a token cannot see it
        token = torch.arange(start, stop, device=values.device)
        # unless they are known: of a replay that begins later, biases add a part only
        constant_too = any(bias is None or (first > 0 and bool(bias.any())) for bias in biases)
        # the last row, without any token, is what biases add
        alone = values.new_zeros(len(token) + constant_too, *values.shape)[:, first:]
        alone[torch.arange(len(token)), token - first] = values[token]
        out = network.replay(alone, first)
        for n, position in enumerate(positions):
            seen = min(stop, position + 1) if network.causal else stop
            if seen <= start:
                continue
            here, bias = out[:, position - first], biases[n]
            constant = here[-1] if constant_too or bias is None else bias
            if not first:
                biases[n] = constant
            found[n][start:seen] = here[: seen - start] - constant
        wait(values.device)
        report(progress, stop / len(values), "Contributions")

    budget.in_chunks(max(positions) + 1 if network.causal else len(values), rows, part)
    return found, biases


@contextmanager
def blocks_passed(
    nodes: Sequence[Any], progress: Progress | None, start: float, stop: float, message: str = "Matrix"
) -> Iterator[None]:
    """Within the context a reverse pass reports, and can be cancelled, at every block's node that it passes on a CPU.

    Autograd passes them on a thread of its own where they are on another device, and long before that is done.
    """
    passed = iter(range(1, len(nodes) + 1))
    caller = threading.get_ident()

    def at_block(_: Any) -> None:
        if threading.get_ident() == caller:
            report(progress, start + (stop - start) * next(passed, len(nodes)) / (len(nodes) + 1), message)

    handles = [node.register_prehook(at_block) for node in nodes] if progress is not None else []
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
