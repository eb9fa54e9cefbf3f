"""What the engine gives can be drawn as it is: here stand-ins for it, since figures know it only by its attributes."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from eqlin_core.figures import norms_and_cosines, singular_values, stable_ranks, waterfall

from .cases import MARIN

TOKENS = ["The", " bridge", " out"]
VOCABULARY = [" Golden", " most", "<b>"]


class Tensor:
    """As much of a tensor as figures may use; it is on a device, with a gradient, and not in double precision."""

    def __init__(self, values: Any, dtype: str = "torch.float32") -> None:
        self._values, self.dtype = np.asarray(values), dtype

    def detach(self) -> "Tensor":
        return self

    cpu = detach

    def double(self) -> "Tensor":
        return Tensor(self._values.astype(np.float64), "torch.float64")

    def numpy(self) -> np.ndarray:
        assert self.dtype == "torch.float64", "NumPy has no bfloat16"
        return self._values

    def __getitem__(self, index: Any) -> "Tensor":
        return Tensor(self._values[index], self.dtype)


class Map:
    """A linear map of three tokens, whose output misses the sum of its parts by ``error``."""

    def __init__(self, error: float = 0.0, dtype: str = "torch.float32") -> None:
        random = np.random.default_rng(0)
        self.tokens = TOKENS
        self._parts, self._bias = random.normal(size=(3, 4)), random.normal(size=4)
        self._rows = random.normal(size=(3, 4))
        self.output = Tensor(self._parts.sum(0) + self._bias + error, dtype)
        self.lm = SimpleNamespace(
            unembedding=Tensor(self._rows, dtype),
            tokenizer=lambda text, add_special_tokens: {
                "input_ids": [VOCABULARY.index(text)] if text in VOCABULARY else [0, 1]
            },
            token_strings=lambda ids: [VOCABULARY[i] for i in ids],
        )
        self.asked: list[Any] = []

    def contributions(self) -> Tensor:
        return Tensor(self._parts)

    def logit_split(self, token: str | int) -> tuple[Tensor, Tensor]:
        self.asked.append(token)
        row = self._rows[VOCABULARY.index(token) if isinstance(token, str) else token]
        return Tensor((self._parts @ row)[None]), Tensor((self._bias @ row)[None])


@pytest.mark.parametrize("token", [" most", 1])
def test_a_waterfall_takes_a_linear_map_and_a_token(token):
    lin = Map()
    chart = waterfall(lin, token, theme="dark")
    assert lin.asked == [token]
    bars = chart.figure.data[0]
    row = lin._rows[1]
    np.testing.assert_allclose(bars.y, [lin._bias @ row, *(lin._parts @ row), lin.output._values @ row])
    assert chart.figure.layout.yaxis.title.text == "logit of ·most"
    assert chart.table["token"][1:-1] == TOKENS


def test_the_total_is_the_outputs_logit_so_that_a_map_that_misses_it_is_refused():
    with pytest.raises(ValueError, match="differ by more than"):
        waterfall(Map(error=0.1), " most")
    with pytest.raises(ValueError, match="differ by more than"):
        waterfall(Map(error=1e-4, dtype="torch.float64"), " most")
    waterfall(Map(error=1e-4), " most")  # within the rounding of float32
    waterfall(Map(error=1e-2, dtype="torch.bfloat16"), " most")


def test_a_waterfall_of_a_map_has_all_the_options_of_the_other():
    figure = waterfall(Map(), " most", target="score of <b>", apart=True, hatched=[1]).figure
    assert figure.layout.yaxis.title.text == "score of &lt;b&gt;"
    assert figure.layout.xaxis2.ticktext[1] == "The"


def test_what_is_no_single_token_is_refused():
    with pytest.raises(ValueError, match="'Golden Gate' is 2 tokens"):
        waterfall(Map(), "Golden Gate")
    with pytest.raises(ValueError, match="takes the token"):
        waterfall(Map(), np.ones(3))
    with pytest.raises(ValueError, match="or a linear map and a token"):
        waterfall(1.0, " most")


def test_norms_and_cosines_take_a_map_or_a_run_that_has_them():
    lin = Map()
    made = norms_and_cosines(lin).table
    np.testing.assert_allclose(made["norm"], np.linalg.norm(lin._parts, axis=1))
    output = lin.output._values
    np.testing.assert_allclose(
        made["cosine"], lin._parts @ output / np.linalg.norm(lin._parts, axis=1) / np.linalg.norm(output)
    )
    assert made["token"] == TOKENS
    run = SimpleNamespace(norms=np.array([1.0, 2.0]), cosines=np.array([0.5, -0.5]), tokens=["a", "b"])
    assert norms_and_cosines(run).table == norms_and_cosines(run.norms, run.cosines, ["a", "b"]).table
    with pytest.raises(ValueError, match="or a linear map"):
        norms_and_cosines(run.norms)


def test_a_token_that_contributes_nothing_has_the_cosine_zero():
    lin = Map()
    lin._parts[1] = 0
    assert norms_and_cosines(lin).table["cosine"][1] == 0


def test_spectra_are_drawn_from_what_the_engine_gives():
    S, ranks = np.array([[3.0, 1.0], [2.0, 0.5]]), np.array([1.5, 2.5])
    found = SimpleNamespace(S=Tensor(S), stable_rank=Tensor(ranks))
    assert singular_values(found, tokens=["a", "b"]).table == singular_values(S, ["a", "b"]).table
    assert stable_ranks(found, tokens=["a", "b"]).table == stable_ranks(ranks, ["a", "b"]).table
    run = SimpleNamespace(S=S, stable_rank=ranks, tokens=["a", "b"])
    assert singular_values(run).table["token"] == ["a", "a", "b", "b"]
    assert stable_ranks(run).table["token"] == ["a", "b"]


def test_spectra_without_tokens_and_those_of_all_together_are_refused():
    joint = SimpleNamespace(S=Tensor([3.0, 1.0]), stable_rank=Tensor(1.5))
    with pytest.raises(ValueError, match="Say the tokens"):
        singular_values(joint)
    with pytest.raises(ValueError, match="joint_spectrum"):
        singular_values(joint, MARIN)
    with pytest.raises(ValueError, match="not the one of all together"):
        stable_ranks(joint, MARIN)
