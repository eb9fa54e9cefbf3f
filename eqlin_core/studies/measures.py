"""What a study measures of prompts, as rows of its tables: without a matrix, of all prompts of one length together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import dtype_name, wide
from eqlin_core.errors import Cancelled, EqlinError, out_of_memory
from eqlin_core.layers.direct import DirectTerms, direct_terms
from eqlin_core.maps.together import MapsTogether, linearize_together
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.readout import next_token_logits, read_input, read_output
from eqlin_core.models.sites import find_final_norm
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, part, report
from eqlin_core.runs.convention import PUBLISHED, Convention
from eqlin_core.spectra.spectrum import spectrum
from eqlin_core.studies.behaviour import Behaviour, deletion_rows, steering_rows
from eqlin_core.studies.prompts import StudyPrompt
from eqlin_core.studies.tables import PROMPTS, Rows
from eqlin_core.version import __version__

MEASURES = ("exactness", "contributions", "spectra", "layers", "heads", "faithfulness", "steering")
# Those that need no more than passes which several prompts share.
TOGETHER = frozenset({"exactness", "contributions", "layers", "heads"})
# Tokens that a singular vector is read as.
READ = 8
# Logits that are held at once, of which blocks' outputs read as what.
_LOGITS = 1 << 24


@dataclass(frozen=True)
class Asked:
    """What is measured, of which map; ``k`` triplets of every token; ``behaviour``, what the model itself is asked."""

    measures: tuple[str, ...]
    convention: Convention = PUBLISHED
    k: int = 8
    behaviour: Behaviour = field(default_factory=Behaviour)

    @property
    def alone(self) -> bool:
        """Whether every prompt is computed by itself."""
        return not set(self.measures) <= TOGETHER


@dataclass(frozen=True)
class Ready:
    """A prompt and its token ids for one model."""

    prompt: StudyPrompt
    token_ids: tuple[int, ...]


def measured(
    lm: LanguageModel,
    prompts: Sequence[Ready],
    asked: Asked,
    operators: dict[str, Any],
    progress: Progress | None = None,
) -> Rows:
    """The rows of prompts of one length; one that fails has its sentence.

    ``operators`` keeps those of concepts from one call to the next. Raises ``Cancelled``, and what ``progress`` raises.
    """
    if len(prompts) > 1:
        try:
            return _of_model(_together(lm, prompts, asked, operators, progress), lm, asked)
        except Exception as error:  # whose it is, each by itself shows
            if not _said(error):
                raise
    rows: Rows = {}
    for n, one in enumerate(prompts):
        within = part(progress, n / len(prompts), (n + 1) / len(prompts))
        try:
            found = _together(lm, [one], asked, operators, within)
        except Exception as error:
            said = _said(error)
            if not said:
                raise
            found = {PROMPTS: [_prompt(one) | {"error": said}]}
        for table, more in found.items():
            rows.setdefault(table, []).extend(more)
    return _of_model(rows, lm, asked)


def _said(error: Exception) -> str:
    """The sentence of an error that is a prompt's own; empty for every other one, which ends the study."""
    if isinstance(error, EqlinError):
        return "" if isinstance(error, Cancelled) else str(error)
    if isinstance(error, torch.linalg.LinAlgError):
        return "Its matrix has no singular values: numbers in it are too large for this precision, or none."
    return "There is not enough memory for this prompt." if out_of_memory(error) else ""


def failed(refused: Sequence[tuple[StudyPrompt, str]], lm: LanguageModel, asked: Asked) -> Rows:
    """The rows of prompts that are none for this model."""
    return _of_model({PROMPTS: [_prompt(Ready(one, ())) | {"error": said} for one, said in refused]}, lm, asked)


def _of_model(rows: Rows, lm: LanguageModel, asked: Asked) -> Rows:
    of_all = {
        "model": lm.name,
        "revision": lm.revision,
        "dtype": dtype_name(lm.dtype),
        "gated_path": str(asked.convention.gated_path),
        "attention": str(asked.convention.attention),
        "eqlin": __version__,
    }
    return {table: [of_all | row for row in found] for table, found in rows.items()}


def _prompt(one: Ready) -> dict[str, Any]:
    own = {"key": one.prompt.key, "prompt": one.prompt.shown, "form": one.prompt.form}
    return own | {"n_tokens": len(one.token_ids), **one.prompt.given}


# ---- prompts of one length together ----------------------------------------------------------------------------------


