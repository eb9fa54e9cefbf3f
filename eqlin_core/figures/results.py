"""Results of the engine as the arrays that figures take: known by what they have, so that nothing of it is imported."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

# How far, of the sum of their sizes, rounding may keep the parts of a logit from its value.
ROUNDING = {"float64": 1e-6, "float32": 2e-3}
ROUNDING_OF_HALF = 0.2


@runtime_checkable
class ExactMap(Protocol):
    """A linear map at a prompt: tokens [T], output y [d], and J_i x_i [T, d]; `lm` has unembedding and tokenizer."""

    @property
    def lm(self) -> Any:
        """The language model."""

    @property
    def tokens(self) -> Sequence[str]:
        """The prompt's tokens."""

    @property
    def output(self) -> Any:
        """y, the output embedding."""

    def contributions(self) -> Any:
        """J_i x_i of every token."""

    def logit_split(self, directions: Any, /) -> tuple[Any, Any]:
        """(w . J_i x_i [m, T], the constant [m]) for m directions or tokens."""


@runtime_checkable
class Vectors(Protocol):
    """Contributions that are measured already: their norms [T], their cosines with the output [T], tokens [T]."""

    @property
    def norms(self) -> Any:
        """||J_i x_i||."""

    @property
    def cosines(self) -> Any:
        """cos(J_i x_i, y)."""

    @property
    def tokens(self) -> Sequence[str]:
        """The prompt's tokens."""


@runtime_checkable
class Spectra(Protocol):
    """The spectra of all tokens' matrices: singular values S [T, k], stable ranks [T]; some know their tokens too."""

    @property
    def S(self) -> Any:
        """The singular values, largest first."""

    @property
    def stable_rank(self) -> Any:
        """||J_i||_F^2 / sigma_1^2."""


class LogitSplit(NamedTuple):
    """The logit of one token as a sum over the prompt's tokens, and how far rounding may keep the sum from it."""

    bias: float
    terms: Float[np.ndarray, " tokens"]
    total: float
    tokens: list[str]
    explained: str
    tolerance: float


def as_array(values: Any) -> np.ndarray:
    """An array, or a tensor of any device and type, as an array in float64."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def split_of(lin: ExactMap, token: str | int) -> LogitSplit:
    """The parts of a token's logit, and the logit itself from the output. Raises ValueError for more than one token."""
    lm = lin.lm
    row = _token_id(lm, token)
    terms, bias = lin.logit_split(token)
    total = as_array(lm.unembedding[row]) @ as_array(lin.output)
    explained = token if isinstance(token, str) else lm.token_strings([token])[0]
    tolerance = ROUNDING.get(str(lin.output.dtype).removeprefix("torch."), ROUNDING_OF_HALF)
    return LogitSplit(
        float(as_array(bias)[0]), as_array(terms)[0], float(total), list(lin.tokens), explained, tolerance
    )


def vectors_of(result: ExactMap | Vectors) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(||J_i x_i|| [T], cos(J_i x_i, y) [T], tokens [T]); the cosine is zero for a token that contributes nothing."""
    if isinstance(result, Vectors):
        return as_array(result.norms), as_array(result.cosines), list(result.tokens)
    parts, output = as_array(result.contributions()), as_array(result.output)
    norms = np.linalg.norm(parts, axis=1)
    sizes = norms * np.linalg.norm(output)
    cosines = np.divide(parts @ output, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return norms, cosines, list(result.tokens)


def tokens_of(result: Any, tokens: Sequence[str] | None) -> Sequence[str]:
    """The tokens that are given, or else the result's own. Raises ValueError where there are none."""
    found = getattr(result, "tokens", None) if tokens is None else tokens
    if found is None:
        raise ValueError("Say the tokens as well: tokens=lin.tokens.")
    return found


def _token_id(lm: Any, token: str | int) -> int:
    if isinstance(token, int):
        return token
    ids = lm.tokenizer(token, add_special_tokens=False)["input_ids"]
    if len(ids) != 1:
        raise ValueError(f"{token!r} is {len(ids)} tokens of this model: name one token, or its id.")
    return int(ids[0])
