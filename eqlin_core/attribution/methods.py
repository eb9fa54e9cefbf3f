"""Ways to say how much each token of a prompt matters to its next token: exact splits, and what others do.

Every method gives one score for each token; a larger one claims that the token speaks more for the explained next
token. Targets and baselines are chosen for all of them alike, so that a comparison is one of methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core.errors import EqlinError
from eqlin_core.freezing.inputs import require_embeddings
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.linearization import linearize
from eqlin_core.maps.targets import direction
from eqlin_core.models.baselines import baseline_embedding
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.multiplication import passes
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.split import TARGET_KINDS, Split, TargetKind

STEPS = 10  # of integrated gradients, by Gauss-Legendre quadrature
_ROWS = 16  # prompts of a batch that gradients are taken of


class Explained:
    """One prompt and the next token that is explained, its most likely one unless given; maps are made once."""

    def __init__(self, lm: LanguageModel, token_ids: list[int], token: int | None = None) -> None:
        self.lm, self.token_ids = lm, list(prompt_ids(lm, None, token_ids))
        self._maps: dict[Convention, LinearMap] = {}
        self._directions: dict[TargetKind, Tensor] = {}
        self._seen_by: dict[Convention, dict[TargetKind, Tensor]] = {}
        self.inputs = self.map(Convention()).inputs
        likely = int((lm.unembedding @ self.map(Convention()).output.to(lm.unembedding)).argmax())
        self.token = likely if token is None else token

    @property
    def n_tokens(self) -> int:
        """T."""
        return len(self.token_ids)

    def map(self, convention: Convention) -> LinearMap:
        """The exact map at a setting of the dials."""
        if convention not in self._maps:
            self._maps[convention] = linearize(self.lm, token_ids=self.token_ids, **convention.keywords)
        return self._maps[convention]

    def direction(self, kind: TargetKind) -> Float[Tensor, " d"]:
        """The direction of the explained token's logit or log-probability."""
        if kind not in self._directions:
            self._directions[kind] = direction(self.map(Convention()), self.token, kind)
        return self._directions[kind]

    def seen_by(self, convention: Convention, kind: TargetKind) -> Float[Tensor, "tokens d"]:
        """J_i^T w of every token: what the target reads of it by this map. Both targets are asked for at once."""
        if convention not in self._seen_by:
            rows = self.map(convention).adjoint(torch.stack([self.direction(k) for k in TARGET_KINDS]))
            self._seen_by[convention] = dict(zip(TARGET_KINDS, rows, strict=True))
        return self._seen_by[convention][kind]

    @passes
    def gradients(self, rows: Float[Tensor, "n tokens d"], kind: TargetKind) -> Float[Tensor, "n tokens d"]:
        """The untouched model's gradient of the target at other embeddings."""
        require_embeddings(self.lm)
        parts = []
        for some in rows.split(_ROWS):
            leaf = some.detach().clone().requires_grad_()
            with torch.enable_grad(), eager_experts(self.lm.model):
                logits = self.lm.model(inputs_embeds=leaf, use_cache=False, logits_to_keep=1).logits[:, -1]
                value = (logits if kind == "logit" else logits.log_softmax(-1))[:, self.token].sum()
                parts.append(torch.autograd.grad(value, leaf)[0])
        return torch.cat(parts)

    def attention(self) -> Float[Tensor, "layers tokens tokens"]:
        """The attention weights of every layer that has some, mean over its heads. Raises EqlinError without any."""
        lin, seen = self.map(Convention()), []
        with lin.network.watching_attention(lambda weights, *_: seen.append(weights[0].mean(0).to(lin.inputs.device))):
            lin.network.replay(lin.inputs[None])
        if not seen:
            raise EqlinError(f"{self.lm.name} has no attention weights: leave these methods out.")
        return torch.stack(seen)


@dataclass(frozen=True)
class Method:
    """A named way to score the tokens of an explained prompt; ``exact``: whether its scores sum to the target."""

    name: str
    exact: bool
    score: Callable[[Explained], Float[Tensor, " tokens"]]


def split_method(split: Split) -> Method:
    """The terms of an exact split."""

    def score(prompt: Explained) -> Tensor:
        baseline = prompt.map(split.convention).baseline(split.baseline)
        return (prompt.seen_by(split.convention, split.target) * (prompt.inputs - baseline)).sum(-1)

    return Method(split.words, True, score)


def input_times_gradient(target: TargetKind, baseline: str = "zero") -> Method:
    """The ordinary gradient times the embedding, less the baseline."""

    def score(prompt: Explained) -> Tensor:
        gradient = prompt.gradients(prompt.inputs[None], target)[0]
        return (gradient * (prompt.inputs - baseline_embedding(prompt.lm, baseline))).sum(-1)

    return Method(f"input x gradient, {target}, baseline {baseline}", False, score)


def integrated_gradients(target: TargetKind, baseline: str = "zero", steps: int = STEPS) -> Method:
    """Gradients integrated from the baseline to the embeddings (Sundararajan et al. 2017), all tokens at once."""
    nodes, weights = np.polynomial.legendre.leggauss(steps)

    def score(prompt: Explained) -> Tensor:
        start = baseline_embedding(prompt.lm, baseline).to(prompt.inputs).expand_as(prompt.inputs)
        change = prompt.inputs - start
        share = torch.as_tensor((nodes + 1) / 2, dtype=change.dtype, device=change.device)
        gradients = prompt.gradients(start + share[:, None, None] * change, target)
        weight = torch.as_tensor(weights / 2, dtype=change.dtype, device=change.device)
        return (torch.einsum("s,std->td", weight, gradients) * change).sum(-1)

    return Method(f"integrated gradients, {target}, baseline {baseline}", False, score)


def last_attention() -> Method:
    """What the last position attends to in the last layer, mean over heads."""
    return Method("attention, last layer", False, lambda prompt: prompt.attention()[-1, -1])


def attention_rollout() -> Method:
    """Attention followed through all layers, half of each layer being the residual stream (Abnar and Zuidema 2020)."""

    def score(prompt: Explained) -> Tensor:
        weights = prompt.attention()
        one = torch.eye(weights.shape[-1], dtype=weights.dtype, device=weights.device)
        whole = one
        for layer in weights:
            mixed = layer + one
            whole = mixed / mixed.sum(-1, keepdim=True) @ whole
        return whole[-1]

    return Method("attention rollout", False, score)


def random_scores(seed: int = 0) -> Method:
    """Scores that know nothing: another draw for every prompt."""

    def score(prompt: Explained) -> Tensor:
        generator = torch.Generator().manual_seed(hash((seed, tuple(prompt.token_ids))) % 2**31)
        return torch.randn(prompt.n_tokens, generator=generator, dtype=torch.float64)

    return Method("random", False, score)
