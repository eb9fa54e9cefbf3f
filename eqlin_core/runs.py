"""A finished analysis as plain NumPy arrays: what pages show, notebooks keep, and caches hold.

A run names everything that its numbers depend on in its key, and holds no tensor and no model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.errors import EqlinError
from eqlin_core.exactness import BOUNDS, Exactness
from eqlin_core.experts import eager_experts
from eqlin_core.linear_map import LinearMap
from eqlin_core.models import LanguageModel
from eqlin_core.readout import Row, read_input, read_output
from eqlin_core.spectra import spectrum
from eqlin_core.treatments import Treatment, treatments

# Raised when a change of the engine changes numbers, so that older results are not taken for new ones.
ENGINE_VERSION = "1"
TARGETS = 20
READ = 12

Array = np.ndarray


@dataclass(frozen=True)
class RunKey:
    """What the numbers of a run depend on."""

    model: str
    revision: str
    dtype: str
    token_ids: tuple[int, ...]
    gated_path: str
    engine: str = ENGINE_VERSION


@dataclass(frozen=True)
class Target:
    """A vocabulary token that a logit is split for: its row w of the unembedding, its logit w . y and probability."""

    token_id: int
    token: str
    row: Float[Array, " d"]
    logit: float
    probability: float


@dataclass(frozen=True)
class TokenRun:
    """The contributions of one prompt: every array in float64, whatever the dtype they were computed in.

    ``treatments`` says how every module class of the model was frozen.
    """

    key: RunKey
    prompt: str
    device: str
    width: int
    n_layers: int
    tokens: list[str]
    inputs: Float[Array, "tokens d"]
    output: Float[Array, " d"]
    bias: Float[Array, " d"]
    contributions: Float[Array, "tokens d"]
    targets: list[Target]
    exactness: Exactness | None
    bounds: tuple[float, float]
    treatments: list[Treatment] = field(default_factory=list)
    complete: bool = True

    def split(self, direction: Float[Array, " d"]) -> tuple[Float[Array, " tokens"], float, float]:
        """(w . J_i x_i of every token, w . b, w . y) for a direction w of the output space."""
        return self.contributions @ direction, float(self.bias @ direction), float(self.output @ direction)

    @property
    def norms(self) -> Float[Array, " tokens"]:
        """||J_i x_i||."""
        return np.linalg.norm(self.contributions, axis=1)

    @property
    def cosines(self) -> Float[Array, " tokens"]:
        """cos(J_i x_i, y); zero for a token that contributes nothing."""
        sizes = self.norms * np.linalg.norm(self.output)
        return np.divide(self.contributions @ self.output, sizes, out=np.zeros_like(sizes), where=sizes > 0)


@dataclass(frozen=True)
class SpectrumRun:
    """The k largest singular triplets of every token, with what they read as and what they do at this prompt."""

    key: RunKey
    tokens: list[str]
    U: Float[Array, "tokens d k"]
    S: Float[Array, "tokens k"]
    Vh: Float[Array, "tokens k d"]
    stable_rank: Float[Array, " tokens"]
    projections: Float[Array, "tokens k"]  # v_k . x_i
    reads_u: list[list[Row]]
    reads_v: list[list[Row]]
    exactness: Exactness

    def shares(self, token: int, direction: Float[Array, " d"]) -> Float[Array, " k"]:
        """w . u_k sigma_k (v_k . x_i): the part of token i's term of the logit that triplet k carries."""
        return (direction @ self.U[token]) * self.S[token] * self.projections[token]


def run_key(lin: LinearMap) -> RunKey:
    """The key of what is computed from this map."""
    dtype = str(lin.inputs.dtype).removeprefix("torch.")
    return RunKey(lin.lm.name, lin.lm.revision, dtype, tuple(lin.token_ids), lin.gated_path)


def token_run(lin: LinearMap, prompt: str, progress: Callable[[float, str], Any] | None = None) -> TokenRun:
    """Contributions, exactness and the most likely next tokens, without the matrix."""
    contributions = lin.contributions(progress)
    return _token_run(lin, prompt, contributions, _likely(lin), lin.exactness())


