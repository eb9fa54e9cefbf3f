"""A linear map taken apart into what the pages show: contributions, likely next tokens, spectra with read-outs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, to_numpy, wide
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.treatments import treatments
from eqlin_core.maps.linear_map import LinearMap, checked_map
from eqlin_core.maps.relative_error import relative_error
from eqlin_core.maps.targets import mean_row
from eqlin_core.models.baselines import ZERO, token_id
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.readout import read_input, read_output
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress
from eqlin_core.runs.exactness import Exactness, bounds_of
from eqlin_core.runs.prompt import RunKey, SpectrumRun, Target, TokenRun
from eqlin_core.spectra.spectrum import spectrum

TARGETS = 20
READ = 12


def seen_ids(lin: LinearMap) -> list[int]:
    """The token ids that the map's position sees: all up to it, or all where positions read later ones."""
    return lin.token_ids if lin.network.reads_later else lin.token_ids[: lin.position + 1]


def run_key(lin: LinearMap) -> RunKey:
    """The key of what is computed from this map."""
    dtype = dtype_name(lin.inputs.dtype)
    return RunKey(lin.lm.name, lin.lm.revision, dtype, tuple(lin.token_ids), lin.gated_path, lin.attention)


def token_run(
    lin: LinearMap,
    prompt: str,
    progress: Progress | None = None,
    *,
    baseline: str | int = ZERO,
    also: Sequence[int] = (),
) -> TokenRun:
    """Contributions, exactness and the most likely next tokens, with ``also`` these token ids, without the matrix.

    Of a map at another position than the last, the tokens up to it: what comes after them adds nothing.
    Against a ``baseline`` other than "zero" the terms are J_i (x_i - m), and it is their sum that exactness measures.
    Raises EqlinError for a baseline that is not one token, and for ids that the vocabulary does not have.
    """
    checked_map(lin)
    prompt = arguments.text("prompt", prompt)
    ids = arguments.several("also", also, "a list of token ids")
    also = [arguments.whole("Each of also", one, 0) for one in ids]
    if not isinstance(baseline, str):
        baseline = arguments.whole("baseline, unless it is a text,", baseline, 0)
    contributions, constant = lin.against(baseline, progress)
    targets = _likely(lin, also)
    exactness = lin.exactness()
    if baseline != ZERO:
        error = relative_error(lin.sum_of(contributions, constant), lin.output)
        bound = exactness.bounds[0]
        exactness = replace(exactness, reconstruction=error, exact=exactness.exact and error <= bound)
    return replace(
        _token_run(lin, prompt, contributions, targets, exactness), bias=to_numpy(constant), baseline=baseline
    )


def token_preview(
    lin: LinearMap,
    prompt: str,
    progress: Progress | None = None,
    *,
    baseline: str | int = ZERO,
    also: Sequence[int] = (),
) -> TokenRun:
    """The logits of the most likely next tokens split over the input tokens, by one reverse pass for each of them.

    For a long prompt this is there long before the contributions, which take a pass for every token of the prompt.
    """
    targets, expected = _likely(lin, also), _expected(lin)
    rows = torch.from_numpy(np.stack([*(target.row for target in targets), expected]))
    terms, constants = (part.cpu().double() for part in lin.logit_split(rows, baseline, progress))
    # of all the vectors with these products, the shortest
    contributions, constant = (
        torch.linalg.lstsq(rows, products, driver="gelsd").solution.mT for products in (terms, constants[:, None])
    )
    run = _token_run(lin, prompt, contributions, targets, None)
    return replace(run, bias=to_numpy(constant[0]), baseline=baseline)


def _expected(lin: LinearMap) -> np.ndarray:
    """sum_v p_v W_v, with the model's own next-token probabilities p."""
    return to_numpy(mean_row(lin, wide(next_logits(lin.lm, seen_ids(lin))).softmax(-1)))


def _likely(lin: LinearMap, also: Sequence[int]) -> list[Target]:
    logits = next_logits(lin.lm, seen_ids(lin))
    ids = logits.topk(min(TARGETS, len(logits))).indices.tolist()
    ids += [token_id(lin.lm, i) for i in dict.fromkeys(also) if i not in ids]
    return describe_targets(lin.lm, lin, ids, logits)


