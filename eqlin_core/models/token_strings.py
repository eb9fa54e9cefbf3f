"""The text that each token of a vocabulary stands for on its own."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from typing import Any


def token_strings(tokenizer: Any | None, ids: Sequence[int]) -> list[str]:
    """The text of each token on its own; bytes that are no text read <0xE2>, tokens without a text of theirs <17>."""
    if tokenizer is None:
        return [f"<{int(i)}>" for i in ids]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    byte_level = "ByteLevel" in repr(getattr(backend, "decoder", None))
    added = tokenizer.added_tokens_decoder
    pieces = tokenizer.convert_ids_to_tokens([int(i) for i in ids])
    strings = []
    for i, piece in zip(ids, pieces, strict=True):
        if piece is None:
            strings.append(f"<{int(i)}>")
        elif byte_level:
            strings.append(piece if int(i) in added else _byte_level_text(piece))
        elif match := re.fullmatch(r"<0x([0-9A-F]{2})>", piece):
            strings.append(_text(bytes.fromhex(match[1])))
        else:
            strings.append(piece.replace("▁", " "))
    return strings


def _bytes_as_hex(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(f"<0x{byte:02X}>" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("eqlin_hex", _bytes_as_hex)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="eqlin_hex")


def _byte_alphabet() -> dict[str, int]:
    # Byte-level BPE writes a byte as one visible character: printable Latin-1 as itself, the others from U+0100 on.
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(0x100 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _byte_level_text(piece: str) -> str:
    if not set(piece) <= _BYTE_OF.keys():
        return piece
    return _text(bytes(_BYTE_OF[character] for character in piece))
