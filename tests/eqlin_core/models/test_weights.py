"""Weights that changed on the disk are found by their checksums, in the background, and fetched again on request."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from eqlin_core.errors import Cancelled, EqlinError
from eqlin_core.models import bundled, sealed, weights
from eqlin_core.models.weights import WeightsCheck, checksums, discard_weights, folder_of, is_due, verify_weights

CHANGED = "The weights on the disk have changed since they were fetched (model.safetensors): fetch the model again."


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sealed folder with 3 MB of weights, and a cache of its own."""
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(os.urandom(3_000_000))
    sealed.seal(folder, {"layout": 1})
    return folder


def flip_a_bit(file: Path) -> None:
    """As a failing disk does: another content, and size and time as they were."""
    status = file.stat()
    with file.open("r+b") as opened:
        opened.seek(1_234_567)
        (byte,) = opened.read(1)
        opened.seek(1_234_567)
        opened.write(bytes([byte ^ 4]))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_whole_weights_are_right_and_a_flipped_bit_is_found_that_size_and_time_do_not_show(copy: Path) -> None:
    assert verify_weights(copy) is None
    flip_a_bit(copy / "model.safetensors")
    assert sealed.is_intact(copy, {"layout": 1}, needed="config.json"), "a start does not read 500 MB"
    assert verify_weights(copy) == CHANGED


@pytest.mark.parametrize("damage", ["shorter", "gone", "longer"])
def test_weights_that_are_shorter_longer_or_gone_have_changed(copy: Path, damage: str) -> None:
    file = copy / "model.safetensors"
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] if damage == "shorter" else file.read_bytes() + b"x")
    assert verify_weights(copy) == CHANGED


def test_a_copy_is_read_once_a_day_and_when_it_has_changed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_due(copy)
    verify_weights(copy)
    assert not is_due(copy)
    os.utime(copy / "model.safetensors", (1, 1))
    assert is_due(copy)
    verify_weights(copy)
    assert not is_due(copy)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 25 * 3600)
    assert is_due(copy)
    monkeypatch.setattr(time, "time", lambda: now - 3600)
    assert is_due(copy), "a clock that was set back says nothing"


def test_damage_is_not_written_down_as_right(copy: Path) -> None:
    flip_a_bit(copy / "model.safetensors")
    verify_weights(copy)
    assert is_due(copy)


@pytest.mark.parametrize("record", [b"", b"[]", b"[" * 10**5, b'{"at": "x"}', b'{"at": 1e400, "files": []}'])
def test_a_damaged_record_means_that_nothing_was_read(copy: Path, tmp_path: Path, record: bytes) -> None:
    verify_weights(copy)
    (file,) = (tmp_path / "cache" / "verified").iterdir()
    file.write_bytes(record)
    assert is_due(copy)


def test_a_cache_that_cannot_be_written_changes_no_verdict(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQLIN_CACHE", str(copy / "config.json" / "cache"))
    assert verify_weights(copy) is None
    flip_a_bit(copy / "model.safetensors")
    assert verify_weights(copy) == CHANGED


def test_files_of_the_hubs_cache_are_named_by_their_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "cache"))
    content = os.urandom(2_000_000)
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    blob = blobs / hashlib.sha256(content).hexdigest()
    blob.write_bytes(content)
    (blobs / ("a" * 40)).write_text("{}")  # small files are named by what git calls them
    (snapshot / "model.safetensors").symlink_to(blob)
    (snapshot / "config.json").symlink_to(blobs / ("a" * 40))
    assert list(checksums(snapshot)) == [snapshot / "model.safetensors"]
    assert verify_weights(snapshot) is None
    flip_a_bit(blob)
    assert verify_weights(snapshot) == CHANGED
    discard_weights(snapshot)
    assert not blob.exists()
    assert not (snapshot / "model.safetensors").is_symlink()
    assert (snapshot / "config.json").exists()


def test_a_folder_without_checksums_is_never_touched(folder: Path) -> None:
    assert checksums(folder) == {}
    assert not is_due(folder)
    assert verify_weights(folder) is None
    before = sorted(folder.iterdir())
    with pytest.raises(EqlinError, match="is no copy that eqlin fetched"):
        discard_weights(folder)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("text", ["", "[]", "[" * 10**5, '{"files": 3}', '{"files": {"a": 1}}'])
def test_a_damaged_manifest_has_no_checksums(copy: Path, text: str) -> None:
    (copy / sealed.MANIFEST).write_text(text)
    assert checksums(copy) == {}


def test_a_manifest_leads_to_no_file_of_another_folder(copy: Path) -> None:
    (copy / sealed.MANIFEST).write_text(json.dumps({"files": {"../../secret": {"sha256": "0" * 64}}}))
    assert list(checksums(copy)) == [copy / "secret"]


def test_the_check_reports_and_can_be_cancelled(copy: Path) -> None:
    fractions: list[float] = []
    verify_weights(copy, lambda fraction, _message: fractions.append(fraction))
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with pytest.raises(Cancelled):
        verify_weights(copy, lambda fraction, _message: fraction < 0.5)


def test_the_background_check_finds_damage_and_says_so(copy: Path) -> None:
    assert WeightsCheck(copy).start().wait(20) == "intact"
    assert WeightsCheck(copy).start().wait(20) == "unknown", "read today"
    flip_a_bit(copy / "model.safetensors")
    os.utime(copy / "model.safetensors")
    check = WeightsCheck(copy).start()
    assert check.wait(20) == "changed"
    assert check.sentence == CHANGED


def test_the_background_check_is_slow_on_purpose_and_ends_when_it_is_told_to(copy: Path) -> None:
    check = WeightsCheck(copy, pace=2e6)
    began = time.monotonic()
    check.start()
    time.sleep(0.3)
    assert check.state == "reading", "1.5 s at this pace"
    check.stop()
    assert check.wait(5) == "unknown"
    assert time.monotonic() - began < 1.4
    assert WeightsCheck(None).start().wait(5) == "unknown"


def test_a_fresh_copy_of_the_default_model_counts_as_read_and_damage_is_fetched_again(
    quick_conversion: None, cache: Path
) -> None:
    directory = bundled.bundled_directory()
    assert not is_due(directory), "its checksums were taken a moment ago"
    whole = (directory / "model.safetensors").read_bytes()
    with (directory / "model.safetensors").open("r+b") as file:
        file.write(b"damaged")
    sentence = verify_weights(directory)
    assert sentence == CHANGED
    discard_weights(directory)
    assert (bundled.bundled_directory() / "model.safetensors").read_bytes() == whole
    assert verify_weights(directory) is None


def test_the_folder_of_a_model_is_where_it_was_read_from(folder: Path) -> None:
    from eqlin_core.models.loading import load_model
    from tests.cases import llama

    assert folder_of(load_model(folder)) == folder
    assert folder_of(llama()) is None


def test_what_the_check_imports_needs_no_torch() -> None:
    assert "torch" not in Path(weights.__file__).read_text()
