"""Runs in files: the same after reading, never half-written, and never code."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqlin_core import EqlinError, disk
from eqlin_core.runs import files
from eqlin_core.runs.answer import AnswerRun
from eqlin_core.runs.deletion import LeaveOneOutRun
from eqlin_core.runs.files import RunStore, load_run, save_run
from eqlin_core.runs.groups import Group
from eqlin_core.runs.kinds import ANSWERS
from eqlin_core.runs.matrix import Line
from eqlin_core.runs.prompt import TokenRun
from eqlin_core.runs.ranks import JointRun, RankRun
from eqlin_core.runs.steering import Guide, Measured
from eqlin_core.runs.text import RunText
from tests.eqlin_core.runs.file_cases import (
    answer_run,
    every_run,
    group_deletion_run,
    matrix_run,
    same,
    steering_grid,
)
from tests.pages.run_cases import LEAKING, D, spectrum_run, token_run
from tests.pages.sweep.layer_cases import heads_run, sweep_run
from tests.profiles import passes_alone


def two_rows() -> AnswerRun:
    """Of an answer of three tokens."""
    rows: Any = dict.fromkeys(("constants", "normalisers", "values", "log_probabilities", "errors"), np.ones(2))
    return replace(answer_run(), terms=np.ones((2, 7)), likely=[[]] * 2, **rows)


def no_texts() -> list[RunText]:
    """What differs from the text of the answer in a file in one respect."""
    text = answer_run().text
    return [
        replace(text, tokens=text.tokens[1:]),
        replace(text, roles=text.roles[1:]),
        replace(text, messages=[*text.messages, 1]),
        replace(text, token_ids=text.token_ids[1:]),
        replace(text, token_ids=[*text.token_ids[:-1], 5]),
        replace(text, first=0),
        replace(text, first=3),
        replace(text, first=8),
    ]


def no_groups() -> list[Group]:
    return [Group("none", (), "user"), Group("later", (7,), "user"), Group("before", (-1,), "user")]


@pytest.mark.parametrize("prompt", ["The bridge", "", 'emoji \U0001f30a, a quote " and \n'])
def test_a_run_is_the_same_after_reading(tmp_path: Path, prompt: str) -> None:
    tokens = token_run(prompt, LEAKING)
    for run in (tokens, spectrum_run(tokens), replace(tokens, exactness=None, complete=False)):
        save_run(run, tmp_path / "run.npz")
        assert same(load_run(tmp_path / "run.npz"), run)


def test_every_kind_of_result_has_a_file_and_is_the_same_after_reading(tmp_path: Path) -> None:
    runs = every_run()
    assert {type(run) for run in runs} == set(ANSWERS)
    for run in runs:
        save_run(run, tmp_path / "run.npz")
        assert same(load_run(tmp_path / "run.npz"), run), type(run)


def test_what_stands_twice_in_a_run_is_written_once(tmp_path: Path) -> None:
    run = token_run()
    sizes = []
    for inputs in (run.contributions, run.contributions + 1):
        save_run(replace(run, inputs=inputs), tmp_path / "run.npz")
        back = load_run(tmp_path / "run.npz")
        assert isinstance(back, TokenRun)
        assert np.array_equal(back.inputs, inputs)
        sizes.append((tmp_path / "run.npz").stat().st_size)
    assert sizes[1] - sizes[0] >= inputs.nbytes // 2


@pytest.mark.parametrize(
    "run",
    [
        replace(sweep_run(), names={}),
        replace(sweep_run(), n_layers=2),
        replace(sweep_run(), kinds=("attn", "mlp", "mlp")),
        replace(sweep_run(), tokens=["one"]),
        replace(heads_run((0, 3)), ids=(0,)),
        replace(matrix_run(), rows=[Line(D, 1.0, [])]),
        replace(matrix_run(), whole=replace(matrix_run().whole, block=(1, 2))),
        replace(matrix_run(), whole=replace(matrix_run().whole, block=(0, 2))),
        replace(steering_grid(), texts=[]),
        replace(steering_grid(), strengths=[(0.0,)], texts=steering_grid().texts[:1]),
        replace(steering_grid(), control=None, measured=Measured(*[np.zeros(3)] * 3)),
        replace(steering_grid(), plan=replace(steering_grid().plan, gated_path="sideways")),
        Guide("bay", [], [-0.5], " bay"),
        *(replace(run, true_top=[]) for run in every_run() if isinstance(run, RankRun)),
        *(replace(run, keeps=D) for run in every_run() if isinstance(run, RankRun)),
        *(replace(run, main=run.main + 1) for run in every_run() if isinstance(run, JointRun)),
        *(replace(run, target_ids=[0]) for run in every_run() if isinstance(run, LeaveOneOutRun)),
        *(replace(answer_run(), text=text) for text in no_texts()),
        replace(answer_run(), likely=[]),
        replace(answer_run(), key=token_run().key),
        replace(answer_run(), terms=np.ones((3, 6))),
        two_rows(),
        replace(group_deletion_run(), falls=np.ones((3, 2))),
        replace(group_deletion_run(), groups=group_deletion_run().groups[:2]),
        replace(group_deletion_run(), falls=np.ones((0, 3))),
        replace(group_deletion_run(), falls=np.ones((8, 3))),
        *(replace(group_deletion_run(), groups=[*group_deletion_run().groups[:2], g]) for g in no_groups()),
    ],
)
def test_a_result_that_does_not_go_together_is_refused(tmp_path: Path, run: Any) -> None:
    save_run(run, tmp_path / "run.npz")
    with pytest.raises(EqlinError, match="holds no run of eqlin, or is damaged"):
        load_run(tmp_path / "run.npz")


def test_odd_numbers_and_token_strings_survive(tmp_path: Path) -> None:
    run = token_run()
    odd = replace(run, output=np.array([np.inf, -0.0, np.nan, 5e-324]), tokens=["<0xF0>", "\udcf0"])
    save_run(odd, tmp_path / "run.npz")
    assert same(load_run(tmp_path / "run.npz"), odd)


def test_what_was_computed_in_float32_takes_half_the_room_and_comes_back_as_it_was(tmp_path: Path) -> None:
    run = token_run()
    narrow = run.contributions.astype(np.float32).astype(np.float64)
    wide = np.nextafter(narrow, np.inf)
    sizes = []
    for values in (narrow, wide):
        save_run(replace(run, contributions=values), tmp_path / "run.npz")
        back = load_run(tmp_path / "run.npz")
        assert isinstance(back, TokenRun)
        assert back.contributions.dtype == np.float64
        assert np.array_equal(back.contributions, values)
        sizes.append((tmp_path / "run.npz").stat().st_size)
    assert sizes[1] - sizes[0] >= narrow.nbytes // 2 - 64, "what needs float64 is kept in it"


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    save_run(token_run(), tmp_path / "run.npz")
    whole = (tmp_path / "run.npz").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "run.npz").write_bytes(whole[:length])
        with pytest.raises(EqlinError, match="compute the run again"):
            load_run(tmp_path / "run.npz")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EqlinError, match="holds no run"):
        load_run(tmp_path / "none.npz")


@pytest.mark.parametrize(
    "header",
    [
        {"format": files.FORMAT, "run": {"class": "Path", "fields": {}}},
        {"format": files.FORMAT, "run": {"class": "TokenRun", "fields": {"prompt": "x"}}},
        {"format": files.FORMAT, "run": [1, 2]},
        {"format": 999, "run": {}},
        {},
        [],
    ],
)
def test_a_file_with_something_else_is_refused(tmp_path: Path, header: Any) -> None:
    np.savez(tmp_path / "run.npz", header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8))
    with pytest.raises(EqlinError, match="run"):
        load_run(tmp_path / "run.npz")


def test_pickled_objects_are_never_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "run.npz", header=np.array([{"format": files.FORMAT}], dtype=object))
    with pytest.raises(EqlinError, match="holds no run"):
        load_run(tmp_path / "run.npz")


def test_hypothesis_finds_no_file_that_ends_raw() -> None:
    passes_alone("tests/eqlin_core/runs/reading_properties.py", 13)


def npy(header: str, data: bytes = b"") -> bytes:
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def archive(path: Path, **members: bytes) -> Path:
    """A run's file with other members in the place of its own."""
    save_run(token_run(), path)
    with zipfile.ZipFile(path) as whole:
        content = {name: whole.read(name) for name in whole.namelist()}
    with zipfile.ZipFile(path, "w") as changed:
        for name, data in {**content, **{f"{name}.npy": data for name, data in members.items()}}.items():
            changed.writestr(name, data)
    return path


