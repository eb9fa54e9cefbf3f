"""The residual stream after every block read as tokens: as it is, through a lens, or through this prompt's own map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eqlin_core import arguments
from eqlin_core.dtypes import dtype_name, wide
from eqlin_core.errors import EqlinError, InvalidType, InvalidValue
from eqlin_core.lenses.derivatives import transported_at
from eqlin_core.lenses.last_norm import checked_place, final_norm_of, require_final_norm
from eqlin_core.lenses.lens import Lens
from eqlin_core.lenses.streams import recorded_stream, stock_stream
from eqlin_core.models.baselines import token_id
from eqlin_core.models.language_model import LanguageModel
from eqlin_core.models.readout import next_token_logits
from eqlin_core.multiplication import passes
from eqlin_core.progress import Progress, report
from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.runs.values import Row

EXACT = "exact"


@dataclass(frozen=True, eq=False, repr=False)
class LensReadout(ShortRepr):
    """What each of the n ``layers`` reads as at one position; the last of them is the model itself.

    ``read`` says through what: "logit lens", "exact", or the lens' kind. ``top_ids``, ``top_logits`` [n, k]: the k
    highest logits, best first, and ``names`` of all ids. Of the m chosen ``token_ids``: ``ranks`` [n, m], 1 for the
    highest logit, and ``log_probabilities`` [n, m], natural logarithms.
    """

    read: str
    position: int
    layers: list[int]
    token_ids: list[int]
    tokens: list[str]
    top_ids: Int[Tensor, "n k"]
    top_logits: Float[Tensor, "n k"]
    ranks: Int[Tensor, "n m"]
    log_probabilities: Float[Tensor, "n m"]
    names: dict[int, str]

    def _facts(self) -> Facts:
        yield "read", self.read
        yield "position", f"position {self.position}"
        yield "layers", counted(len(self.layers), "layer")
        yield "tokens", f"ranks of {', '.join(map(repr, self.tokens[:3]))}"
        yield "kept", f"k={self.top_ids.shape[-1]}"

    def top(self, layer: int) -> Row:
        """The (token, logit) pairs of one layer, best first. Raises EqlinError for a layer that was not read."""
        if arguments.whole("layer", layer) not in self.layers:
            raise InvalidValue(f"Layer {arguments.shown(layer)} was not read: choose one of the read-out's layers.")
        at = self.layers.index(layer)
        pairs = zip(self.top_ids[at].tolist(), self.top_logits[at].tolist(), strict=True)
        return [(self.names[i], float(logit)) for i, logit in pairs]


@passes
@torch.no_grad()
def read_lens(
    lm: LanguageModel,
    prompt: str | None = None,
    lens: Lens | str | None = None,
    k: int = 8,
    *,
    token_ids: Sequence[int] | None = None,
    position: int = -1,
    tokens: Sequence[int | str] | None = None,
    progress: Progress | None = None,
) -> LensReadout:
    """What the residual stream after every block reads as, through the model's own final norm, head and soft-capping.

    ``lens``: None is the logit lens, unembed(h_l) (nostalgebraist 2020); a ``Lens`` reads unembed(J_l h_l), with its
    layers alone; "exact" reads through the frozen map of this very prompt, from after block l to the last stream at
    the same ``position``. What other positions and the biases of later blocks add to the last stream is left out of
    all three; only the last layer, the model itself, has it. "exact" takes a reverse pass a layer and no matrix.
    ``tokens``: ids, or texts that are one token, whose ranks are wanted; the model's own next token unless given.
    Raises EqlinError for a lens of another model, and for a model that does more between its last block and its output
    than its final norm; and where numbers overflow.
    """
    ids, position = checked_place(lm, prompt, token_ids, position)
    k = arguments.whole("k", k, 1)
    arguments.called("progress", progress)
    chosen = None if tokens is None else [token_id(lm, t) for t in _tokens(tokens)]
    if isinstance(lens, str):
        arguments.choice("lens, if it is a text,", lens, (EXACT,))
    elif lens is not None and not isinstance(lens, Lens):
        raise InvalidType(f"lens is None, 'exact', or a Lens, as fit_lens gives one, not {arguments.shown(lens)}.")
    if isinstance(lens, Lens):
        lens.require_fit(lm)
    report(progress, 0.0, "Read-out")
    streams, outputs = stock_stream(lm, ids)
    last = len(streams) - 1
    h = streams[:, position]
    require_final_norm(lm, h[last], outputs[position])
    if isinstance(lens, Lens):
        layers = list(lens.layers)
        transported = torch.stack([lens.transport(layer, h[layer]) for layer in layers])
    else:
        layers = list(range(last))
        transported = h[:last] if lens is None else transported_at(recorded_stream(lm, ids, "frozen"), layers, position)
    report(progress, 0.5, "Read-out")
    through = [final_norm_of(lm, transported.to(h)).to(h), outputs[position][None].to(h)]
    logits = next_token_logits(lm, torch.cat(through))
    read = "logit lens" if lens is None else lens.kind if isinstance(lens, Lens) else EXACT
    if not bool((logits < torch.inf).all()):  # not a number neither, whose rank would count as 1
        raise EqlinError(f"Read as {read}, numbers overflow in {dtype_name(h.dtype)}: choose a higher precision.")
    return _readout(lm, logits, read, position, [*layers, last], k, chosen)


def _tokens(tokens: Any) -> list[Any]:
    return arguments.several("tokens", tokens, "a list of tokens (ids, or texts that are one token)", least=1)


def _readout(
    lm: LanguageModel,
    logits: Float[Tensor, "n vocab"],
    read: str,
    position: int,
    layers: list[int],
    k: int,
    chosen: list[int] | None,
) -> LensReadout:
    token_ids = [int(logits[-1].argmax())] if chosen is None else chosen
    best, best_ids = logits.topk(min(k, logits.shape[-1]))
    at = torch.tensor(token_ids, device=logits.device)
    ranks = torch.stack([(logits > logits[:, i, None]).sum(-1) + 1 for i in token_ids], -1)
    distinct = sorted({*best_ids.flatten().tolist(), *token_ids})
    names = dict(zip(distinct, lm.token_strings(distinct), strict=True))
    return LensReadout(
        read=read,
        position=position,
        layers=layers,
        token_ids=token_ids,
        tokens=[names[i] for i in token_ids],
        top_ids=best_ids,
        top_logits=best,
        ranks=ranks,
        log_probabilities=wide(logits).log_softmax(-1)[:, at.to(wide(logits[:1]).device)],
        names=names,
    )
