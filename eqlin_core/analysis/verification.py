"""A finished run computed again, from its key alone, and compared number by number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eqlin_core import arguments
from eqlin_core.analysis.prompt import READ, describe_targets, next_logits, spectrum_run, token_run
from eqlin_core.dtypes import dtype_name
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.linearization import linearize
from eqlin_core.models import bundled, four_bit
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.loading import load_model
from eqlin_core.models.readout import read_input, read_output
from eqlin_core.models.written import own_text, reads_as
from eqlin_core.progress import Progress, part
from eqlin_core.runs.prompt import EarlySpectra, RunKey, SpectrumRun, TokenRun
from eqlin_core.runs.values import Row
from eqlin_core.runs.verification import ELEMENTS, Check, close, compare_keys, compare_token_runs, equal


def verify_run(run: TokenRun | SpectrumRun, lm: LanguageModel, progress: Progress | None = None) -> list[Check]:
    """Compute a run again with this model, and compare everything it holds; all of it agrees where every check does.

    The map is the one of the run's key, and its model is ``lm``, in the run's dtype: see `model_of`. Singular vectors
    are compared with the matrix itself, since those of close singular values turn within their plane. Raises EqlinError
    for a preview and for a model of another dtype, and what ``linearize`` raises.
    """
    arguments.instance("run", run, (TokenRun, SpectrumRun), "a TokenRun or a SpectrumRun")
    if isinstance(run, EarlySpectra) or (isinstance(run, TokenRun) and not run.complete):
        raise InvalidValue("run is a preview, which proves nothing: verify the whole run.")
    checked_model(lm)
    arguments.called("progress", progress)
    dtype = dtype_name(lm.unembedding.dtype)
    if dtype != run.key.dtype:
        raise EqlinError(f"The run is in {run.key.dtype} and the model in {dtype}: load it in {run.key.dtype}.")
    lin = linearize(lm, token_ids=list(run.key.token_ids), **run.key.convention.keywords)
    if isinstance(run, SpectrumRun):
        return _spectra(run, lin, progress)
    fresh = token_run(lin, run.prompt, progress, baseline=run.baseline)
    ids = [target.token_id for target in run.targets]
    if any(not 0 <= i < lm.vocab_size for i in ids):
        return [equal("ids of next tokens", ids, f"0 to {lm.vocab_size - 1}")]
    targets = describe_targets(lm, lin, ids, next_logits(lm, lin.token_ids))
    return [_prompt(run, lm), *compare_token_runs(run, fresh, targets)]


def model_of(key: RunKey, name: str | Path | None = None, device: str = "auto", progress: Any = None) -> LanguageModel:
    """The model that a run's key names, in its dtype and revision; ``name`` says where it lies now, if elsewhere.

    Raises what `load_model` raises. Whether the revision is that of the key is for the caller to compare.
    """
    wanted = key.model if name is None else name
    in_four_bit = key.revision.endswith(f"-{four_bit.NAME}")
    commit = re.fullmatch(r"[0-9a-f]{40}", key.revision.removesuffix(f"-{four_bit.NAME}"))
    revision = commit[0] if commit and name is None and wanted != bundled.NAME else None
    dtype = four_bit.NAME if in_four_bit else key.dtype
    return load_model(wanted, dtype, device, revision=revision, progress=progress)


def _prompt(run: TokenRun, lm: LanguageModel) -> Check:
    """Whether the token ids are those of the prompt, of the chat that is written there, or spell it themselves."""
    if lm.tokenizer is None or reads_as(lm, run.prompt, run.key.token_ids):
        return Check("prompt", 0.0, 0.0)
    return equal("prompt", run.prompt, own_text(lm, run.key.token_ids))


def _spectra(stored: SpectrumRun, lin: LinearMap, progress: Progress | None) -> list[Check]:
    fresh = spectrum_run(lin, stored.S.shape[1], part(progress, 0.0, 0.9))
    tolerance = ELEMENTS[fresh.key.dtype]
    checks = [*compare_keys(stored.key, fresh.key), equal("tokens", stored.tokens, fresh.tokens)]
    if stored.S.shape != fresh.S.shape or stored.U.shape != fresh.U.shape:
        return [*checks, equal("triplets", list(stored.S.shape), list(fresh.S.shape))]
    checks.append(close("singular values", stored.S, fresh.S, tolerance))
    checks.append(close("stable ranks", stored.stable_rank, fresh.stable_rank, tolerance))
    matrices = lin.jacobian(progress)
    U, V = (torch.from_numpy(array) for array in (stored.U, stored.Vh.swapaxes(1, 2).copy()))
    u, v = (vectors.to(matrices) for vectors in (U, V))
    sigma = torch.from_numpy(stored.S).to(matrices)[:, None]
    largest = sigma[..., :1]
    for what, missed in (("J v = σ u", matrices @ v - u * sigma), ("Jᵀ u = σ v", matrices.mT @ u - v * sigma)):
        off = float((missed.norm(dim=1) / largest[:, 0]).max())
        checks.append(_off(what, off, tolerance))
    ones = torch.eye(stored.S.shape[1], dtype=U.dtype)
    off = max(float((vectors.mT @ vectors - ones).abs().max()) for vectors in (U, V))
    checks.append(_off("U and V orthonormal", off, tolerance))
    along = torch.einsum("tdk,d->tk", U, lin.output.to(U)) / lin.output.to(U).norm()
    checks.append(_off("signs of U", max(0.0, float((-along).max())), tolerance))
    projections = torch.einsum("tdk,td->tk", V, lin.inputs.to(V)).numpy()
    checks.append(close("projections v · x", stored.projections, projections, tolerance))
    for what, kept, read in (
        ("what u writes", stored.reads_u, read_output(lin.lm, u.mT.flatten(0, 1), READ)),
        ("what v reads", stored.reads_v, read_input(lin.lm, v.mT.flatten(0, 1), READ)),
    ):
        checks.append(_reads(what, [row for rows in kept for row in rows], read, tolerance))
    a, b = stored.exactness, fresh.exactness
    return [*checks, equal("exact", (a.exact, a.dtype, a.leaks), (b.exact, b.dtype, b.leaks))]


def _off(what: str, off: float, tolerance: float) -> Check:
    return Check(what, off, tolerance, "" if off <= tolerance else f"off by {off:.2g}")


def _reads(what: str, stored: list[Row], fresh: list[Row], tolerance: float) -> Check:
    """Scores agree within the tolerance; and tokens, but for those whose scores are as close as that."""
    if [len(row) for row in stored] != [len(row) for row in fresh]:
        return equal(what, len(stored), len(fresh), "another number of tokens")
    kept, again_read = (np.array([[score for _, score in row] for row in rows]) for rows in (stored, fresh))
    check = close(what, kept, again_read, tolerance)
    if not check.agrees:
        return check
    scale = np.sqrt(np.mean(np.square(again_read), axis=-1))
    for before, again, size in zip(stored, fresh, scale, strict=True):
        known, last = dict(again), again[-1][1]
        for token, score in before:
            if abs(known.get(token, last) - score) > tolerance * size:
                return Check(what, float("inf"), tolerance, f"{token!r} is not read there again")
    return check