@pytest.mark.parametrize(
    "array",
    [
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}", bytes(32)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (2, -4)}", bytes(64)),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (4,)}", bytes(32)),
        npy("{'descr': '<c16', 'fortran_order': False, 'shape': (4,)}", bytes(64)),
        npy("{'descr': '<U100000000', 'fortran_order': False, 'shape': (4,)}", bytes(32)),
        npy("{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (4,)}", bytes(32)),
        npy("{'descr': '<f8', 'fortran_order': False, 'shape': (5,)}", bytes(40)),
        npy("{'descr': '<f8', 'fortran_order': False}", bytes(32)),
        npy("(" * 100),
        b"",
    ],
)
def test_an_array_that_is_not_what_it_says_takes_no_memory(tmp_path: Path, array: bytes) -> None:
    path = archive(tmp_path / "run.npz", array1=array)
    tracemalloc.start()
    try:
        with pytest.raises(
            EqlinError, match=r"^run\.npz holds no run of eqlin, or is damaged: compute the run again\.$"
        ):
            load_run(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("depth", [1000, 10**6])
def test_text_that_is_nested_without_end_is_refused(tmp_path: Path, depth: int) -> None:
    text = ('{"format": 1, "run": ' + "[" * depth + "]" * depth + "}").encode()
    array = npy(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(text)},)}}", text)
    with pytest.raises(EqlinError, match="holds no run of eqlin"):
        load_run(archive(tmp_path / "run.npz", header=array))