@dataclass
class _Batch:
    """Prompts that were frozen together, with the token that the model itself finds likeliest after each.

    ``directions`` [B, 2, d] are the rows of its logit and of its log-probability; ``sheets`` are each prompt's rows.
    """

    lm: LanguageModel
    prompts: Sequence[Ready]
    asked: Asked
    maps: MapsTogether
    logits: Float[Tensor, "B vocab"]
    predicted: list[int]
    directions: Float[Tensor, "B 2 d"]
    sheets: list[Rows]

    def tokens(self, n: int) -> list[dict[str, Any]]:
        """The rows of a prompt's tokens, which several measures add to."""
        return self.sheets[n].setdefault("tokens", self._new_tokens(n))

    def _new_tokens(self, n: int) -> list[dict[str, Any]]:
        ids = self.prompts[n].token_ids
        return [
            {"position": i, "token_id": token_id, "token": token}
            for i, (token_id, token) in enumerate(zip(ids, self.lm.token_strings(ids), strict=True))
        ]

    def say(self, n: int, **columns: Any) -> None:
        """Fill in columns of a prompt's own row."""
        self.sheets[n][PROMPTS][0].update(columns)


@passes
def _together(
    lm: LanguageModel, prompts: Sequence[Ready], asked: Asked, operators: dict[str, Any], progress: Progress | None
) -> Rows:
    began = time.monotonic()
    batch = _frozen(lm, prompts, asked)
    wrong: list[str] = []
    steps = [step for step in _STEPS if step[0] & set(asked.measures)]
    for n, (_, name, step) in enumerate(steps):
        report(progress, n / len(steps), name)
        try:
            step(batch, operators, part(progress, n / len(steps), (n + 1) / len(steps)))
        except Exception as error:  # the others are measured all the same
            of_many = len(prompts) > 1 and any(out_of_memory(one) for one in (error, error.__cause__) if one)
            if of_many or not _said(error):
                raise
            wrong.append(f"{name}: {_said(error)}")
    whole: Rows = {}
    for n, sheet in enumerate(batch.sheets):
        batch.say(n, seconds=(time.monotonic() - began) / len(prompts), error=" ".join(wrong) or None)
        for table, rows in sheet.items():
            whole.setdefault(table, []).extend({"key": prompts[n].prompt.key} | row for row in rows)
    return whole


def _frozen(lm: LanguageModel, prompts: Sequence[Ready], asked: Asked) -> _Batch:
    dial = asked.convention
    ids = [one.token_ids for one in prompts]
    maps = linearize_together(lm, ids, gated_path=dial.gated_path, attention=dial.attention)
    logits = wide(next_token_logits(lm, maps.stock()))
    p = logits.softmax(-1)
    predicted = logits.argmax(-1).tolist()
    table = lm.unembedding
    outputs = wide(maps.outputs)
    rows = wide(table[predicted]).to(outputs.device)
    mean = wide(p[:, : len(table)].to(table) @ table).to(outputs.device)
    names = lm.token_strings(predicted)
    sheets: list[Rows] = []
    for n, one in enumerate(prompts):
        own = p[n, predicted[n]].log()
        sheets.append(
            {
                PROMPTS: [
                    _prompt(one)
                    | {
                        "predicted": names[n],
                        "predicted_id": predicted[n],
                        "logit": float(rows[n] @ outputs[n]),
                        "log_probability": float(own),
                        "entropy": float(-(p[n] * logits[n].log_softmax(-1)).nan_to_num(0.0).sum()),
                    }
                ]
            }
        )
    return _Batch(lm, prompts, asked, maps, logits, predicted, torch.stack([rows, rows - mean], 1), sheets)


def _exactness(batch: _Batch, _operators: dict[str, Any], _progress: Progress | None) -> None:
    for n, found in enumerate(batch.maps.exactness()):
        batch.say(n, reconstruction=found.reconstruction, forward=found.forward, exact=found.exact)


def _contributions(batch: _Batch, _operators: dict[str, Any], progress: Progress | None) -> None:
    parts = wide(batch.maps.contributions(progress))
    terms = torch.einsum("bmd,btd->bmt", batch.directions, parts.to(batch.directions)).tolist()
    biases = torch.einsum("bmd,bd->bm", batch.directions, wide(batch.maps.biases).to(batch.directions)).tolist()
    outputs = wide(batch.maps.outputs)
    norms = parts.norm(dim=-1)
    cosines = torch.einsum("btd,bd->bt", parts, outputs) / (norms * outputs.norm(dim=-1)[:, None]).clamp_min(1e-300)
    for n in range(len(batch.prompts)):
        batch.say(n, bias_term=biases[n][0], bias_log_term=biases[n][1])
        for i, row in enumerate(batch.tokens(n)):
            row |= {"norm": float(norms[n, i]), "cosine": float(cosines[n, i])}
            row |= {"term": terms[n][0][i], "log_term": terms[n][1][i]}


