"""Which prompts a study is of: a list that comes with eqlin, or a file that was uploaded."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock

from eqlin_core.errors import EqlinError

# The lists, as people choose them; the first is what page Study opens with.
LISTS = {
    "marin-100": "100 short phrases",
    "facts": "facts and everyday knowledge",
    "agreement": "subject and verb",
    "copy": "repeated words",
    "patterns": "patterns of many kinds",
    "paragraphs": "longer texts",
}
UPLOADS, UPLOAD_BYTES = 32, 32 << 20
_lock = Lock()
_contents: OrderedDict[str, bytes] = OrderedDict()  # of what was uploaded to this server last, by digest


@dataclass(frozen=True)
class Source:
    """A list by its name, or an uploaded file by its name and digest; ``first``: only so many of its prompts."""

    name: str
    digest: str = ""
    first: int | None = None

    def __str__(self) -> str:
        return self.name


def keep_upload(name: str, content: bytes) -> Source:
    """The source that an uploaded file is; the oldest are forgotten when room is needed."""
    digest = sha256(content).hexdigest()
    with _lock:  # of visitors at once
        _contents[digest] = content
        _contents.move_to_end(digest)
        while len(_contents) > UPLOADS or (len(_contents) > 1 and sum(map(len, _contents.values())) > UPLOAD_BYTES):
            _contents.popitem(last=False)
    return Source(name, digest)


def content_of(source: Source) -> bytes:
    """The uploaded file. Raises EqlinError for one that is forgotten."""
    content = _contents.get(source.digest)
    if content is None:
        raise EqlinError(f"The file {source.name} is not here any more: choose it again.")
    return content