def test_a_packed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "run.npz", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("header.npy", bytes(1 << 28))
    assert (tmp_path / "run.npz").stat().st_size < 1 << 20
    tracemalloc.start()
    try:
        with pytest.raises(EqlinError, match="holds no run of eqlin"):
            load_run(tmp_path / "run.npz")
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("flag", [1 << bit for bit in (0, 5, 6, 11, 13)])
def test_flipped_flags_of_an_archive_are_refused_or_change_nothing(tmp_path: Path, flag: int) -> None:
    save_run(token_run(), tmp_path / "run.npz")
    content = bytearray((tmp_path / "run.npz").read_bytes())
    for sign, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.index(sign) + place
        content[at : at + 2] = struct.pack("<H", struct.unpack("<H", content[at : at + 2])[0] ^ flag)
    (tmp_path / "run.npz").write_bytes(content)
    try:
        assert same(load_run(tmp_path / "run.npz"), token_run())
    except EqlinError as error:
        assert "holds no run of eqlin" in str(error)  # noqa: PT017 - either is right


def test_a_pipe_or_a_folder_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "/dev/zero"):
        with pytest.raises(EqlinError, match="is no file: choose one"):
            load_run(tmp_path / name)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_run(token_run("old"), tmp_path / "run.npz")

    def full(*_args: Any, **_kwargs: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(EqlinError, match="No space left"):
        save_run(token_run("new"), tmp_path / "run.npz")
    assert [file.name for file in tmp_path.iterdir()] == ["run.npz"]
    assert same(load_run(tmp_path / "run.npz"), token_run("old"))


def test_a_store_gives_back_what_was_put_under_the_same_key_alone(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    assert store.get(("tokens", "a")) is None
    store.put(("tokens", "a"), token_run("a"))
    assert same(store.get(("tokens", "a")), token_run("a"))
    assert store.get(("tokens", "b")) is None


def test_another_version_of_the_engine_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RunStore(tmp_path)
    store.put("a", token_run("a"))
    monkeypatch.setattr(files, "engine_fingerprint", lambda: "another")
    assert store.get("a") is None


def test_a_damaged_file_is_not_there_and_is_removed(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.put("a", token_run("a"))
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"damaged")
    assert store.get("a") is None
    assert not file.exists()


def test_the_least_recently_used_run_makes_room(tmp_path: Path) -> None:
    save_run(token_run("a"), tmp_path / "size.npz")
    size = (tmp_path / "size.npz").stat().st_size
    store = RunStore(tmp_path / "runs", limit=5 * size + 100)
    for age, name in enumerate("abcde"):
        store.put(name, token_run(name))
        file = max((tmp_path / "runs").iterdir(), key=lambda f: f.stat().st_mtime)
        os.utime(file, (1000 + age, 1000 + age))
    assert store.get("a") is not None, "now the most recently used"
    store.put("f", token_run("f"))
    assert [name for name in "abcdef" if store.get(name) is None] == ["b"]


def test_a_run_too_big_for_the_store_is_not_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path, limit=1000)
    store.put("a", token_run("a"))
    assert store.get("a") is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_in_a_store_is_swept_at_the_next_start_and_counts_until_then(tmp_path: Path) -> None:
    save_run(token_run("a"), tmp_path / "size.npz")
    size = (tmp_path / "size.npz").stat().st_size
    folder = tmp_path / "runs"
    store = RunStore(folder, limit=6 * size)
    store.put("a", token_run("a"))
    living = folder / disk._part_name()
    living.write_bytes(bytes(6 * size))
    store.put("b", token_run("b"))
    assert store.get("a") is None, "no room beside what is being written"
    dead = folder / living.name.replace(f"-{os.getpid()}-", "-4194999-")
    living.rename(dead)
    RunStore(folder)
    assert not dead.exists()


def test_a_store_that_cannot_write_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = RunStore(tmp_path / "file" / "runs")
    store.put("a", token_run("a"))
    assert store.get("a") is None


def test_reading_a_run_needs_no_torch(tmp_path: Path) -> None:
    save_run(token_run(), tmp_path / "run.npz")
    program = (
        "import sys; from eqlin_core.runs.files import load_run; load_run(sys.argv[1]); "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path / "run.npz"], check=False).returncode == 0
