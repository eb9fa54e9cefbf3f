"""Whatever an argument is, a public function takes it or refuses it in a sentence: hypothesis looks for another end.

`test_arguments.py` runs this without the suite's checks of types, which would refuse first. For many examples:
`python -m pytest --noconftest -p tests.profiles --hypothesis-profile=deep tests/eqlin_core/argument_properties.py`
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import eqlin_core as eq
from eqlin_core.runs.prompt import TokenRun
from tests import profiles  # noqa: F401 - chosen when it is imported
from tests.eqlin_core.odd_calls import Call, calls, is_sentence, odd_values, tiny_with_text

TEXTS = st.text(st.characters(exclude_categories=()), max_size=30)  # halves of surrogate pairs among them
NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(-3, 40), st.complex_numbers())
TENSORS = st.builds(
    lambda shape, dtype: torch.ones(shape, dtype=dtype),
    st.lists(st.sampled_from([0, 1, 2, 3, 32]), max_size=3),
    st.sampled_from([torch.float64, torch.float16, torch.int64, torch.bool, torch.complex64]),
)
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.binary(max_size=8))
VALUES = st.one_of(
    st.sampled_from(list(odd_values().values())),
    PLAIN,
    TENSORS,
    st.lists(PLAIN, max_size=4),
    st.lists(st.integers(-2, 70), max_size=70),
    st.dictionaries(TEXTS, PLAIN, max_size=3),
    st.lists(PLAIN, max_size=3).map(tuple),
)
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.float8_e4m3fn]
# Of the arguments that name files only values that name none outside the folder of the test are tried.
FILES = {("load_model", "name"), ("operator.save", "path"), ("load_operator", "path"), ("save_run", "path")}
FILES |= {("load_run", "path"), ("load_model", "device_map"), ("load_model", "max_memory")}
FILES |= {("lens.save", "path"), ("load_lens", "path")}


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Call]]:
    folder, before = tmp_path_factory.mktemp("odd"), Path.cwd()
    os.environ |= {"HF_HUB_OFFLINE": "1", "EQLIN_CACHE": str(folder / "cache")}
    os.chdir(folder)
    yield calls(folder)
    os.chdir(before)


@pytest.fixture(scope="module")
def lm() -> eq.LanguageModel:
    return tiny_with_text()


def outcome(call: Callable[[], Any]) -> tuple[Any, eq.EqlinError | None]:
    """What a call returns, and the error that it is refused with."""
    try:
        return call(), None
    except eq.EqlinError as error:
        return None, error


@given(which=st.integers(0, 10**6), value=VALUES)
def test_every_argument_is_taken_or_refused_in_a_sentence(public: list[Call], which: int, value: Any) -> None:
    places = [(call, a) for call in public for a in call.arguments if (call.name, a) not in FILES]
    call, argument = places[which % len(places)]
    assert call.outcome(argument, value) in ("refused", "taken"), f"{call.name}({argument}={value!r})"


@given(prompt=TEXTS | st.text(max_size=60) | st.text(" \n\t\u3000", max_size=4))
def test_every_prompt_is_analysed_exactly_or_refused(lm: eq.LanguageModel, prompt: str) -> None:
    whole = not any("\ud800" <= c <= "\udfff" for c in prompt)
    lin, error = outcome(lambda: eq.linearize(lm, prompt))
    if error is None:
        assert lin.exactness().exact
        assert len(lin.tokens) == lin.n_tokens == len(lm.encode(prompt))
    elif "reads at most" in str(error):
        assert len(prompt.encode()) > 64
    else:
        assert isinstance(error, ValueError)
        assert is_sentence(str(error))
        assert not whole or not prompt.strip(), "what can be read has to be"


@given(ids=st.lists(st.integers(0, 299), min_size=1, max_size=12), data=st.data())
def test_every_valid_place_of_every_valid_prompt_is_exact(
    lm: eq.LanguageModel, ids: list[int], data: st.DataObject
) -> None:
    position = data.draw(st.integers(-len(ids), len(ids) - 1))
    share = st.floats(0, 1)
    lin = eq.linearize(lm, token_ids=ids, position=position, gated_path=data.draw(share), attention=data.draw(share))
    assert lin.position == position % len(ids)
    assert lin.exactness().exact


@given(position=st.integers() | st.floats() | st.booleans())
def test_a_place_that_is_none_is_never_taken_for_another(lm: eq.LanguageModel, position: Any) -> None:
    assume(isinstance(position, bool | float) or not -3 <= position < 3)
    with pytest.raises(eq.EqlinError) as caught:
        eq.linearize(lm, token_ids=[1, 2, 3], position=position)
    assert isinstance(caught.value, ValueError | TypeError)
    assert "osition" in str(caught.value)


@given(strength=st.floats() | st.integers())
def test_a_strength_is_taken_as_it_is_or_refused(lm: eq.LanguageModel, strength: Any) -> None:
    operator = eq.steering_operator(lm, token_ids=[5], layers=1)
    if math.isfinite(strength) and 0 <= strength <= 100:
        assert eq.steer(lm, "a", operator, strength, 1).strength == strength
    else:
        with pytest.raises(ValueError, match=r"\.$"):
            eq.steer(lm, "a", operator, strength, 1)


@given(value=VALUES)
def test_a_seed_is_a_whole_number_of_64_bits(lm: eq.LanguageModel, value: Any) -> None:
    operator = eq.steering_operator(lm, token_ids=[5], layers=1)
    if type(value) is int and 0 <= value < 2**63:
        eq.random_operator(operator, value)
    elif not isinstance(value, torch.Tensor):
        with pytest.raises((ValueError, TypeError), match="seed"):
            eq.random_operator(operator, value)


@given(name=TEXTS)
def test_files_of_any_name_are_written_and_read_or_refused(public: list[Call], name: str) -> None:
    run = next(call for call in public if call.name == "save_run").good["run"]
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/{name.replace('/', '').replace('..', '')}x"
        _, error = outcome(lambda: eq.save_run(run, path))
        if error is None:
            read = eq.load_run(path)
            assert isinstance(read, TokenRun)
            assert read.tokens == run.tokens
        else:
            assert is_sentence(str(error))
            assert os.listdir(folder) == []


@given(data=st.data())
def test_an_operators_file_that_was_changed_is_refused_or_an_operator(
    lm: eq.LanguageModel, data: st.DataObject
) -> None:
    from safetensors.torch import save

    operator = eq.steering_operator(lm, token_ids=[5, 6], layers=1)
    content = bytearray(operator.to_bytes())
    if data.draw(st.booleans()):
        for place, byte in data.draw(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1)):
            content[place % len(content)] = byte
    else:
        field = data.draw(st.sampled_from(sorted(operator.header())))
        nested = st.recursive(st.none() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5)
        value = data.draw(st.text() | nested.map(json.dumps) | st.just("[" * 10**5 + "]" * 10**5))
        arrays = {"J": operator.J.to(data.draw(st.sampled_from(DTYPES))), "inputs": operator.inputs}
        content = bytearray(save(arrays, metadata={**operator.header(), field: value}))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "file").write_bytes(content)
        read, error = outcome(lambda: eq.load_operator(Path(folder, "file")))
        assert error is None or is_sentence(str(error))
        fits, error = outcome(lambda: eq.load_operator(Path(folder, "file"), lm))
        assert error is None or is_sentence(str(error))
    if read is not None:
        repr(read)
    if fits is not None:
        assert math.isfinite(eq.steer(lm, "a", fits, 0.5, 1).logits.sum())
