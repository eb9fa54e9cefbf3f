"""Page Runs: what is kept is listed, searched, marked and taken away, and opens with the form filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.runs.shelf import Shelf
from pages.visit.shelf import InMemory, Keeping
from pages.widgets.facts import plain
from pages.widgets.opening import open_run, title
from tests.eqlin_core.runs.test_shelf import kept


def page(place: Any, **state: Any) -> AppTest:
    app = AppTest.from_file("../../../pages/runs.py", default_timeout=30)
    for key, value in {"in_app": True, "keeping": Keeping(place), **state}.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def shelf(folder: Path, *prompts: str) -> Shelf:
    made = Shelf(folder)
    for prompt in prompts:
        made.put(kept(prompt))
    return made


def titles(app: AppTest) -> list[str]:
    return [text.value for text in app.markdown if text.value.startswith("**")]


def test_what_is_kept_is_listed_and_searched(tmp_path: Path) -> None:
    app = page(shelf(tmp_path, "The bridge", "A *tower* of $5"))
    assert len(titles(app)) == 2
    assert f"**{plain('A *tower* of $5 → only')}**" in titles(app), "a prompt is no markup"
    app.text_input(key="search").set_value("TOWER made-up").run()
    assert len(titles(app)) == 1
    assert any("1 of 2 runs" in caption.value for caption in app.caption)


def test_a_run_is_named_noted_pinned_and_deleted(tmp_path: Path) -> None:
    place = shelf(tmp_path, "The bridge")
    (entry,) = place.entries()
    app = page(place)
    app.text_input(key=f"name-{entry.id}").set_value("mine")
    app.text_area(key=f"note-{entry.id}").set_value("look at this").run()
    app.button(key=f"keep-{entry.id}").click().run()
    (after,) = place.entries()
    assert (after.run.name, after.run.note, after.run.pinned) == ("mine", "look at this", True)
    assert titles(app) == ["**mine** (pinned)"]
    app.button(key=f"delete-{entry.id}").click().run()
    assert place.entries() == []
    assert "Nothing is kept yet" in app.info[0].value


def test_an_empty_shelf_and_none_at_all_are_said(tmp_path: Path) -> None:
    assert "Nothing is kept yet" in page(Shelf(tmp_path)).info[0].value
    assert "keeps no runs" in page(None).info[0].value
    assert any("until it is closed" in caption.value for caption in page(InMemory()).caption)


def test_opening_fills_the_form_and_one_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keeping, state = Keeping(shelf(tmp_path, "The bridge")), dict[str, Any]()
    monkeypatch.setattr("pages.widgets.opening.keeping", lambda: keeping)
    monkeypatch.setattr("streamlit.session_state", state)
    open_run(keeping.place.entries()[0].id)  # type: ignore[union-attr]
    assert keeping.opened is not None
    assert (state["prompt"], state["gated_path"], state["ask_again"]) == ("The bridge", "up", True)
    state.clear()
    open_run("../../etc/passwd")
    assert state == {"run_gone": True}


def test_a_title_is_the_name_or_the_beginning_of_the_prompt() -> None:
    assert title(kept(name="mine")) == "mine"
    assert title(kept("The\nbridge")) == "The bridge → only"
    assert title(kept("x" * 200), 10) == "x" * 9 + "… → only"