def _token_run(
    lin: LinearMap, prompt: str, contributions: Tensor, targets: list[Target], exactness: Exactness | None
) -> TokenRun:
    ids = seen_ids(lin)
    n = len(ids)
    return TokenRun(
        key=replace(run_key(lin), token_ids=tuple(ids)),
        prompt=prompt,
        device=str(lin.lm.device),
        width=lin.width,
        n_layers=lin.lm.n_layers,
        tokens=list(lin.tokens[:n]),
        inputs=to_numpy(lin.inputs[:n]),
        output=to_numpy(lin.output),
        bias=to_numpy(lin.bias),
        contributions=to_numpy(contributions[:n]),
        targets=targets,
        exactness=exactness,
        bounds=bounds_of(dtype_name(lin.inputs.dtype), lin.products),
        treatments=treatments(lin.network, exactness.leaks if exactness else lin.network.leaks),
        complete=exactness is not None,
        expected=_expected(lin),
        made=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def describe_targets(lm: LanguageModel, lin: LinearMap, ids: list[int], logits: Tensor) -> list[Target]:
    """The vocabulary tokens ``ids`` with their unembedding rows, logits w . y and next-token probabilities."""
    rows = to_numpy(lm.unembedding[ids])
    y = to_numpy(lin.output)
    probabilities = wide(logits).softmax(-1)[ids].tolist()
    names = lm.token_strings(ids)
    return [
        Target(i, name, row, float(row @ y), p) for i, name, row, p in zip(ids, names, rows, probabilities, strict=True)
    ]


def typed_target(lin: LinearMap, text: str) -> Target:
    """The vocabulary token that ``text`` names, as typed or after a space, whichever is the likelier next token.

    Raises EqlinError when neither is a single token.
    """
    lm = lin.lm
    ids = token_forms(lm, text)
    logits = next_logits(lm, seen_ids(lin))
    return describe_targets(lm, lin, [max(ids, key=lambda i: float(logits[i]))], logits)[0]


def token_forms(lm: LanguageModel, text: str) -> list[int]:
    """The ids of the vocabulary tokens that a typed text may name: as typed, after a space, without one.

    Raises EqlinError where none is a single token.
    """
    known = {name: i for i, name in enumerate(lm.token_strings(range(lm.vocab_size)))}
    meant = (text,) if text[:1].isspace() and text in known else (text, f" {text.strip()}", text.strip())
    ids = [known[form] for form in dict.fromkeys(meant) if form in known]
    if not ids:
        raise EqlinError(f"{text!r} is not a single token of {lm.name}; type one token, such as the start of the word.")
    return ids


@passes
def spectrum_run(lin: LinearMap, k: int = 24, progress: Progress | None = None) -> SpectrumRun:
    """The singular triplets of every token's matrix, read out; computes the matrix."""
    triplets = spectrum(lin, min(arguments.whole("k", k, 1), checked_map(lin).width), progress=progress)
    T, kept = triplets.S.shape
    left = triplets.U.transpose(1, 2).reshape(T * kept, -1)
    right = triplets.Vh.reshape(T * kept, -1)
    reads_u = read_output(lin.lm, left, READ)
    reads_v = read_input(lin.lm, right, READ)
    return SpectrumRun(
        key=run_key(lin),
        tokens=list(lin.tokens),
        U=to_numpy(triplets.U),
        S=to_numpy(triplets.S),
        Vh=to_numpy(triplets.Vh),
        stable_rank=to_numpy(triplets.stable_rank),
        projections=to_numpy(torch.einsum("tkd,td->tk", triplets.Vh, lin.inputs.to(triplets.Vh))),
        reads_u=[reads_u[t * kept : (t + 1) * kept] for t in range(T)],
        reads_v=[reads_v[t * kept : (t + 1) * kept] for t in range(T)],
        exactness=lin.exactness(),
    )


@torch.no_grad()
@passes
def next_logits(lm: LanguageModel, token_ids: list[int]) -> Float[Tensor, " vocab"]:
    """The untouched model's logits after the prompt, with everything it applies to them (soft-capping, scaling)."""
    ids = torch.tensor([token_ids], device=lm.device)
    with eager_experts(lm.model):  # the fused experts know no float64
        return lm.model(input_ids=ids, use_cache=False, logits_to_keep=1).logits[0, -1]
