"""Fetching a model from the Hugging Face hub into the hub's own cache, in a process that can be stopped."""

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from eqlin_core.errors import EqlinError
from eqlin_core.models import bundled
from eqlin_core.models.checkpoints import Wanted, require_memory
from eqlin_core.models.child_process import POLL_SECONDS, run_child
from eqlin_core.models.files import size_text, weight_files
from eqlin_core.models.names import require_hub_id
from eqlin_core.progress import Progress, report

# A lookup on the hub that takes longer counts as no network; the hub's own retries would take half a minute.
HUB_SECONDS = 12.0


T = TypeVar("T")


def hub_directory(
    hub_id: str,
    wanted: Wanted,
    revision: str | None,
    hint: str,
    progress: Progress | None,
    *,
    to_load: bool = True,
) -> tuple[Path, str]:
    """The folder that holds the hub's model, downloaded if need be, and its commit; `hint` guesses at a typo.

    What is fetched `to_load` it now must fit into the memory.

    Without a network what was downloaded before is used. Raises EqlinError with one sentence.
    """
    from huggingface_hub import HfApi, errors  # noqa: PLC0415

    require_hub_id(hub_id, wanted.name)

    def ask() -> Any:
        return HfApi().model_info(hub_id, revision=revision, files_metadata=True, timeout=HUB_SECONDS)

    try:
        info = _in_thread(ask, progress, f"Asking the Hugging Face hub for {hub_id}")
    except EqlinError:
        raise
    except errors.GatedRepoError as error:
        raise EqlinError(_gated(hub_id)) from error
    except errors.RevisionNotFoundError as error:
        raise EqlinError(f"{hub_id} has no revision {revision!r}: give a branch, tag or commit of it.") from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise EqlinError(
            f"The hub shows no model {hub_id!r}{hint}: check the spelling, or `hf auth login` if it is private."
        ) from error
    except Exception as error:
        if directory := _cached(hub_id, revision):
            return directory, directory.name
        raise EqlinError(
            f"{hub_id!r} is not on this machine{hint} and the Hugging Face hub cannot be reached: "
            f"connect to the network, or choose {bundled.NAME!r} or a folder."
        ) from error
    sizes = {file.rfilename: int(file.size or 0) for file in info.siblings}
    needed = _needed_files(sizes, hub_id)
    if to_load and not (info.config or {}).get("quantization_config"):
        # Four bytes a weight at most: a bound that never refuses what would fit.
        stored = sum(size for file, size in needed.items() if file.endswith(".safetensors")) // 4
        require_memory(info.safetensors.total if info.safetensors else stored, wanted)
    _fetch(hub_id, revision, info.sha, needed, progress)
    directory = _cached(hub_id, info.sha) or _cached(hub_id, revision)
    if directory is None:
        raise EqlinError(f"The download of {hub_id} is incomplete: try again.")
    return directory, directory.name


def _needed_files(sizes: dict[str, int], hub_id: str) -> dict[str, int]:
    top = {file: size for file, size in sizes.items() if "/" not in file}
    if "config.json" not in top:
        raise EqlinError(f"{hub_id} has no config.json, so it is no transformers model: choose another.")
    weights = [file for file in top if re.fullmatch(r"model(-\d+-of-\d+)?\.safetensors", file)]
    if "model.safetensors" in weights:
        weights = ["model.safetensors"]
    if not weights:
        raise EqlinError(f"{hub_id} has no safetensors weights, the only ones that eqlin reads: choose another model.")
    beside = (".json", ".model", ".txt", ".jinja", ".tiktoken")
    return {file: size for file, size in top.items() if file in weights or file.endswith(beside)}


def _cached(hub_id: str, revision: str | None) -> Path | None:
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415

    config_file = try_to_load_from_cache(hub_id, "config.json", revision=revision, cache_dir=constants.HF_HUB_CACHE)
    if not isinstance(config_file, str):
        return None
    with contextlib.suppress(EqlinError):
        weight_files(Path(config_file).parent, hub_id)
        return Path(config_file).parent
    return None


def _fetch(hub_id: str, revision: str | None, commit: str, needed: dict[str, int], progress: Progress | None) -> None:
    from huggingface_hub import constants, try_to_load_from_cache  # noqa: PLC0415

    cache = Path(constants.HF_HUB_CACHE)

    def is_missing(file: str) -> bool:
        return not isinstance(try_to_load_from_cache(hub_id, file, revision=commit, cache_dir=cache), str)

    total = sum(size for file, size in needed.items() if is_missing(file))
    if not any(map(is_missing, needed)):
        return
    existing = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if shutil.disk_usage(existing).free < total:
        raise EqlinError(_too_full(hub_id, total))
    blobs = cache / f"models--{hub_id.replace('/', '--')}" / "blobs"
    before = _bytes_in(blobs)

    def on_poll() -> int:
        done = _bytes_in(blobs) - before
        report(
            progress, min(done / max(total, 1), 1.0), f"Downloading {hub_id}, {size_text(done)} of {size_text(total)}"
        )
        return done

    # In a process of its own a download can be stopped at once; its retries are cut short by run_child.
    program = (
        "import sys; from huggingface_hub import snapshot_download; "
        "snapshot_download(sys.argv[1], revision=sys.argv[2], cache_dir=sys.argv[3], allow_patterns=sys.argv[4:])"
    )
    command = [sys.executable, "-P", "-c", program, hub_id, revision or constants.DEFAULT_REVISION, str(cache), *needed]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "download.log"
        try:
            failed = run_child(command, log, on_poll, os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"})
        except TimeoutError:
            failed = 1
        text = log.read_text(errors="replace")
    if failed and "GatedRepoError" in text:
        raise EqlinError(_gated(hub_id))
    if failed and ("No space left" in text or os.strerror(errno.ENOSPC) in text):
        raise EqlinError(_too_full(hub_id, total))
    if failed:
        raise EqlinError(f"The download of {hub_id} broke off: check the network and try again.")


def _bytes_in(folder: Path) -> int:
    done = 0
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):  # finished files are renamed while we look
            done += path.stat().st_size
    return done


def _in_thread(call: Callable[[], T], progress: Progress | None, message: str) -> T:
    """What `call` returns or raises; TimeoutError after HUB_SECONDS (name lookup obeys no time-out of its own)."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    deadline = time.monotonic() + HUB_SECONDS
    while time.monotonic() < deadline:
        report(progress, None, message)
        thread.join(POLL_SECONDS)
        if errors:
            raise errors[0]
        if results:
            return results[0]
    raise TimeoutError(message)


def _gated(hub_id: str) -> str:
    return f"{hub_id} is gated: accept its terms on its hub page, log in with `hf auth login`, and load it again."


def _too_full(hub_id: str, total: int) -> str:
    return f"The disk is too full for {hub_id}: free {size_text(total)}, or set HF_HOME to a folder on a larger disk."
