"""The prompts of a study: from a file in the formats that people keep them in, or from a list that comes with eqlin."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from eqlin_core import arguments
from eqlin_core.attribution import prompts as known_prompts
from eqlin_core.disk import read_file
from eqlin_core.errors import EqlinError, InvalidValue
from eqlin_core.runs.chat import WRITTEN_ROLES, Message, checked_chat, write_chat

# Lists by name, with the one that they are a part of and the kind of prompt that is meant.
_PARTS = {"agreement": ("patterns", "agreement"), "copy": ("patterns", "induction")}
LISTS = ("marin-100", "agreement", "copy", *known_prompts.LISTS)
FORMATS = (".csv", ".jsonl", ".parquet", ".txt")
_TEXTS, _CHATS, _IDS, _KEYS = ("prompt", "text"), ("chat", "messages"), ("token_ids", "input_ids"), ("key", "id")
_MOST_BYTES, _KEY = 1 << 30, 16


@dataclass(frozen=True)
class StudyPrompt:
    """One prompt of a study: a text, a chat, or token ids; ``key`` names it, ``given`` are its file's other columns."""

    key: str
    text: str = ""
    chat: tuple[Message, ...] | None = None
    token_ids: tuple[int, ...] | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> str:
        """What it is: "text", "chat" or "token ids"."""
        return "token ids" if self.token_ids is not None else "text" if self.chat is None else "chat"

    @property
    def shown(self) -> str:
        """What tables and people see: the text, the written chat, or the ids."""
        if self.token_ids is not None:
            return " ".join(map(str, self.token_ids))
        return self.text if self.chat is None else write_chat(self.chat)


def study_prompts(prompts: str | Path | Iterable[Any]) -> list[StudyPrompt]:
    """Prompts by the name of a list of ``LISTS``, from a file, or as they are given.

    A file is CSV, JSON lines or Parquet, with a column "prompt" (or "text"), "chat" (messages, as JSON in CSV) or
    "token_ids", "key" or "id" if prompts have names of their own, and any others, which are kept; or a text file with a
    prompt a line. A sequence holds texts, chats, lists of token ids, and mappings with those columns, which a data
    frame has as well.
    A prompt without a key has one that is made of what it says, so that it is found again in another order.
    Raises EqlinError, with the line, for what cannot be read, two prompts of one key, and where there is none.
    """
    if isinstance(prompts, str) and prompts in LISTS:
        return _keyed(_of_list(prompts), "the list")
    if hasattr(prompts, "to_dict") and hasattr(prompts, "columns"):  # a data frame
        return _keyed(
            [(f"row {n + 1}", _columns(row)) for n, row in enumerate(prompts.to_dict("records"))], "the data frame"
        )
    if isinstance(prompts, str | Path):
        path = arguments.path("prompts", prompts)
        return _keyed(_of_file(path), path.name)
    given = arguments.several("prompts", prompts, "the name of a list, a file, or a list of prompts", least=1)
    return _keyed([(f"prompt {n + 1}", _columns(one)) for n, one in enumerate(given)], "prompts")


def read_prompts(content: bytes, name: str) -> list[StudyPrompt]:
    """The prompts of a file of this name whose bytes these are, as ``study_prompts`` reads them."""
    return _keyed(_rows_of(content, name), name)


def _of_list(name: str) -> list[tuple[str, dict[str, Any]]]:
    if name == "marin-100":
        text = files(__package__).joinpath("lists", f"{name}.json").read_text(encoding="utf-8")
        return [(f"prompt {n + 1}", entry) for n, entry in enumerate(json.loads(text)["prompts"])]
    whole, kind = _PARTS.get(name, (name, None))
    chosen = [p for p in known_prompts.prompt_list(whole) if kind is None or p.kind == kind]
    return [
        (f"prompt {n + 1}", {"text": p.text, "kind": p.kind} | ({"truth": p.truth} if p.truth else {}))
        for n, p in enumerate(chosen)
    ]


def _of_file(path: Path) -> list[tuple[str, dict[str, Any]]]:
    try:
        content = read_file(path, "The file of prompts", _MOST_BYTES)
    except OSError as error:
        names = ", ".join(LISTS)
        said = error.strerror or type(error).__name__
        raise EqlinError(
            f"{arguments.short(str(path))} cannot be read ({said}), and no list has that name: {names}."
        ) from error
    return _rows_of(content, path.name)