def token_preview(lin: LinearMap, prompt: str) -> TokenRun:
    """The logits of the most likely next tokens split over the input tokens, by one reverse pass for each of them.

    For a long prompt this is there long before the contributions, which take a pass for every token of the prompt.
    """
    targets = _likely(lin)
    rows = torch.from_numpy(np.stack([target.row for target in targets]))
    terms = torch.einsum("mtd,td->tm", lin.adjoint(rows).double(), lin.inputs.double()).cpu()
    # of all the vectors with these products, the shortest
    contributions = torch.linalg.lstsq(rows, terms.mT, driver="gelsd").solution.mT
    return _token_run(lin, prompt, contributions, targets, None)


def _likely(lin: LinearMap) -> list[Target]:
    logits = next_logits(lin.lm, lin.token_ids)
    ids = logits.topk(min(TARGETS, len(logits))).indices.tolist()
    return describe_targets(lin.lm, lin, ids, logits)


def _token_run(
    lin: LinearMap, prompt: str, contributions: Tensor, targets: list[Target], exactness: Exactness | None
) -> TokenRun:
    return TokenRun(
        key=run_key(lin),
        prompt=prompt,
        device=str(lin.lm.device),
        width=lin.width,
        n_layers=lin.lm.n_layers,
        tokens=list(lin.tokens),
        inputs=_array(lin.inputs),
        output=_array(lin.output),
        bias=_array(lin.bias),
        contributions=_array(contributions),
        targets=targets,
        exactness=exactness,
        bounds=BOUNDS[str(lin.inputs.dtype).removeprefix("torch.")],
        treatments=treatments(lin.network, exactness.leaks if exactness else lin.network.leaks),
        complete=exactness is not None,
    )


def describe_targets(lm: LanguageModel, lin: LinearMap, ids: list[int], logits: Tensor) -> list[Target]:
    """The vocabulary tokens ``ids`` with their unembedding rows, logits w . y and next-token probabilities."""
    rows = _array(lm.unembedding[ids])
    y = _array(lin.output)
    probabilities = logits.double().softmax(-1)[ids].tolist()
    names = lm.token_strings(ids)
    return [
        Target(i, name, row, float(row @ y), p) for i, name, row, p in zip(ids, names, rows, probabilities, strict=True)
    ]


def typed_target(lin: LinearMap, text: str) -> Target:
    """The vocabulary token that ``text`` names, as typed or after a space, whichever is the likelier next token.

    Raises EqlinError when neither is a single token.
    """
    lm = lin.lm
    known = {name: i for i, name in enumerate(lm.token_strings(range(lm.vocab_size)))}
    ids = [known[form] for form in dict.fromkeys((text, f" {text.strip()}", text.strip())) if form in known]
    if not ids:
        raise EqlinError(f"{text!r} is not a single token of {lm.name}; type one token, such as the start of the word.")
    logits = next_logits(lm, lin.token_ids)
    return describe_targets(lm, lin, [max(ids, key=lambda i: float(logits[i]))], logits)[0]


def spectrum_run(lin: LinearMap, k: int = 24, progress: Callable[[float, str], Any] | None = None) -> SpectrumRun:
    """The singular triplets of every token's matrix, read out; computes the matrix."""
    found = spectrum(lin, min(k, lin.width), progress=progress)
    T, kept = found.S.shape
    left = found.U.transpose(1, 2).reshape(T * kept, -1)
    right = found.Vh.reshape(T * kept, -1)
    reads_u = read_output(lin.lm, left, READ)
    reads_v = read_input(lin.lm, right, READ)
    return SpectrumRun(
        key=run_key(lin),
        tokens=list(lin.tokens),
        U=_array(found.U),
        S=_array(found.S),
        Vh=_array(found.Vh),
        stable_rank=_array(found.stable_rank),
        projections=_array(torch.einsum("tkd,td->tk", found.Vh, lin.inputs.to(found.Vh))),
        reads_u=[reads_u[t * kept : (t + 1) * kept] for t in range(T)],
        reads_v=[reads_v[t * kept : (t + 1) * kept] for t in range(T)],
        exactness=lin.exactness(),
    )


@torch.no_grad()
def next_logits(lm: LanguageModel, token_ids: list[int]) -> Float[Tensor, " vocab"]:
    """The untouched model's logits after the prompt, with everything it applies to them (soft-capping, scaling)."""
    ids = torch.tensor([token_ids], device=lm.device)
    with eager_experts(lm.model):  # the fused experts know no float64
        return lm.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]


def _array(tensor: Tensor) -> Array:
    return tensor.detach().double().cpu().numpy()
