"""Lenses in files: the same when they come back, of the published layout too, and a sentence for what is damaged."""

from __future__ import annotations

import json
import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import eqlin_core as eq
from eqlin_core.audit.families import tiny_model
from tests.cases import relative
from tests.eqlin_core.lenses.lens_cases import fitted, shared


def header(**changed: Any) -> dict[str, str]:
    facts = {
        f.name: getattr(fitted(), f.name) for f in fields(eq.Lens) if f.name not in ("matrices", "squares", "changes")
    }
    return {"format": "eqlin lens", "version": "1", "lens": json.dumps(facts | changed)}


def arrays(**changed: torch.Tensor) -> dict[str, torch.Tensor]:
    lens = fitted()
    assert lens.squares is not None
    return {"matrices": lens.matrices, "squares": lens.squares, "changes": lens.changes} | changed


def test_a_saved_lens_is_the_same_lens(tmp_path: Path) -> None:
    path = tmp_path / "lens.safetensors"
    fitted().save(path)
    loaded = eq.load_lens(path, shared())
    for field in fields(eq.Lens):
        ours, theirs = getattr(fitted(), field.name), getattr(loaded, field.name)
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs, field.name
    assert repr(loaded) == repr(fitted())
    assert relative(eq.merge_lenses([loaded, loaded]).matrices, fitted().matrices) < 1e-7
    assert [file.name for file in tmp_path.iterdir()] == ["lens.safetensors"]


def test_half_precision_takes_half_of_the_room_and_says_so(tmp_path: Path) -> None:
    fitted().save(tmp_path / "whole")
    fitted().save(tmp_path / "half", dtype="float16")
    loaded = eq.load_lens(tmp_path / "half")
    assert (loaded.stored, loaded.matrices.dtype) == ("float16", torch.float32)
    assert 1e-6 < relative(loaded.matrices, fitted().matrices) < 1e-3
    sizes = [(tmp_path / name).stat().st_size for name in ("whole", "half")]
    assert sizes[0] - sizes[1] >= fitted().matrices.numel() * 2 - 64
    loaded.save(tmp_path / "again")
    assert eq.load_lens(tmp_path / "again").stored == "float16"
    with pytest.raises(eq.EqlinError, match="float16 does not reach: save it in float32"):
        replace(fitted(), matrices=fitted().matrices * 1e6).save(tmp_path / "half", dtype="float16")
    assert eq.load_lens(tmp_path / "half").stored == "float16"


def test_the_published_layout_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lens.pt"
    J = {layer: torch.randn(32, 32).half() for layer in (1, 0)}
    torch.save({"J": J, "n_prompts": 12, "source_layers": [0, 1], "d_model": 32}, path)
    lens = eq.load_lens(path, shared())
    assert lens.layers == [0, 1]
    assert torch.equal(lens.matrices[1], J[1].float())
    assert (lens.prompts, lens.kind, lens.positions, lens.model) == (12, "unrecorded", "unrecorded", "")
    assert lens.stored == "float16"
    h = torch.randn(3, 32)
    assert torch.equal(lens.transport(0, h), h @ J[0].float().T)
    with pytest.raises(eq.EqlinError, match="keeps no spread"):
        assert lens.spread is None
    lens.save(tmp_path / "own")
    assert torch.equal(eq.load_lens(tmp_path / "own").matrices, lens.matrices)
    assert eq.load_lens(tmp_path / "own").squares is None
    assert eq.read_lens(shared(), token_ids=[5, 6, 7], lens=lens).read == "unrecorded"


