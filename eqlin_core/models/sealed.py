"""A folder that is sealed with a manifest, so that a half-written or changed one is never taken for whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eqlin_core.disk import read_file, sync, write_whole
from eqlin_core.errors import EqlinError

MANIFEST = "manifest.json"
MOST = 1 << 20  # bytes of a manifest


def is_intact(directory: Path, contents: Mapping[str, Any], needed: str) -> bool:
    """Whether the folder holds every file of its manifest unchanged, is of these ``contents``, and has ``needed``.

    Sizes and times are compared; contents are hashed only where a time differs (a cache that was copied or restored).
    """
    try:
        manifest = json.loads(read_file(directory / MANIFEST, "The manifest", MOST))
        files = manifest["files"]
        if any(manifest[key] != value for key, value in contents.items()) or needed not in files:
            return False
        for name, wanted in files.items():
            path = directory / name
            status = path.stat()
            if status.st_size != wanted["bytes"]:
                return False
            if status.st_mtime_ns != wanted["mtime_ns"]:
                if sha256(path) != wanted["sha256"]:
                    return False
                with contextlib.suppress(OSError):  # spares the next start the hash
                    os.utime(path, ns=(status.st_atime_ns, wanted["mtime_ns"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, EqlinError):
        return False
    return True


def seal(target: Path, contents: Mapping[str, Any]) -> None:
    """Write the manifest of what is in the folder, and everything in it, to the disk; ``contents`` say what it is."""
    files = {}
    for path in sorted(target.iterdir()):
        sync(path)
        status = path.stat()
        files[path.name] = {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256(path)}
    manifest = {**contents, "files": files}
    write_whole(target / MANIFEST, json.dumps(manifest, indent=2).encode())


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
