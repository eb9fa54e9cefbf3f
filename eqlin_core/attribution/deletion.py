"""The untouched model on one prompt with some of its tokens deleted: what it does without them, measured.

A token is deleted by putting the mean embedding in its place, by removing it, or by putting another token there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.dtypes import wide
from eqlin_core.errors import EqlinError
from eqlin_core.freezing.inputs import require_embeddings
from eqlin_core.models.baselines import MEAN, baseline_embedding
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import prompt_ids, token_tensor
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget, plan

REMOVAL = "removal"
Deletion = str | int  # "mean", "removal", or the token (text or id) that is put in its place


class Deleter:
    """The next-token distribution of one prompt without some of its tokens, measured once for each set of positions.

    ``targets`` [m] are the vocabulary tokens whose logits and log-probabilities are kept. Raises EqlinError for a
    prompt or a deletion that cannot be used, and for a model that reads token ids beside embeddings.
    """

    def __init__(
        self,
        lm: LanguageModel,
        token_ids: Sequence[int],
        targets: Sequence[int],
        deletion: Deletion = MEAN,
        memory_budget: int | None = None,
    ) -> None:
        self.lm, self.token_ids, self.targets = lm, list(prompt_ids(lm, None, token_ids)), list(targets)
        require_embeddings(lm)
        self.deletion = deletion
        self._budget = memory_budget
        self._filler = None if deletion == REMOVAL else baseline_embedding(lm, deletion)
        with torch.no_grad():
            self.embeddings = lm.model.get_input_embeddings()(token_tensor(lm, self.token_ids))  # T, d
        self._known: dict[frozenset[int], tuple[Tensor, Tensor]] = {}

    def measure(
        self, deleted: Sequence[Collection[int]], progress: Progress | None = None
    ) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
        """(logits, log-probabilities) of the targets for every set of deleted positions, in float64 on the CPU."""
        sets = [frozenset(positions) for positions in deleted]
        self._check(sets)
        wanted = [s for s in dict.fromkeys(sets) if s not in self._known]
        for same in _by_length(wanted) if self.deletion == REMOVAL else [wanted]:
            self._run(same, len(wanted), progress)
        if not sets:
            return (torch.empty(0, len(self.targets), dtype=torch.float64),) * 2
        logits, log_probabilities = zip(*(self._known[s] for s in sets), strict=True)
        return torch.stack(logits), torch.stack(log_probabilities)

    def leave_one_out(
        self, progress: Progress | None = None
    ) -> tuple[Float[Tensor, "tokens m"], Float[Tensor, "tokens m"]]:
        """How much the targets' (logits, log-probabilities) fall without each token alone; T + 1 forward rows."""
        alone = [{i} for i in range(len(self.token_ids))]
        logits, log_probabilities = self.measure([set(), *alone], progress)
        return logits[0] - logits[1:], log_probabilities[0] - log_probabilities[1:]

    def _run(self, sets: Sequence[frozenset[int]], wanted: int, progress: Progress | None) -> None:
        """Measure sets whose rows are of one length."""

        def part(start: int, stop: int) -> None:
            some = sets[start:stop]
            for s, logits in zip(some, self._logits(torch.stack([self._without(s) for s in some])), strict=True):
                self._known[s] = logits[self.targets].cpu(), logits.log_softmax(-1)[self.targets].cpu()
            report(progress, stop / wanted, "Tokens deleted")

        if sets:
            chunk = plan.pass_rows(self.lm, len(self.token_ids), self.embeddings.device, self._budget)
            budget.in_chunks(len(sets), min(chunk, _ROWS), part)

    def _check(self, sets: Iterable[frozenset[int]]) -> None:
        T = len(self.token_ids)
        for positions in sets:
            if any(not 0 <= p < T for p in positions):
                raise EqlinError(
                    f"The prompt has the positions 0 to {T - 1}; {sorted(positions)} are not all among them."
                )
            if self.deletion == REMOVAL and len(positions) == T:
                raise EqlinError("With every token removed there is no prompt left: keep one, or delete by the mean.")

    def _without(self, positions: frozenset[int]) -> Float[Tensor, "kept d"]:
        if self._filler is None:
            return self.embeddings[[i for i in range(len(self.embeddings)) if i not in positions]]
        row = self.embeddings.clone()
        row[sorted(positions)] = self._filler.to(row)
        return row

    @passes
    @torch.no_grad()
    def _logits(self, rows: Float[Tensor, "n kept d"]) -> Float[Tensor, "n vocab"]:
        with eager_experts(self.lm.model):  # the fused experts know no float64
            out = self.lm.model(inputs_embeds=rows, use_cache=False, logits_to_keep=1)
        return wide(out.logits[:, -1])


# Rows at a time, however much memory there is: the logits of the whole vocabulary are made for each.
_ROWS = 64


def _by_length(sets: Iterable[frozenset[int]]) -> list[list[frozenset[int]]]:
    """Sets of one size together: what is left of the prompt is then of one length."""
    groups: dict[int, list[frozenset[int]]] = {}
    for s in sets:
        groups.setdefault(len(s), []).append(s)
    return list(groups.values())
