"""What an address asks for, and by which run a prompt is linked that is too long for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from eqlin_core.runs.shelf import Shelf
from pages.frame import address
from pages.frame.address import LONGEST, asked_in
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
        ("?prompt=x&position=123456789", Request("x", position=123456789)),
        ("?prompt=x&position=1234567890", Request("x")),
        ("?prompt=x&position=" + 5000 * "9", Request("x")),
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
    assert [Keeping(shelf).links, Keeping(memory).links, Keeping(None).links] == [True, False, False]


LONG = LONGEST * "="
NOTHING = ", and nothing is kept here: send the report, or the run's file."
NAMES = ", which names the kept run: it opens where the run is kept."
NONE_YET = ", and no run is kept yet that it could name: "


@pytest.mark.parametrize(
    ("asked", "place", "linked", "said"),
    [
        (Request("x", answer=" y"), None, False, "Copies the address"),
        (Request("x" + LONG), None, False, "The prompt is too long for an address" + NOTHING),
        (Request("x" + LONG), "shelf", False, "The prompt is too long for an address" + NONE_YET + "one is as soon"),
        (Request("x" + LONG), "shelf", True, "The prompt is too long for an address" + NAMES),
        (Request("x", answer=" y" + LONG), None, False, "The answer is too long for an address" + NOTHING),
        (Request("x", answer=" y" + LONG), "memory", False, "The answer is too long for an address" + NOTHING),
        (
            Request("x", answer="y" + LONG),
            "shelf",
            False,
            "The answer is too long for an address" + NONE_YET + "page Ans",
        ),
        (Request("x", answer="y" + LONG), "shelf", True, "The answer is too long for an address" + NAMES),
        (Request("x", answer=LONG), "shelf", True, "Prompt and answer are too long for an address" + NAMES),
        (
            Request("x", answer=LONG, position=0),
            "shelf",
            False,
            "Prompt and answer are too long for an address" + NONE_YET,
        ),
    ],
)
def test_what_is_too_long_for_an_address_is_named_and_what_its_link_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: Request, place: str | None, linked: bool, said: str
) -> None:
    shelf, given = Shelf(tmp_path), []
    keeping = Keeping({"shelf": shelf, "memory": InMemory(), None: None}[place])
    if linked:
        run = kept(asked.prompt, answer=asked.answer)
        shelf.put(run)
        asked = replace(asked, model=run.model)
    monkeypatch.setattr(address, "keeping", lambda: keeping)
    monkeypatch.setattr(address, "_component", lambda **options: given.append(options["data"]))
    address.address_button(asked)
    (data,) = given
    assert data["help"].startswith(said)
    assert data["unlinked"] == ("too long" in said and not linked)
    assert bool(data["run"]) == linked
    assert (data["prompt"], data["answer"]) == ((asked.prompt, asked.answer) if linked else ("", ""))


@pytest.mark.parametrize(
    ("said", "left"), [("7", "7"), ("-1", "-1"), ("2.5", "2.5"), ("9" * 400, None), ("1e400", None), ("²", None)]
)
def test_numbers_that_no_box_takes_are_left_out_of_the_address(
    said: str, left: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {"position": said, "seed": said, "prompt": "9" * 400}
    monkeypatch.setattr(address.st, "query_params", params)
    address.without_huge_numbers()
    assert (params.get("position"), params.get("seed")) == (left, left)
    assert params["prompt"] == "9" * 400
