"""Whatever a file of a run holds, it is read as a run that can be shown or refused in a sentence.

`test_files.py` runs this without the suite's checks of types. For many examples:
`python -m pytest --noconftest -p tests.profiles --hypothesis-profile=deep tests/eqlin_core/runs/reading_properties.py`
"""

from __future__ import annotations

import io
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eqlin_core.errors import EqlinError
from eqlin_core.runs.answer import AnswerRun, GroupDeletionRun, answer_groups
from eqlin_core.runs.files import load_run, save_run
from eqlin_core.runs.groups import GROUPINGS, groups_of
from eqlin_core.runs.layers import SweepRun
from eqlin_core.runs.prompt import SpectrumRun, TokenRun
from eqlin_core.runs.reading import check_object
from eqlin_core.runs.steering import SteeringGrid
from tests import profiles  # noqa: F401 - chosen when it is imported
from tests.eqlin_core.runs.file_cases import answer_run, group_deletion_run, same, steering_grid
from tests.pages.run_cases import D, spectrum_run, token_run
from tests.pages.sweep.layer_cases import sweep_run

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)
NUMBERS = st.floats() | st.integers(-(2**70), 2**70)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["array", "tuple", "class", "fields"]) | TEXTS, inner, max_size=4)
        | st.fixed_dictionaries({"tuple": st.lists(inner, max_size=3)})
    ),
    max_leaves=12,
)
ARRAYS = st.just(np.array([None, "a", 1], dtype=object)) | hnp.arrays(
    hnp.scalar_dtypes() | hnp.unicode_string_dtypes(), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
)
FLOATS = st.floats(width=64)


def file_of(run: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_run(run, Path(folder) / "run.npz")
        return (Path(folder) / "run.npz").read_bytes()


RUNS = {
    "tokens": token_run(),
    "spectra": spectrum_run(token_run()),
    "layers": sweep_run(),
    "steering": steering_grid(),
    "answer": answer_run(),
    "groups": group_deletion_run(),
}
FILES = {name: file_of(run) for name, run in RUNS.items()}
MEMBERS = {name: dict(np.load(io.BytesIO(content))) for name, content in FILES.items()}
either = st.sampled_from(sorted(FILES))


def read(content: bytes) -> Any:
    """The run in a file with this content, looked at as pages do; None where it is refused in a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        path.write_bytes(content)
        try:
            run = load_run(path)
        except EqlinError as error:
            text = str(error)
            assert text.startswith("run.npz ")
            assert text.endswith(".")
            return None
    check_object(run)
    repr(run)
    if not isinstance(run, SteeringGrid):
        assert isinstance(run, TokenRun | SpectrumRun | SweepRun | AnswerRun | GroupDeletionRun)
        assert run.key.convention.words
    if isinstance(run, SweepRun):
        assert run.cosines_with_last("layer", 0).shape == run.stable_rank[:, 0].shape
        assert run.reads("v", 0, run.kinds[-1], len(run.tokens), 0)
    elif isinstance(run, SteeringGrid):
        assert run.unsteered < len(run.texts)
        repr(run.breaks_down)
    else:
        run._repr_html_()
    if isinstance(run, AnswerRun):
        with np.errstate(all="ignore"):
            for by in GROUPINGS:
                groups = groups_of(run.text, by)
                rows = answer_groups(groups, run.text.first)
                assert run.folded(rows, groups).shape == (len(rows), len(run.parts(groups)))
                assert len(run.over(rows, run.rest)) == len(rows)
    if isinstance(run, GroupDeletionRun):
        with np.errstate(all="ignore"):
            assert all(isinstance(run.fall_of(i), float) for i in range(len(run.groups)))
    if isinstance(run, TokenRun):
        with np.errstate(all="ignore"):
            assert all(len(run.split(target.row)[0]) == len(run.tokens) for target in run.targets)
    return run


def written(name: str, header: Any, arrays: dict[str, Any] | None = None) -> bytes:
    file = io.BytesIO()
    text = json.dumps(header).encode()
    np.savez(file, **{**MEMBERS[name], "header": np.frombuffer(text, np.uint8), **(arrays or {})})
    return file.getvalue()


def header_of(name: str) -> Any:
    return json.loads(bytes(MEMBERS[name]["header"]))


@given(name=either, places=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(name: str, places: list[tuple[int, int]]) -> None:
    content = bytearray(FILES[name])
    for place, byte in places:
        content[place % len(content)] = byte
    read(bytes(content))


@given(name=either, start=st.integers(0, 10**6), stop=st.integers(0, 10**6), other=st.binary(max_size=40))
def test_pieces_cut_out_or_put_in(name: str, start: int, stop: int, other: bytes) -> None:
    content = FILES[name]
    start, stop = sorted((start % len(content), stop % len(content)))
    read(content[:start] + other + content[stop:])


@given(content=st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    assert read(content) is None
    assert read(b"PK\x03\x04" + content) is None


@given(name=either, value=JSON)
def test_any_header(name: str, value: Any) -> None:
    read(written(name, value))
    read(written(name, {"format": 1, "run": value}))


@given(name=either, data=st.data())
def test_any_value_in_the_place_of_any_field(name: str, data: st.DataObject) -> None:
    header = header_of(name)
    place = header["run"]["fields"]
    while True:
        field = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        inner = place[field]
        inner = inner.get("fields", inner.get("tuple", inner)) if isinstance(inner, dict) else inner
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        place = inner
    place[field] = data.draw(JSON)
    read(written(name, header))


@given(name=either, data=st.data())
def test_any_array_in_the_place_of_another(name: str, data: st.DataObject) -> None:
    member = data.draw(st.sampled_from(sorted(MEMBERS[name])))
    content = written(name, header_of(name), {member: data.draw(ARRAYS)})
    run = read(content)
    assert run is None or member != "header"


@given(prompt=TEXTS, token=TEXTS, values=hnp.arrays(np.float64, (2, D), elements=FLOATS), model=TEXTS)
def test_every_run_is_the_same_after_reading(prompt: str, token: str, values: Any, model: str) -> None:
    run = replace(token_run(), prompt=prompt, tokens=[token, token[::-1]], inputs=values, contributions=-values)
    run = replace(run, key=replace(run.key, model=model))
    assert same(read(file_of(run)), run)


@pytest.mark.parametrize("step", [101, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", sorted(FILES))
def test_every_single_byte_changed(name: str, step: int) -> None:
    """A flipped bit of every flag and of every size is among them."""
    for place in range(0, len(FILES[name]), step):
        content = bytearray(FILES[name])
        content[place] ^= 1 << (place % 8)
        read(bytes(content))
