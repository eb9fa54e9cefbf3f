"""The map with every matrix cut to its r largest singular triplets, for all r at once: how few of them predict.

y_r = sum_i U_i[:, :r] diag(S_i[:r]) Vh_i[:r] x_i + b is one cumulative sum over r, whatever the number of tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.linalg.decompositions import qr, svd
from eqlin_core.linalg.truncated_svd import truncated_svd
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.models.readout import next_token_logits
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part, report
from eqlin_core.reprs import Facts, ShortRepr
from eqlin_core.resources import budget
from eqlin_core.runs.values import Row
from eqlin_core.spectra.spectrum import Spectrum


@dataclass(frozen=True, eq=False, repr=False)
class Truncation(ShortRepr):
    """What is left of a prediction at each rank r = 0..k; row r of every field is the map cut to rank r.

    ``outputs`` [k+1, d] are y_r; ``error`` [k+1] = ||y_r - y|| / ||y||; ``divergence`` [k+1] = KL(true || truncated) of
    the next-token distributions, in nats; ``chances`` [k+1] are the probabilities of the token that is truly the most
    likely one; ``top`` the most likely tokens with their probabilities (empty where every token is equally likely, as
    at r = 0 without biases). ``keeps`` is the smallest r from which on, at every rank up to k, the most likely token is
    the true one; None where it is another one at rank k itself.
    """

    outputs: Float[Tensor, "ranks d"]
    error: Float[Tensor, " ranks"]
    divergence: Float[Tensor, " ranks"]
    chances: Float[Tensor, " ranks"]
    top: list[Row]
    true_top: Row
    keeps: int | None

    def _facts(self) -> Facts:
        last = len(self.error) - 1
        yield "ranks", f"ranks 0 to {last}"
        yield "error at the largest", f"error {float(self.error[-1]):.1e} at rank {last}"
        said = f"keeps the top token from rank {self.keeps}" if self.keeps is not None else "loses the top token"
        yield "most likely token", said


@passes
def truncate(
    lin: LinearMap,
    spectrum: Spectrum | None = None,
    *,
    joint: bool = False,
    top: int = 8,
    progress: Progress | None = None,
) -> Truncation:
    """The map cut to every rank 0..k of ``spectrum``, of each token or joint; without one, to every rank 0..d.

    The latter reads one token's matrix after the other and keeps no decomposition; with ``joint`` the one matrix
    [J_1 ... J_T] is cut. "True" is the distribution at the map's own output y. Raises EqlinError for a spectrum of
    another map and for a map whose target is an inner place.
    """
    if spectrum is not None:
        arguments.instance("spectrum", spectrum, Spectrum, "a Spectrum, as spectrum gives one, or None")
    joint, top = arguments.flag("joint", joint), arguments.whole("top", top, 1)
    arguments.called("progress", progress)
    if checked_map(lin).network.target != "output":
        raise EqlinError("A map that ends inside the network predicts no token; linearize up to the output.")
    if spectrum is None:
        outputs = all_joint_ranks(lin, progress) if joint else all_ranks(lin, progress)
    else:
        if _columns(spectrum) != lin.inputs.numel():
            raise EqlinError("The spectrum belongs to another map: take both from the same one.")
        outputs = truncated_outputs(spectrum, lin.inputs, lin.bias)
    y = lin.output.to(outputs)
    error = (outputs - y).norm(dim=-1) / y.norm()
    true = _log_probabilities(lin, y[None])[0]
    best, ids = true.exp().topk(min(top, len(true)))
    vocabulary = 3 * len(true) * 8  # logits, log-probabilities and their products, in float64
    divergence, chances, tops, chosen = [], [], [], []
    report(progress, 0.9, "Predictions of every rank")
    for rows in outputs.split(max(1, budget.chunk_size(vocabulary, 1, y.device, lin.memory_budget))):
        log_p = _log_probabilities(lin, rows)
        divergence.append((true.exp() * (true - log_p)).nan_to_num(0.0).sum(-1).clamp_min(0.0))
        most = log_p.exp().topk(len(ids))
        even = log_p.amax(-1) == log_p.amin(-1)
        chances.append(log_p[:, ids[0]].exp())
        tops += [[] if flat else row for flat, row in zip(even.tolist(), most.values.tolist(), strict=True)]
        chosen += most.indices.tolist()
        report(progress, 0.9 + 0.1 * len(chosen) / len(outputs), "Predictions of every rank")
    names = _names(lin, {int(i) for row in [*chosen, ids.tolist()] for i in row})
    return Truncation(
        outputs=outputs,
        error=error,
        divergence=torch.cat(divergence),
        chances=torch.cat(chances),
        top=[[(names[i], p) for i, p in zip(row, ps, strict=False)] for row, ps in zip(chosen, tops, strict=True)],
        true_top=[(names[i], p) for i, p in zip(ids.tolist(), best.tolist(), strict=True)],
        keeps=_keeps([row[0] if ps else -1 for row, ps in zip(chosen, tops, strict=True)], int(ids[0])),
    )


@passes
def truncated_outputs(
    spectrum: Spectrum, inputs: Float[Tensor, "tokens d"], bias: Float[Tensor, " d"]
) -> Float[Tensor, "ranks d_out"]:
    """y_r for r = 0..k [k+1, d]: the bias, and after it the triplets' parts u_r sigma_r (v_r . x) summed one by one."""
    if spectrum.S.dim() == 1:
        parts = spectrum.U * (spectrum.S * (spectrum.Vh @ inputs.to(spectrum.Vh).flatten()))
    else:
        parts = _triplet_parts(spectrum.U, spectrum.S, spectrum.Vh, inputs)
    return _summed(parts.T, bias)


