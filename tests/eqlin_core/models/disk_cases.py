"""A hub's cache as the hub's client leaves it, with weights of a few bytes that are never read."""

from __future__ import annotations

import json
import struct
from pathlib import Path

COMMIT = "a" * 40


def weights(count: int) -> bytes:
    """A safetensors file of so many weights in 16 bits."""
    header = json.dumps({"w": {"dtype": "F16", "shape": [count], "data_offsets": [0, 2 * count]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(2 * count)


def cached(cache: Path, hub_id: str, count: int = 100, *, whole: bool = True, config: str = "{}") -> Path:
    """A model's folder in the cache, its weights in a blob; without them where it is not ``whole``."""
    folder = cache / f"models--{hub_id.replace('/', '--')}"
    snapshot, blobs = folder / "snapshots" / COMMIT, folder / "blobs"
    for made in (snapshot, blobs, folder / "refs"):
        made.mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (snapshot / "config.json").write_text(config)
    (blobs / ("b" * 64)).write_bytes(weights(count))
    if whole:
        (snapshot / "model.safetensors").symlink_to(blobs / ("b" * 64))
    return folder
