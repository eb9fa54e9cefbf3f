"""Prompts from every format that people keep them in, with a sentence and a line for what cannot be read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlin_core.errors import EqlinError
from eqlin_core.studies.prompts import FORMATS, LISTS, StudyPrompt, read_prompts, study_prompts
from tests import profiles  # noqa: F401 - chosen when it is imported
from tests.eqlin_core.odd_calls import is_sentence

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
ROWS: list[dict[str, Any]] = [
    {"prompt": "The bridge, he said", "kind": "a"},
    {"prompt": 'A "quoted"\nline', "kind": "b"},
]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


FILES = {
    "p.csv": b'prompt,kind\n"The bridge, he said",a\n"A ""quoted""\nline",b\n',
    "p.jsonl": b"\n".join(json.dumps(row).encode() for row in ROWS) + b"\n\n",
    "p.parquet": parquet(ROWS),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_prompts(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    found = study_prompts(tmp_path / name)
    assert [one.text for one in found] == [row["prompt"] for row in ROWS]
    assert [dict(one.given) for one in found] == [{"kind": "a"}, {"kind": "b"}]
    assert [one.key for one in found] == [one.key for one in study_prompts(ROWS)], "of what they say"
    assert read_prompts(FILES[name], name) == found


def test_a_text_file_has_a_prompt_a_line_which_keeps_its_spaces() -> None:
    found = read_prompts("\ufeffOne \r\n\n  two\n \n".encode(), "p.txt")
    assert [one.text for one in found] == ["One ", "  two"]


def test_chats_and_token_ids_are_prompts_too() -> None:
    csv = 'messages,id\n"' + json.dumps(CHAT).replace('"', '""') + '",first\n'
    lines = json.dumps({"chat": CHAT, "key": "first"}) + "\n" + json.dumps({"token_ids": [5, 6], "key": 2})
    for found in (read_prompts(csv.encode(), "p.csv"), read_prompts(lines.encode(), "p.jsonl")[:1]):
        assert found == [StudyPrompt("first", chat=tuple(CHAT))]
        assert found[0].shown == "user: Hi\nassistant: Hello"
    ids = read_prompts(lines.encode(), "p.jsonl")[1]
    assert (ids.key, ids.token_ids, ids.shown) == ("2", (5, 6), "5 6")
    assert [one.shown for one in study_prompts(["Hi", CHAT, [5, 6]])] == ["Hi", found[0].shown, "5 6"]


def test_a_data_frame_and_its_rows_are_prompts() -> None:
    frame = pd.DataFrame({"prompt": ["Hi", None], "token_ids": [None, np.array([5, 6])], "id": [float("nan"), "b"]})
    expected = [StudyPrompt("", "Hi"), StudyPrompt("b", token_ids=(5, 6))]
    for found in (study_prompts(frame), study_prompts(frame.to_dict("records")), study_prompts(frame.convert_dtypes())):
        assert [(one.text, one.token_ids) for one in found] == [(one.text, one.token_ids) for one in expected]
        assert found[1].key == "b"
    (chat,) = study_prompts([{"prompt": pd.NA, "chat": np.array(CHAT, dtype=object)}])
    assert chat.chat == tuple(CHAT)


def test_of_two_columns_of_prompts_the_other_comes_along() -> None:
    (one,) = study_prompts([{"prompt": "Hi", "text": "Ho", "chat": None}])
    assert (one.text, one.given) == ("Hi", {"text": "Ho"})


def test_a_key_that_no_file_takes_is_refused() -> None:
    with pytest.raises(EqlinError, match="prompts, prompt 1: The key cannot be encoded"):
        study_prompts([{"prompt": "Hi", "key": "\ud800"}])


def test_a_prompt_twice_has_two_keys_and_a_key_twice_is_refused() -> None:
    one, other = study_prompts(["Hi", "Hi"])
    assert other.key == f"{one.key}-2"
    with pytest.raises(EqlinError, match="prompts, prompt 2, has the key 'a' of prompt 1"):
        study_prompts([{"prompt": "Hi", "key": "a"}, {"prompt": "Ho", "key": "a"}])


@pytest.mark.parametrize("name", LISTS)
def test_the_lists_that_come_along(name: str) -> None:
    found = study_prompts(name)
    assert len({one.key for one in found}) == len(found) >= 40
    assert all(one.given["kind"] for one in found)
    if name == "marin-100":
        assert len(found) == 100
        assert found[0].text == "The bridge out of Marin is the"
        assert max(len(one.text.split()) for one in found) <= 8


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (
            b"a,b\n1,2\n",
            "p.csv",
            "p.csv, line 2: No column is called prompt, text, chat or token_ids; there are 'a', 'b'",
        ),
        (b"prompt,b\n1\n", "p.csv", "p.csv, line 2, has not as many columns as the first line"),
        (b"prompt\n", "p.csv", "There is no prompt in p.csv"),
        (b"", "p.txt", "There is no prompt in p.txt"),
        (b"\xff\xfe\x00", "p.txt", "p.txt is not UTF-8"),
        (b'{"prompt": "a"}\n{"prompt"', "p.jsonl", "p.jsonl, line 2, is no JSON"),
        (b"[1]", "p.jsonl", "p.jsonl, line 1, is neither an object nor a text"),
        (b'{"prompt": " "}', "p.jsonl", "p.jsonl, line 1: The prompt is empty"),
        (b'{"prompt": 7}', "p.jsonl", "p.jsonl, line 1: The prompt is a text"),
        (b'{"chat": []}', "p.jsonl", "p.jsonl, line 1: chat is a list of messages"),
        (b'{"token_ids": [-1]}', "p.jsonl", "p.jsonl, line 1: A token id is a whole number from 0 on"),
        (b"chat\nuser: hi\n", "p.csv", "p.csv, line 2: A chat, or token ids, stand in a text file as JSON"),
        (b"PAR1", "p.parquet", "p.parquet cannot be read as Parquet"),
        (b"x", "p.docx", "p.docx is none of .csv, .jsonl, .parquet, .txt"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_with_its_place(content: bytes, name: str, sentence: str) -> None:
    with pytest.raises(EqlinError) as caught:
        read_prompts(content, name)
    assert str(caught.value).startswith(sentence)
    assert is_sentence(str(caught.value))


def test_neither_a_file_nor_a_list(tmp_path: Path) -> None:
    with pytest.raises(EqlinError, match=r"marin-99 cannot be read \(No such file or directory\), and no list has"):
        study_prompts("marin-99")
    with pytest.raises(EqlinError, match="is no file"):
        study_prompts(tmp_path)


@given(content=st.binary(max_size=200), suffix=st.sampled_from(FORMATS))
def test_no_file_ends_raw(content: bytes, suffix: str) -> None:
    try:
        found = read_prompts(content, f"p{suffix}")
    except EqlinError:
        return
    assert found
