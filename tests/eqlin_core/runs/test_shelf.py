"""Kept runs in a folder: added to, listed without their answers, marked, and removed when room is needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eqlin_core as eq
from eqlin_core.errors import EqlinError
from eqlin_core.runs.files import load_run, save_run
from eqlin_core.runs.kept import KeptRun
from eqlin_core.runs.shelf import Shelf, id_of
from tests.pages.run_cases import spectrum_run, token_run


def kept(prompt: str = "The bridge", **changes: Any) -> KeptRun:
    run = token_run()
    asked = KeptRun(prompt, "made-up", "float32", "up", "held", False, "2026-01-02T03:04:05+00:00", " only")
    return replace(asked, answers={"tokens-1": run}, **changes)


def test_a_kept_run_comes_back_from_its_file_with_every_answer(tmp_path: Path) -> None:
    run = kept(name="mine", note="a\nb", pinned=True)
    run = replace(run, answers=run.answers | {"spectra-1": spectrum_run(token_run())})
    save_run(run, tmp_path / "run.npz")
    found = eq.load_run(tmp_path / "run.npz")
    assert isinstance(found, KeptRun)
    assert (found.name, found.note, found.pinned, found.prompt) == ("mine", "a\nb", True, "The bridge")
    assert found.tokens is not None
    assert found.spectra is not None
    np.testing.assert_array_equal(found.tokens.contributions, token_run().contributions)
    np.testing.assert_array_equal(found.spectra.S, spectrum_run(token_run()).S)


def test_answers_to_the_same_analysis_are_added_to_its_file(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    first = shelf.put(kept())
    shelf.change(first, name="mine", pinned=True)
    again = replace(kept(), answers={"spectra-1": spectrum_run(token_run())}, made="later", predicted="")
    assert shelf.put(again) == first
    found = shelf.get(first)
    assert found is not None
    assert set(found.answers) == {"tokens-1", "spectra-1"}
    assert (found.name, found.pinned, found.made, found.predicted) == ("mine", True, kept().made, " only")
    assert shelf.put(kept("Another")) != first
    assert id_of(kept()) == id_of(kept(name="b", note="c", pinned=True)) != id_of(kept(begin=True))


def test_the_list_is_of_what_was_asked_the_latest_first_and_leaves_out_what_cannot_be_read(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    ids = [shelf.put(kept(prompt)) for prompt in ("one", "two")]
    (tmp_path / "0123456789abcdef.npz").write_bytes(b"damaged")
    save_run(token_run(), tmp_path / "fedcba9876543210.npz")
    entries = shelf.entries()
    assert {entry.id for entry in entries} == set(ids)
    assert all(entry.run.answers == {} and entry.size > 1000 for entry in entries)
    assert [entry.used for entry in entries] == sorted((entry.used for entry in entries), reverse=True)
    assert {entry.run.prompt for entry in entries} == {"one", "two"}
    assert Shelf(tmp_path / "nothing there").entries() == []


def test_the_oldest_that_is_not_pinned_goes_when_room_is_needed(tmp_path: Path) -> None:
    import os

    size = len_of(tmp_path)
    shelf = Shelf(tmp_path, limit=int(2.5 * size))
    ids = []
    for age, prompt in enumerate(("pinned", "old", "new")):
        ids.append(shelf.put(kept(prompt)))
        os.utime(tmp_path / f"{ids[-1]}.npz", (1e9 + age, 1e9 + age))
        if prompt == "pinned":
            shelf.change(ids[0], pinned=True)
            os.utime(tmp_path / f"{ids[0]}.npz", (1e9, 1e9))
    assert {entry.run.prompt for entry in shelf.entries()} == {"pinned", "new"}


def len_of(folder: Path) -> int:
    path = folder / "measure" / "run.npz"
    save_run(kept(), path)
    return path.stat().st_size


@pytest.mark.parametrize("id", ["", "../../etc/passwd", "0" * 15, "g" * 16, "0" * 16])
def test_what_is_not_there_is_none_and_no_path_leads_out_of_the_folder(tmp_path: Path, id: str) -> None:
    shelf = Shelf(tmp_path)
    assert shelf.get(id) is None
    with pytest.raises(EqlinError, match="not there any more"):
        shelf.change(id, name="x")


def test_a_run_is_taken_away_once(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    id = shelf.put(kept())
    shelf.remove(id)
    shelf.remove(id)
    assert shelf.get(id) is None
    assert shelf.entries() == []


OTHER = replace(token_run(), key=replace(token_run().key, token_ids=(9, 8, 7)))
IN_SUMMARY = ({"gated_path": "sideways"}, {"made": "yesterday"}, {"dtype": "float7"})


@pytest.mark.parametrize(
    "changes", [*IN_SUMMARY, {"answers": {"a": OTHER, "b": token_run()}}], ids=lambda changes: next(iter(changes))
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    id = "0" * 16
    save_run(replace(kept(), **changes), tmp_path / f"{id}.npz")
    with pytest.raises(EqlinError, match="holds no run of eqlin, or is damaged"):
        load_run(tmp_path / f"{id}.npz")
    assert Shelf(tmp_path).get(id) is None
    assert (Shelf(tmp_path).entries() == []) is (changes in IN_SUMMARY), "answers are not read for the list"