class _Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_a_file_that_holds_code_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"J": {0: torch.zeros(2, 2)}, "n_prompts": _Code()}, tmp_path / "code.pt")
    (tmp_path / "old.pt").write_bytes(pickle.dumps(_Code(), protocol=2))
    for name in ("code.pt", "old.pt"):
        with pytest.raises(eq.EqlinError, match=f"{name} holds more than numbers, or is damaged, and is not read"):
            eq.load_lens(tmp_path / name)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "is no lens of the published layout"),
        ({"J_sum": {0: torch.zeros(2, 2)}}, "is no lens of the published layout"),
        ({"J": {0: torch.zeros(2, 3)}, "n_prompts": 1}, "do not agree"),
        ({"J": {0: torch.zeros(2, 2), 1: torch.zeros(3, 3)}, "n_prompts": 1}, "do not agree"),
        ({"J": {"0": torch.zeros(2, 2)}, "n_prompts": 1}, "do not agree"),
        ({"J": {0: torch.zeros(2, 2)}}, "do not agree"),
        ({"J": {0: torch.zeros(2, 2)}, "n_prompts": 0}, "do not agree"),
        ({"J": {0: torch.zeros(2, 2)}, "n_prompts": 1, "d_model": 3}, "do not agree"),
        ({"J": {0: torch.zeros(2, 2)}, "n_prompts": 1, "source_layers": [1]}, "do not agree"),
        ({"J": {0: torch.full((2, 2), torch.nan)}, "n_prompts": 1}, "not finite"),
    ],
)
def test_a_damaged_file_of_the_published_layout_says_what_is_wrong(tmp_path: Path, content: Any, said: str) -> None:
    torch.save(content, tmp_path / "lens.pt")
    with pytest.raises(eq.EqlinError, match=said):
        eq.load_lens(tmp_path / "lens.pt")


def test_files_that_hold_no_lens_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lens"
    with pytest.raises(eq.EqlinError, match="cannot be read"):
        eq.load_lens(path)
    fitted().save(path)
    whole = path.read_bytes()
    for data in (b"", b"no lens", whole[:-1], whole[:200], b"PK\x03\x04 cut"):
        path.write_bytes(data)
        with pytest.raises(eq.EqlinError, match=r"lens (is damaged or no|holds more than numbers, or is damaged)"):
            eq.load_lens(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(eq.EqlinError, match="holds no lens"):
        eq.load_lens(path)
    save_file(arrays(), path, metadata=header() | {"version": "2"})
    with pytest.raises(eq.EqlinError, match="is of version '2' of the format and this eqlin reads 1"):
        eq.load_lens(path)
    for missing in ("matrices", "changes"):
        save_file({name: t for name, t in arrays().items() if name != missing}, path, metadata=header())
        with pytest.raises(eq.EqlinError, match=f"has no tensor '{missing}'"):
            eq.load_lens(path)
    with pytest.raises(eq.EqlinError, match="cannot be written"):
        fitted().save(tmp_path / "no folder" / "lens")


@pytest.mark.parametrize(
    ("facts", "tensors", "said"),
    [
        ({"layers": [0]}, {}, "do not agree"),
        ({"layers": [1, 0]}, {}, "do not agree"),
        ({"layers": [0, True]}, {}, "do not agree"),
        ({"prompts": 0}, {}, "do not agree"),
        ({"prompts": "4"}, {}, "do not agree"),
        ({"prompt_digests": [1]}, {}, "do not agree"),
        ({"left_out": -1}, {}, "do not agree"),
        ({}, {"matrices": torch.zeros(2, 32, 31)}, "do not agree"),
        ({}, {"matrices": torch.zeros(3, 32, 32)}, "do not agree"),
        ({}, {"changes": torch.zeros(4, 3, dtype=torch.float64)}, "do not agree"),
        ({}, {"squares": torch.full((2,), torch.nan, dtype=torch.float64)}, "do not agree"),
        ({}, {"matrices": torch.full((2, 32, 32), torch.nan)}, "not finite"),
    ],
)
def test_a_file_whose_parts_contradict_each_other_is_refused(
    tmp_path: Path, facts: dict[str, Any], tensors: dict[str, torch.Tensor], said: str
) -> None:
    save_file(arrays(**tensors), tmp_path / "lens", metadata=header(**facts))
    with pytest.raises(eq.EqlinError, match=said):
        eq.load_lens(tmp_path / "lens")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"hidden_size": 16, "head_dim": 4}, "its width is 32, the model's 16"),
        ({"num_hidden_layers": 2}, "it is of 3 blocks, the model has 2"),
        ({}, "it was fitted with tiny llama, revision unsaved"),
    ],
)
def test_a_lens_of_another_model_is_refused_with_the_reason(other: dict[str, int], reason: str) -> None:
    lm = tiny_model("llama" if other else "qwen3", **other)  # type: ignore[arg-type]
    with pytest.raises(eq.EqlinError, match=f"The lens does not fit {lm.name}: {reason}; fit one with this model"):
        eq.read_lens(lm, token_ids=[5, 6], lens=fitted())
