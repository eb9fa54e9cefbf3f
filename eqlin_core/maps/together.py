"""Several prompts of one length frozen by one recording: what needs no matrix comes for all from the same passes.

Their tokens stand in turn, the first of every prompt, then the second of every prompt, and each prompt attends to
itself alone. One replay then keeps one token of every prompt at once, and leaves out all positions before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, wide
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.freezing.network import FrozenNetwork
from eqlin_core.maps.frozen_decoder import frozen_decoder
from eqlin_core.maps.linear_map import LinearMap
from eqlin_core.maps.relative_error import relative_error
from eqlin_core.models.experts import eager_experts
from eqlin_core.models.language_model import LanguageModel, checked_model
from eqlin_core.models.prompts import prompt_ids
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.resources import budget, plan
from eqlin_core.resources.device_time import wait
from eqlin_core.runs.convention import Convention, Share
from eqlin_core.runs.exactness import Exactness, bounds_of

# Positions of a pass from which on its products are bounded by arithmetic, not by reading the weights.
FULL = 128


class MapsTogether:
    """The exact maps of B prompts of T tokens each, from all their tokens to their last positions.

    ``inputs`` [B, T, d], ``outputs`` and ``biases`` [B, d]; what each says is what a ``LinearMap`` of that prompt says.
    """

    def __init__(self, lm: LanguageModel, network: FrozenNetwork, prompts: Sequence[Sequence[int]]) -> None:
        self.lm, self.network = lm, network
        self.token_ids = [list(ids) for ids in prompts]
        self.convention = network.convention
        self._contributions: Tensor | None = None
        self._biases: Tensor | None = None
        self._stock: Tensor | None = None

    def __len__(self) -> int:
        return len(self.token_ids)

    @property
    def n_tokens(self) -> int:
        """T, the number of tokens of every prompt."""
        return len(self.token_ids[0])

    @property
    def whole(self) -> LinearMap:
        """The map of all tokens to the very last position, on the same recording: of one prompt, its own."""
        ids = [i for of_all in zip(*self.token_ids, strict=True) for i in of_all]
        return LinearMap(self.lm, self.network, ids, len(ids) - 1)

    @property
    def inputs(self) -> Float[Tensor, "prompts tokens d"]:
        """x_i of every prompt."""
        return self._each(self.network.inputs).transpose(0, 1)

    @property
    def outputs(self) -> Float[Tensor, "prompts d"]:
        """y of every prompt: the frozen network's value at its last position."""
        return self._each(self.network.values.detach())[-1]

    @property
    @passes
    def biases(self) -> Float[Tensor, "prompts d"]:
        """b of every prompt: what biases and constants add."""
        if self._biases is None:
            zero = torch.zeros_like(self.network.inputs)[None]
            self._biases = self._each(self.network.replay(zero)[0])[-1]
        return self._biases

    @passes
    def contributions(self, progress: Progress | None = None) -> Float[Tensor, "prompts tokens d"]:
        """J_i x_i of every token of every prompt, as in ``LinearMap.contributions``."""
        arguments.called("progress", progress)
        if self._contributions is None:
            self._contributions = self._each_alone(progress)
        return self._contributions

    def _each_alone(self, progress: Progress | None) -> Tensor:
        values, B, T = self._each(self.network.inputs), len(self), self.n_tokens
        found = values.new_zeros(T, B, self.network.values.shape[-1])
        biases = self.biases
        affine = bool(biases.any())
        report(progress, 0.0, "Contributions")

        def part(start: int, stop: int) -> None:
            first = start if self.network.causal else 0
            token = torch.arange(start, stop, device=values.device)
            constant_too = affine and first > 0  # of a replay that begins later, biases add a part only
            alone = values.new_zeros(len(token) + constant_too, *values.shape)[:, first:]
            alone[torch.arange(len(token)), token - first] = values[token]
            out = self.network.replay(alone.flatten(1, 2), first * B)[:, -B:]
            found[start:stop] = out[: len(token)] - (out[-1] if constant_too else biases)
            wait(values.device)
            report(progress, stop / T, "Contributions")

        budget.in_chunks(T, max(1, FULL // (B * T)), part)
        return found.transpose(0, 1)

    @passes
    def logit_split(
        self, directions: Float[Tensor, "prompts m d"]
    ) -> tuple[Float[Tensor, "prompts m tokens"], Float[Tensor, "prompts m"]]:
        """(w . J_i x_i for every prompt's directions w and tokens i, w . b), from the contributions."""
        shape = (len(self), self.outputs.shape[-1])
        arguments.tensor(
            "directions", directions, f"[{shape[0]}, m, {shape[1]}]", lambda s: len(s) == 3 and (s[0], s[2]) == shape
        )
        w = directions.to(self.outputs)
        return torch.einsum("bmd,btd->bmt", w, self.contributions()), torch.einsum("bmd,bd->bm", w, self.biases)

    @passes
    @torch.no_grad()
    def stock(self) -> Float[Tensor, "prompts d"]:
        """The untouched model's output at every prompt's last position, from one pass for all of them."""
        if self._stock is None:
            self.network.require_same_weights()
            ids = torch.tensor(self.token_ids, device=self.lm.device)
            with eager_experts(self.lm.model):  # the fused experts know no float64
                self._stock = self.lm.decoder(input_ids=ids, use_cache=False).last_hidden_state[:, -1]
        return self._stock

    def exactness(self) -> list[Exactness]:
        """The two errors of every prompt's map, as in ``LinearMap.exactness``."""
        products, dtype = self.network.products, dtype_name(self.network.inputs.dtype)
        reconstruction_bound, forward_bound = bounds_of(dtype, products)
        leaks = list(self.network.leaks)
        sums = wide(self.contributions()).sum(1) + wide(self.biases)
        found = []
        for total, y, stock in zip(sums, self.outputs, self.stock(), strict=True):
            error, forward = relative_error(total, y), relative_error(y, stock)
            exact = error <= reconstruction_bound and forward <= forward_bound and not leaks
            found.append(Exactness(error, forward, dtype, exact, leaks, products))
        return found

    def _each(self, values: Float[Tensor, "positions d"]) -> Float[Tensor, "tokens prompts d"]:
        return values.unflatten(0, (-1, len(self)))


@passes
def linearize_together(
    lm: LanguageModel,
    prompts: Sequence[str | Sequence[int]],
    *,
    gated_path: Share = "up",
    attention: Share = "held",
) -> MapsTogether:
    """The exact maps of several prompts (texts or token ids) that have the same number of tokens, by one recording.

    What needs no matrix then costs a part of what it costs prompt by prompt; the numbers are those of ``linearize``.
    Raises EqlinError for prompts of several lengths, for what ``linearize`` refuses, and, of more than one prompt, for
    models that mix positions otherwise than by transformers' attention interface, or are not told positions.
    """
    checked_model(lm)
    given = arguments.several("prompts", prompts, "a list of at least one prompt", least=1)
    ids = [prompt_ids(lm, one) if isinstance(one, str) else prompt_ids(lm, None, one) for one in given]
    lengths = sorted({len(one) for one in ids})
    if len(lengths) > 1:
        raise InvalidValue(
            f"The prompts have {lengths[0]} to {lengths[-1]} tokens: only those of one length go together."
        )
    plan.require_room(lm, len(ids) * lengths[0])
    tokens = torch.tensor(ids, device=lm.device).T.flatten()
    with torch.no_grad():
        embeddings = lm.model.get_input_embeddings()(tokens)
    network = frozen_decoder(
        lm,
        embeddings,
        ids=tokens.tolist(),
        convention=Convention(gated_path, attention),
        together=len(ids),
    )
    if not network.separate:
        raise EqlinError(f"{type(lm.model).__name__} mixes positions in other ways than by attention to earlier ones.")
    return MapsTogether(lm, network, ids)