def _spectra(batch: _Batch, _operators: dict[str, Any], progress: Progress | None) -> None:
    lin = batch.maps.whole
    k = min(batch.asked.k, lin.width)
    found = spectrum(lin, k, progress=progress)
    triplets = batch.sheets[0].setdefault("triplets", [])
    projections = torch.einsum("tkd,td->tk", found.Vh, lin.inputs.to(found.Vh))
    written = torch.einsum("d,tdk->tk", batch.directions[0, 0].to(found.U), found.U)
    terms = written * found.S * projections
    writes = read_output(lin.lm, found.U.mT, READ)
    reads = read_input(lin.lm, found.Vh, READ)
    for i, row in enumerate(batch.tokens(0)):
        row |= {"sigma_1": float(found.S[i, 0]), "stable_rank": float(found.stable_rank[i])}
        for r in range(k):
            u, v = writes[i * k + r], reads[i * k + r]
            triplets.append(
                {
                    "position": i,
                    "rank": r + 1,
                    "sigma": float(found.S[i, r]),
                    "projection": float(projections[i, r]),
                    "term": float(terms[i, r]),
                    "writes": [token for token, _ in u],
                    "writes_scores": [score for _, score in u],
                    "reads": [token for token, _ in v],
                    "reads_cosines": [score for _, score in v],
                }
            )


def _layers(batch: _Batch, _operators: dict[str, Any], _progress: Progress | None) -> None:
    direct = direct_terms(batch.maps.whole, batch.directions[:, :1].to(batch.maps.outputs))
    for kind, fill in (("layers", _layer_rows), ("heads", _head_rows)):
        if kind in batch.asked.measures:
            fill(batch, direct)


@torch.no_grad()
def _layer_rows(batch: _Batch, direct: DirectTerms) -> None:
    lm, ends = batch.lm, batch.maps.network.ends
    norm = find_final_norm(batch.maps.network.decoder, ends.layers)
    B, L = len(batch.prompts), direct.attn.shape[-1]
    with eager_experts(lm.model):
        reads = [norm(direct.streams[:, layer].to(lm.dtype)) for layer in range(L - 1)]
    reads = [read.to(lm.unembedding) for read in (*reads, batch.maps.outputs)]
    # The model runs for every look at logits: several blocks at once, as many as their logits take little memory.
    together = max(1, _LOGITS // (B * len(lm.unembedding)))
    several = (
        wide(next_token_logits(lm, torch.cat(reads[first : first + together]))).split(B)
        for first in range(0, L, together)
    )
    for layer, logits in enumerate(chain.from_iterable(several)):
        stream = direct.streams[:, layer]
        own = logits.gather(-1, torch.tensor(batch.predicted, device=logits.device)[:, None])
        ranks = (logits > own).sum(-1) + 1
        log_p = (own - logits.logsumexp(-1, keepdim=True))[:, 0]
        best = logits.argmax(-1).tolist()
        names = lm.token_strings(best)
        for n, sheet in enumerate(batch.sheets):
            sheet.setdefault("layers", []).append(
                {
                    "layer": layer,
                    "top": names[n],
                    "top_id": best[n],
                    "predicted_rank": int(ranks[n]),
                    "predicted_log_probability": float(log_p[n]),
                    "norm": float(wide(stream[n]).norm()),
                    "attn_term": float(direct.attn[n, 0, layer]),
                    "mlp_term": float(direct.mlp[n, 0, layer]),
                }
            )


def _head_rows(batch: _Batch, direct: DirectTerms) -> None:
    if direct.heads is None or direct.first is None:
        raise EqlinError("The blocks of this model have no attention heads, or different numbers of them.")
    for n, sheet in enumerate(batch.sheets):
        terms, first = direct.heads[n, 0].tolist(), direct.first[n].tolist()
        sheet["heads"] = [
            {"layer": layer, "head": head, "term": term, "first_token_weight": first[layer][head]}
            for layer, of_layer in enumerate(terms)
            for head, term in enumerate(of_layer)
        ]


def _faithfulness(batch: _Batch, _operators: dict[str, Any], _progress: Progress | None) -> None:
    ids, told = batch.prompts[0].token_ids, batch.tokens(0)
    falls, batch.sheets[0]["methods"] = deletion_rows(batch.lm, ids, batch.predicted[0], batch.asked.behaviour)
    for row, fall in zip(told, falls, strict=True):
        row["fall"] = fall


def _steering(batch: _Batch, operators: dict[str, Any], progress: Progress | None) -> None:
    one = batch.prompts[0]
    rows = steering_rows(batch.lm, one.token_ids, one.prompt.given, batch.asked.behaviour, operators, progress)
    batch.sheets[0]["strengths"] = rows


_STEPS = (
    (frozenset({"contributions"}), "Contributions", _contributions),
    (frozenset({"spectra"}), "Spectra", _spectra),
    (frozenset({"exactness"}), "Exactness", _exactness),
    (frozenset({"layers", "heads"}), "Layers", _layers),
    (frozenset({"faithfulness"}), "Faithfulness", _faithfulness),
    (frozenset({"steering"}), "Steering", _steering),
)
