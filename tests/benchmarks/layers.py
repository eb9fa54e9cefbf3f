"""``python -m tests.benchmarks.layers``: the sweep of all layers against one reverse-mode Jacobian per layer and kind.

The reverse-mode Jacobians are those of one frozen network, so recording is not counted against them; all 90 of the
default model take minutes, so they are taken at some layers, evenly spread, and summed up. Times are medians in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

import eqlin_core as eq
from eqlin_core.dtypes import dtype_name
from eqlin_core.layers.blocks import OpenNetwork
from eqlin_core.layers.collector import _decompose
from eqlin_core.layers.maps import forward_maps
from eqlin_core.layers.results import KINDS
from eqlin_core.layers.sweep import sweep_map
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.models.readout import top_tokens
from tests.benchmarks.measure import MIB, Measured, machine, markdown, measure

PROMPT = "The bridge out of Marin is the"
KEPT = READ = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sampled", type=int, default=3, help="layers at which reverse-mode Jacobians are taken")
    options = parser.parse_args()
    lm = eq.load_model("smollm2-135m", dtype=options.dtype, device="cpu")
    print(report(lm, options.prompt, options.rounds, options.sampled))


def report(lm: eq.LanguageModel, prompt: str, rounds: int, sampled: int) -> str:
    """The table and what it was measured on, as Markdown."""
    lin = eq.linearize(lm, prompt)
    net, L = OpenNetwork(lin), lm.n_layers
    layers = [round(L * (2 * i + 1) / (2 * sampled) - 0.5) for i in range(sampled)]

    def accumulate() -> None:
        for _ in forward_maps(net, lin.width):
            pass

    def jacobians() -> list[torch.Tensor]:
        return [reverse_jacobian(net, layer, kind) for layer in layers for kind in KINDS]

    def analyse() -> None:
        for matrix in matrices:
            triplets(lin, matrix)

    matrices = jacobians()
    calls: dict[str, Callable[[], Any]] = {
        "maps": accumulate,
        "sweep": lambda: sweep_map(lin, k=KEPT),
        "jacobians": jacobians,
        "analysis": analyse,
    }
    found = measure(calls, rounds)
    times = L / sampled
    one_each = found["jacobians"].seconds * times
    same = one_each + found["analysis"].seconds * times
    rows = [
        row("maps of all layers and kinds", found["maps"], one_each, found["jacobians"]),
        row("the sweep: maps, SVD, read-outs", found["sweep"], same, found["jacobians"]),
    ]
    header = ["on the default model", "eqlin", "one Jacobian each", "faster", "peak", "peak of one each"]
    dtype = dtype_name(lm.dtype)
    return (
        f"{markdown(header, rows)}\n\nAgainst the Jacobians alone, without their SVD and read-outs, the whole sweep is "
        f"{one_each / found['sweep'].seconds:.1f}x faster.\n\n"
        f"{machine()}; {lin.n_tokens} tokens, {dtype}, k = {KEPT}; {L * len(KINDS)} Jacobians from "
        f"{sampled * len(KINDS)} measured."
    )


def row(name: str, ours: Measured, theirs: float, jacobians: Measured) -> list[str]:
    """One line of the table."""
    return [
        name,
        f"{ours.seconds:.2f} s",
        f"{theirs:.1f} s",
        f"{theirs / ours.seconds:.1f}x",
        f"{ours.peak_bytes / MIB:.0f} MiB",
        f"{jacobians.peak_bytes / MIB:.0f} MiB",
    ]


def reverse_jacobian(net: OpenNetwork, layer: int, kind: str) -> torch.Tensor:
    """[T, d, d] by d reverse rows from one place back to the embeddings."""
    return net.jacobian(net.blocks[layer].added(kind)[0, net.position], net.leaf)


def triplets(lin: LinearMap, J: torch.Tensor) -> None:
    """What a sweep does with the matrices of one layer and kind, by the same routines."""
    T, d, _ = J.shape
    y, x = lin.output, lin.inputs
    joint = J.transpose(0, 1).reshape(1, d, T * d)
    each = _decompose(J, y.expand(T, -1), x, KEPT, rows=T)
    whole = _decompose(joint, y[None], x.reshape(1, -1), KEPT, rows=1)
    for found in (each, whole):
        top_tokens(lin.lm.unembedding, found["U"].mT, READ)
        top_tokens(lin.lm.input_embeddings, found["Vh"].reshape(-1, d)[: found["S"].numel()], READ, cosine=True)


if __name__ == "__main__":
    main()
