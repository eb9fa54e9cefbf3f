"""What the residual stream reads as after every block: through several lenses, and this prompt's own map; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float, Int

from eqlin_core.reprs import Facts, ShortRepr, counted
from eqlin_core.runs.prompt import RunKey
from eqlin_core.runs.values import Array, Row

LOGIT, EXACT = "logit lens", "exact"


@dataclass(frozen=True, repr=False)
class LensRun(ShortRepr):
    """R read-outs of L layers at one position; the last layer of all is the model itself.

    ``reads`` names them: "logit lens", "exact" (this prompt's map), and the kinds of fitted lenses. ``top_ids`` and
    ``top_logits`` [R, L, k], best first. Of the explained token ``token_id``: ``ranks`` [R, L], 1 for the highest
    logit, and ``log_probabilities`` [R, L]. ``cosines`` [R, L]: of what a lens and the exact map read as that token;
    1 for the exact map, NaN for the logit lens and for the last layer. ``fitted``: of each fitted lens what it
    averages over. Of a layer that a lens does not have, ids and ranks are -1 and the other numbers NaN.
    """

    key: RunKey
    token_id: int
    reads: list[str]
    names: dict[int, str]
    top_ids: Int[Array, "R L k"]
    top_logits: Float[Array, "R L k"]
    ranks: Int[Array, "R L"]
    log_probabilities: Float[Array, "R L"]
    cosines: Float[Array, "R L"]
    fitted: dict[str, str]

    def _facts(self) -> Facts:
        yield "model", self.key.model
        yield "token", repr(self.names[self.token_id])
        yield "reads", ", ".join(self.reads)
        yield "layers", counted(self.ranks.shape[1], "layer")

    def top(self, read: str, layer: int) -> Row:
        """The (token, logit) pairs of one layer by one read-out, best first; of a layer that a lens lacks none."""
        at = self.reads.index(read)
        pairs = zip(self.top_ids[at, layer].tolist(), self.top_logits[at, layer].tolist(), strict=True)
        return [(self.names[i], logit) for i, logit in pairs if i >= 0]
