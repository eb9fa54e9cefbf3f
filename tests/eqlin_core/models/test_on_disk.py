"""What lies in the caches is listed with its bytes and weights, without torch, and deleted from there alone."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled, sealed
from eqlin_core.models.on_disk import Copy, delete, on_disk
from tests.eqlin_core.models.disk_cases import cached


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "eqlin"))
    return tmp_path / "hub"


def test_nothing_lies_in_caches_that_are_not_there(cache: Path) -> None:
    assert on_disk() == {}


def test_every_file_counts_once_and_weights_are_counted_in_the_headers(cache: Path) -> None:
    cached(cache, "someone/own", 1000)
    cached(cache, "Qwen/Qwen3-4B", 3000, whole=False)
    cached(cache, "someone/packed", 10, config='{"quantization_config": {}}')
    found = on_disk()
    assert list(found) == ["qwen3-4b", "someone/own", "someone/packed"], "presets by their names, the biggest first"
    own, part, packed = found["someone/own"], found["qwen3-4b"], found["someone/packed"]
    assert (own.whole, own.parameters) == (True, 1000)
    assert 2000 < own.nbytes < 2200
    assert (part.whole, part.parameters) == (False, None)
    assert (packed.whole, packed.parameters) == (True, None), "of a quantised model the header counts something else"


def test_what_is_damaged_is_not_whole_and_hides_nothing_else(cache: Path) -> None:
    (cached(cache, "someone/bare") / "refs" / "main").unlink()
    (cached(cache, "someone/odd") / "refs" / "main").write_bytes(b"\xff\0")
    (cached(cache, "someone/cut") / "blobs" / ("b" * 64)).write_bytes(b"cut")
    (cache / "models--a-file").touch()
    (cache / "datasets--someone--data").mkdir()
    found = on_disk()
    assert {name: (copy.whole, copy.parameters) for name, copy in found.items()} == {
        "someone/bare": (False, None),
        "someone/odd": (False, None),
        "someone/cut": (True, None),
    }


def test_the_default_is_whole_with_its_seal_and_comes_first(cache: Path) -> None:
    cached(cache, "someone/own", 1000)
    folder = bundled.final_directory()
    folder.mkdir(parents=True)
    assert not on_disk()[bundled.NAME].whole
    (folder / sealed.MANIFEST).write_text("{}")
    assert list(on_disk()) == [bundled.NAME, "someone/own"]
    copy = on_disk()[bundled.NAME]
    assert copy.whole
    delete(copy)
    assert not folder.exists()


def test_deleting_takes_this_model_and_nothing_else(cache: Path) -> None:
    gone, stays = cached(cache, "someone/gone"), cached(cache, "someone/stays")
    copy = on_disk()["someone/gone"]
    delete(copy)
    assert (gone.exists(), stays.exists()) == (False, True)
    delete(copy)  # another one was faster


@pytest.mark.parametrize("where", ["hub", "hub/datasets--x", "hub/models--x/snapshots", ".", "elsewhere/models--x"])
def test_no_other_folder_is_deleted(cache: Path, where: str) -> None:
    folder = cache.parent / where
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.raises(EqlinError, match="by hand"):
        delete(Copy("x", folder, 1, whole=True))
    assert folder.is_dir()


def test_what_cannot_be_deleted_is_said(cache: Path) -> None:
    folder = cached(cache, "someone/own")
    link = folder.rename(cache / "elsewhere") and folder
    link.symlink_to(cache / "elsewhere")
    copy = replace(on_disk()["someone/own"], folder=link)
    with pytest.raises(EqlinError, match="someone/own cannot be deleted"):
        delete(copy)
    assert (cache / "elsewhere" / "blobs").is_dir()


def test_listing_loads_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from eqlin_core.models.names import check_name; from eqlin_core.models.on_disk import on_disk; "
        "check_name('qwen3-4b'); on_disk(); print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
