"""Runs in files: the same after reading, never half-written, and never code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eqlin_core import EqlinError
from eqlin_core.runs import files
from eqlin_core.runs.files import RunStore, load_run, save_run
from tests.pages.run_cases import LEAKING, spectrum_run, token_run


def same(one: Any, other: Any) -> bool:
    """Equal to the last bit, in type as well."""
    if type(one) is not type(other):
        return False
    if is_dataclass(one):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("prompt", ["The bridge", "", 'emoji \U0001f30a, a quote " and \n'])
def test_a_run_is_the_same_after_reading(tmp_path: Path, prompt: str) -> None:
    tokens = token_run(prompt, LEAKING)
    for run in (tokens, spectrum_run(tokens), replace(tokens, exactness=None, complete=False)):
        save_run(run, tmp_path / "run.npz")
        assert same(load_run(tmp_path / "run.npz"), run)


def test_odd_numbers_and_token_strings_survive(tmp_path: Path) -> None:
    run = token_run()
    odd = replace(run, output=np.array([np.inf, -0.0, np.nan, 5e-324]), tokens=["<0xF0>", "\udcf0"])
    save_run(odd, tmp_path / "run.npz")
    assert same(load_run(tmp_path / "run.npz"), odd)


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
