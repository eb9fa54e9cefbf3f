"""``python -m tests.benchmarks.engine``: the engine against the published way of computing the same, in one table.

The published way: ``torch.autograd.functional.jacobian(vectorize=True)`` of the frozen network, products J_i x_i from
that matrix, and scikit-learn's ``randomized_svd`` token by token. All times are medians taken in turn in one process.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from sklearn.utils.extmath import randomized_svd

import eqlin_core as eq
from eqlin_core.linalg.truncated_svd import truncated_svd
from eqlin_core.maps.linear_map import LinearMap
from tests.benchmarks.measure import MIB, machine, markdown, measure

PROMPT = "The bridge out of Marin is the"
KEPT = 24
READ = 8
SMALL = 2**28  # weights that fit in memory a second time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompt", default=PROMPT)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    lm = eq.load_model("smollm2-135m", dtype=options.dtype, device="cpu")
    print(report(lm, options.prompt, options.rounds))


def report(lm: eq.LanguageModel, prompt: str, rounds: int) -> str:
    """The table and what it was measured on, as Markdown."""
    lin = eq.linearize(lm, prompt)
    matrix = lin.jacobian()
    numpy_matrix = matrix.numpy()

    def fresh() -> LinearMap:
        lin._jacobian = lin._contributions = None
        return lin

    def published_matrix() -> torch.Tensor:
        return torch.autograd.functional.jacobian(frozen_function(lin), lin.inputs, vectorize=True).transpose(0, 1)

    def published_contributions() -> torch.Tensor:
        return torch.einsum("toi,ti->to", published_matrix(), lin.inputs)

    def published_spectra() -> list[Any]:
        rows = []
        for token in numpy_matrix:
            u, _, vh = randomized_svd(token, KEPT, random_state=0)
            for left, right in zip(u.T, vh, strict=True):
                rows.append((torch.from_numpy(left) @ lm.unembedding.T).topk(READ))
                rows.append((torch.from_numpy(right.copy()) @ lm.input_embeddings.T).topk(READ))
        return rows

    def our_spectra() -> Any:
        u, _, vh = truncated_svd(matrix, KEPT)
        return eq.read_output(lm, u.mT, READ), eq.read_input(lm, vh, READ)

    pairs: list[tuple[str, Callable[[], Any], Callable[[], Any]]] = [
        ("contributions J_i x_i", lambda: fresh().contributions(), published_contributions),
        ("full matrix", lambda: fresh().jacobian(), published_matrix),
        (
            f"top-{KEPT} SVD of all tokens",
            lambda: truncated_svd(matrix, KEPT),
            lambda: [randomized_svd(token, KEPT, random_state=0) for token in numpy_matrix],
        ),
        (f"top-{KEPT} SVD with read-out", our_spectra, published_spectra),
    ]
    rows = []
    for name, ours, published in pairs:
        found = measure({"ours": ours, "published": published}, rounds)
        a, b = found["ours"], found["published"]
        rows.append(
            [
                name,
                f"{a.seconds:.3f} s",
                f"{b.seconds:.3f} s",
                f"{b.seconds / a.seconds:.1f}x",
                f"{a.peak_bytes / MIB:.0f} MiB",
                f"{b.peak_bytes / MIB:.0f} MiB",
            ]
        )
    table = markdown(["on the default model", "eqlin", "published way", "faster", "peak", "published peak"], rows)
    found = measure({"matrix": lambda: fresh().jacobian(), "products": plain_products(lin)}, rounds)
    rate = found["products"].seconds / found["matrix"].seconds
    gflops = flop(lin) / found["matrix"].seconds / 1e9
    return (
        f"{table}\n\nThe matrix runs at {gflops:.0f} GFLOP/s, {rate:.2f} of the rate of plain matrix products of the "
        f"same shapes.\n\n{machine()}; {lin.n_tokens} tokens, {str(lm.dtype).removeprefix('torch.')}."
    )


def frozen_function(lin: LinearMap) -> Callable[[torch.Tensor], torch.Tensor]:
    """y as a differentiable function of the input embeddings, every coefficient held: what the published code has."""
    return lambda x: lin.network._run(x[None])[0][0, lin.position]


def linear_path(lin: LinearMap) -> list[tuple[int, int]]:
    """(outputs, inputs) of every matrix on the linear path: value, output, up and down projections of every block."""
    shapes = []
    for name, module in lin.lm.model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.endswith(("v_proj", "o_proj", "up_proj", "down_proj")):
            shapes.append((module.out_features, module.in_features))
    return shapes


def flop(lin: LinearMap) -> int:
    """Floating-point operations of the matrix: d reverse passes of T positions over the linear path."""
    return 2 * lin.width * lin.n_tokens * sum(m * n for m, n in linear_path(lin))


def plain_products(lin: LinearMap) -> Callable[[], None]:
    """The same arithmetic as the matrix's reverse passes, as nothing but matrix products on random data.

    Beside a big model there is no room for all its weights again: then weights of one shape are one.
    """
    rows = lin._chunk()
    shapes = linear_path(lin)
    kind: dict[str, Any] = {"dtype": lin.inputs.dtype, "device": lin.inputs.device}
    if sum(m * n for m, n in shapes) < SMALL:
        weights = [torch.randn(shape, **kind) for shape in shapes]
    else:
        made = {shape: torch.randn(shape, **kind) for shape in set(shapes)}
        weights = [made[shape] for shape in shapes]
    inputs = {m: torch.randn(rows * lin.n_tokens, m, **kind) for m, _ in shapes}

    def run() -> None:
        done = 0
        while done < lin.width:
            take = min(rows, lin.width - done) * lin.n_tokens
            for weight in weights:
                inputs[weight.shape[0]][:take] @ weight
            done += rows

    return run


if __name__ == "__main__":
    main()
