"""The untouched model on a text with a group of its tokens deleted: what every token of the answer loses by it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.attribution.deletion import REMOVAL, Deletion
from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.inputs import require_embeddings
from eqlin_core.models.baselines import MEAN, baseline_embedding
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import prompt_ids, token_tensor
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget, plan

# Bytes of logits, in float64, that are held at once.
_LOGITS = 256 << 20


@passes
@torch.no_grad()
def group_deletion(
    lm: LanguageModel,
    token_ids: Sequence[int],
    first: int,
    groups: Sequence[Collection[int]],
    deletion: Deletion = MEAN,
    progress: Progress | None = None,
) -> Float[Tensor, "rows groups"]:
    """By how much log p of every token from ``first`` on falls without each group of positions; float64, on the CPU.

    One forward pass of the untouched model for each group, and one for the whole text. ``deletion``: "mean" (the mean
    embedding in a deleted token's place), "removal" (what follows moves up), or a token that is put there. A deleted
    token of the answer is still predicted; what follows it no longer sees it. Raises EqlinError for positions that the
    text does not have, and where a removal leaves a row nothing before it.
    """
    ids = list(prompt_ids(checked_model(lm), None, token_ids))
    first = arguments.whole("first", first, 1, len(ids) - 1, f"the text has {len(ids)} tokens")
    arguments.called("progress", progress)
    removal = isinstance(deletion, str) and deletion == REMOVAL
    takes = "a list of groups of positions"
    sets = [_checked(group, len(ids), first, removal) for group in arguments.several("groups", groups, takes)]
    require_embeddings(lm)
    embeddings = lm.model.get_input_embeddings()(token_tensor(lm, ids))
    filler = None if removal else baseline_embedding(lm, deletion)
    found = torch.zeros(len(sets), len(ids) - first, dtype=torch.float64)
    whole = _log_probabilities(lm, embeddings[None], ids, first, [list(range(len(ids)))])[0]
    per_row = 8 * (len(ids) - first) * lm.vocab_size
    many = 1 if filler is None else max(1, _LOGITS // per_row)
    chunk = min(many, plan.pass_rows(lm, len(ids), embeddings.device))

    def part(start: int, stop: int) -> None:
        kept, rows = [], []
        for deleted in sets[start:stop]:
            stays = list(range(len(ids))) if filler is not None else [i for i in range(len(ids)) if i not in deleted]
            row = embeddings[stays]
            if filler is not None:
                row[sorted(deleted)] = filler.to(row)
            kept.append(stays)
            rows.append(row)
        found[start:stop] = _log_probabilities(lm, torch.stack(rows), ids, first, kept)
        report(progress, stop / max(1, len(sets)), "Groups deleted")

    budget.in_chunks(len(sets), chunk, part)
    falls = (whole - found).T.contiguous()
    for column, deleted in enumerate(sets):
        falls[: max(0, min(deleted, default=len(ids)) + 1 - first), column] = 0.0  # what comes later changes nothing
    return falls


def _checked(group: Collection[int], n: int, first: int, removal: bool) -> frozenset[int]:
    wanted = arguments.several("A group", group, "a list of positions", least=1)
    found = frozenset(arguments.whole("A position", p, 0, n - 1, f"the text has {n} tokens") for p in wanted)
    if removal and set(range(first)) <= found:
        raise EqlinError(
            "With everything before the answer removed, nothing is left to predict it: delete by the mean."
        )
    return found


def _log_probabilities(
    lm: LanguageModel, rows: Float[Tensor, "n kept d"], ids: Sequence[int], first: int, kept: Sequence[Sequence[int]]
) -> Float[Tensor, "n rows"]:
    """log p of every answer token, predicted at the last token before it that was kept."""
    lowest = min(_before(stays, first) for stays in kept)
    with eager_experts(lm.model):  # the fused experts know no float64
        out = lm.model(inputs_embeds=rows, use_cache=False, logits_to_keep=rows.shape[1] - lowest).logits
    found = torch.empty(len(rows), len(ids) - first, dtype=torch.float64)
    targets = torch.tensor(ids[first:], device=out.device)
    for n, stays in enumerate(kept):
        places = [_before(stays, i) - lowest for i in range(first, len(ids))]
        logs = wide(out[n, places]).log_softmax(-1)
        found[n] = logs.gather(-1, targets[:, None])[:, 0].cpu()
    return found


def _before(stays: Sequence[int], i: int) -> int:
    """Where the last kept token before position ``i`` stands among those that stay, which are in order."""
    return bisect_left(stays, i) - 1