@passes
def all_ranks(lin: LinearMap, progress: Progress | None = None) -> Float[Tensor, "ranks d"]:
    """y_r for r = 0..d, from one full decomposition a token; computes the matrix first where that was not done."""
    matrix = lin.jacobian(part(progress, 0.0, 0.4))
    parts = None
    for i in range(lin.n_tokens):
        report(progress, 0.4 + 0.5 * i / lin.n_tokens, f"Every singular triplet of token {i + 1} of {lin.n_tokens}")
        U, S, Vh = truncated_svd(matrix[i : i + 1].to(lin.inputs.device), min(matrix.shape[1:]))
        own = _triplet_parts(U, S, Vh, lin.inputs[i : i + 1])
        parts = own if parts is None else parts + own
    assert parts is not None
    return _summed(parts.T, lin.bias)


@passes
def all_joint_ranks(lin: LinearMap, progress: Progress | None = None) -> Float[Tensor, "ranks d"]:
    """The same for the joint matrix: y_r = U_r U_r^T sum_i J_i x_i + b, with U from the triangle R of J^T = Q R.

    R [d, d] takes in one token's matrix after the other, so the d x T d matrix is never put together.
    """
    matrix = lin.jacobian(part(progress, 0.0, 0.4))
    device, dtype = lin.inputs.device, torch.promote_types(lin.inputs.dtype, torch.float32)
    triangle, total = torch.zeros(0, matrix.shape[1], device=device, dtype=dtype), lin.bias.to(dtype) * 0
    for i, (J, x) in enumerate(zip(matrix, lin.inputs, strict=True)):
        report(progress, 0.4 + 0.5 * i / lin.n_tokens, "Every joint singular triplet")
        here = J.to(device, dtype)
        triangle = qr(torch.cat([triangle, here.mT]), mode="r")[1]
        total = total + here @ x.to(dtype)
    U = svd(triangle.mT)[0]
    return _summed((U * (total @ U)).T, lin.bias)


def _columns(spectrum: Spectrum) -> int:
    """The columns of all matrices of a spectrum together: T d."""
    return spectrum.Vh.shape[-1] * (spectrum.Vh.shape[0] if spectrum.Vh.dim() == 3 else 1)


def _triplet_parts(U: Tensor, S: Tensor, Vh: Tensor, inputs: Tensor) -> Tensor:
    """sum_i u_r sigma_r (v_r . x_i) of every r: [d, k]."""
    sizes = S * torch.einsum("tkd,td->tk", Vh, inputs.to(Vh))
    return torch.einsum("tdk,tk->dk", U, sizes)


def _summed(parts: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([bias.to(parts)[None], bias.to(parts) + parts.cumsum(0)])


def _log_probabilities(lin: LinearMap, outputs: Tensor) -> Float[Tensor, "ranks vocab"]:
    return wide(next_token_logits(lin.lm, outputs)).log_softmax(-1)


def _keeps(best: list[int], true: int) -> int | None:
    last_wrong = max((r for r, token in enumerate(best) if token != true), default=-1)
    return last_wrong + 1 if last_wrong + 1 < len(best) else None


def _names(lin: LinearMap, ids: set[int]) -> dict[int, str]:
    distinct = sorted(ids)
    return dict(zip(distinct, lin.lm.token_strings(distinct), strict=True))
