"""What an address asks for, and by which run a prompt is linked that is too long for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from eqlin_core.runs.shelf import Shelf
from pages.frame.address import asked_in
from pages.visit.shelf import InMemory, Keeping
from pages.worker.request import EXAMPLES, Request
from tests.eqlin_core.runs.test_shelf import kept


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("?", Request(EXAMPLES[0])),
        ("?prompt=a+b%26c&dtype=float64", Request("a b&c", dtype="float64")),
        (
            "?prompt=x&gated_path=half&attention=0.3&begin=true",
            Request("x", "smollm2-135m", "float32", "half", 0.3, True),
        ),
        ("?run=0123456789abcdef", "0123456789abcdef"),
        ("?run=0123456789abcdef&prompt=x", Request("x")),
        ("?dtype=float8", None),
        ("?gated_path=sideways", None),
        ("", Request(EXAMPLES[0])),
        ("?prompt=x&answer=+y%0Az&position=2", Request("x", answer=" y\nz", position=2)),
        ("?as_chat=true&prompt=user%3A+x", Request("user: x", chat=True)),
        ("?as_chat=false&prompt=x&answer=", Request("x")),
        ("?prompt=x&position=0", Request("x", position=0)),
        ("?prompt=x&position=", Request("x")),
        ("?prompt=x&position=-1", Request("x")),
        ("?prompt=x&position=%C2%B2", Request("x")),
        ("?prompt=x&position=2.5", Request("x")),
    ],
)
def test_an_address_asks_for_a_request_or_a_run(query: str, wanted: Request | str | None) -> None:
    assert asked_in(query) == wanted


def test_a_prompt_is_linked_by_its_run_only_where_others_find_it(tmp_path: Path) -> None:
    shelf, run = Shelf(tmp_path), kept("The bridge")
    asked = Request(run.prompt, run.model, run.dtype, run.gated_path, run.attention, run.begin)
    assert Keeping(shelf).link_of(asked) == "", "it is not there yet"
    id = shelf.put(run)
    assert Keeping(shelf).link_of(asked) == id
    memory = InMemory()
    memory.put(run)
    assert Keeping(memory).link_of(asked) == "", "nobody else opens what a tab has in its memory"
    assert Keeping(None).link_of(asked) == ""