def _rows_of(content: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    """(where it stands, columns) of every prompt."""
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise InvalidValue(f"{arguments.short(name)} is none of {', '.join(FORMATS)}, which prompts are read from.")
    if suffix == ".parquet":
        return _of_parquet(content, name)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise EqlinError(f"{arguments.short(name)} is not UTF-8: save it as that.") from error
    read = {".csv": _of_csv, ".jsonl": _of_json_lines, ".txt": _of_text}[suffix]
    return list(read(text, arguments.short(name)))


def _of_text(text: str, _name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", {"prompt": line.rstrip("\r")}


def _of_csv(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise EqlinError(f"{name}, line {reader.line_num}, has not as many columns as the first line.")
            yield f"line {reader.line_num}", dict(row)
    except csv.Error as error:
        raise EqlinError(f"{name}, line {reader.line_num}, cannot be read as CSV ({error}).") from error


def _of_json_lines(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise EqlinError(f"{name}, line {number}, is no JSON ({arguments.short(str(error))}).") from error
        if not isinstance(row, dict | str):
            raise EqlinError(f"{name}, line {number}, is neither an object nor a text.")
        yield f"line {number}", {"prompt": row} if isinstance(row, str) else row


def _of_parquet(content: bytes, name: str) -> list[tuple[str, dict[str, Any]]]:
    import pyarrow as pa  # noqa: PLC0415 - only who reads such a file waits for it
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        rows = pq.read_table(io.BytesIO(content)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise EqlinError(f"{arguments.short(name)} cannot be read as Parquet.") from error
    return [(f"row {n + 1}", row) for n, row in enumerate(rows)]


def _columns(one: Any) -> dict[str, Any]:
    """A prompt that is given in Python, by columns."""
    if isinstance(one, StudyPrompt):
        own = {"key": one.key, **one.given}
        if one.token_ids is not None:
            return own | {"token_ids": list(one.token_ids)}
        return own | ({"prompt": one.text} if one.chat is None else {"chat": list(one.chat)})
    if isinstance(one, str):
        return {"prompt": one}
    if isinstance(one, Mapping):
        return {str(name): value for name, value in one.items()}
    if isinstance(one, Sequence) and one and isinstance(one[0], Mapping):
        return {"chat": list(one)}
    return {"token_ids": arguments.several("A prompt", one, "a text, a chat or token ids", least=1)}


def _keyed(rows: Sequence[tuple[str, dict[str, Any]]], where: str) -> list[StudyPrompt]:
    if not rows:
        raise InvalidValue(f"There is no prompt in {arguments.short(where)}.")
    found, made = [], Counter[str]()
    seen: dict[str, str] = {}
    for place, row in rows:
        try:
            prompt = _prompt(dict(row))
        except EqlinError as error:
            raise EqlinError(f"{arguments.short(where)}, {place}: {error}") from error
        if not prompt.key:
            made[_digest(prompt)] += 1
            times = made[_digest(prompt)]
            prompt = _with_key(prompt, _digest(prompt) + (f"-{times}" if times > 1 else ""))
        if prompt.key in seen:
            raise InvalidValue(
                f"{arguments.short(where)}, {place}, has the key {arguments.shown(prompt.key)} of {seen[prompt.key]}."
            )
        seen[prompt.key] = place
        found.append(prompt)
    return found


def _prompt(row: dict[str, Any]) -> StudyPrompt:
    name, value = _one_of(row)
    key = next((str(row.pop(k)) for k in _KEYS if not _is_missing(row.get(k))), "")
    arguments.text("The key", key)
    row = {arguments.text("The name of a column", name): None if _is_na(v) else v for name, v in row.items()}
    if name in _TEXTS:
        text = arguments.text("The prompt", value)
        if not text.strip():
            raise InvalidValue("The prompt is empty.")
        return StudyPrompt(key, text, given=row)
    value = _parsed(value) if isinstance(value, str) else value
    if name in _IDS:
        ids = arguments.several("token_ids", value, "a list of token ids", least=1)
        return StudyPrompt(key, token_ids=tuple(arguments.whole("A token id", i, 0) for i in ids), given=row)
    messages = checked_chat(value)
    for message in messages:
        arguments.choice("The role of a message", message["role"], WRITTEN_ROLES)
    return StudyPrompt(key, chat=tuple(messages), given=row)


def _one_of(row: dict[str, Any]) -> tuple[str, Any]:
    """The column that holds the prompt, taken out of the row; of several the first that has a value."""
    names = [n for n in (*_TEXTS, *_CHATS, *_IDS) if n in row]
    if not names:
        has = ", ".join(map(arguments.shown, list(row)[:8])) or "none"
        raise InvalidValue(f"No column is called prompt, text, chat or token_ids; there are {has}.")
    name = next((n for n in names if not _is_missing(row[n])), names[0])
    value = row[name]
    for n in names:
        if n == name or _is_missing(row[n]):
            del row[n]
    return name, value


def _is_missing(value: Any) -> bool:
    """Whether nothing stands there: also as pandas says it."""
    if isinstance(value, float):
        return math.isnan(value)
    empty = isinstance(value, str | Sequence) and not len(value)
    return value is None or empty or _is_na(value)


def _is_na(value: Any) -> bool:
    return type(value).__name__ in {"NAType", "NaTType"}  # pandas may not be there


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidValue("A chat, or token ids, stand in a text file as JSON.") from error


def _digest(prompt: StudyPrompt) -> str:
    said = (prompt.text, prompt.chat and [dict(m) for m in prompt.chat], prompt.token_ids)
    return hashlib.sha256(json.dumps(said).encode("utf-8", "surrogatepass")).hexdigest()[:_KEY]


def _with_key(prompt: StudyPrompt, key: str) -> StudyPrompt:
    return StudyPrompt(key, prompt.text, prompt.chat, prompt.token_ids, prompt.given)
