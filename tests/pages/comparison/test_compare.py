"""Page Compare on a tiny model: what is pinned, what is shown of both, and that the changes sum."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.analysis.prompt import token_run
from eqlin_core.figures import visible_token
from eqlin_core.runs.compare import compare_runs
from eqlin_core.runs.convention import Convention
from pages.comparison.view import largest
from pages.visit.session import Pinned, Session
from pages.worker.request import Request
from tests.pages.tiny_cases import REQUEST, TinyEngine, finished_visit, tiny_engine


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


def page(session: Session, **state: Any) -> AppTest:
    app = AppTest.from_file("../../../pages/compare.py", default_timeout=30)
    for key, value in {"in_app": True, "eqlin": session, **state}.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def visited(engine: TinyEngine) -> Session:
    """A visit whose split is there."""
    session = finished_visit(engine)
    session.jobs.start("split", session._question(REQUEST))
    assert session.jobs.wait("split", 20)
    return session


def pinned(engine: TinyEngine, **changes: Any) -> Session:
    """The same with the published run of the same prompt pinned."""
    session = visited(engine)
    run = replace(token_run(engine.lin, "another prompt"), **changes)
    session.pinned = Pinned(REQUEST, run, run, session.spectra)
    return session


def test_without_a_pinned_run_the_page_says_how_to_pin_one_and_does_it(engine: TinyEngine) -> None:
    app = page(visited(engine))
    assert "Nothing is pinned yet" in app.info[0].value
    app.button(key="pin-here").click().run()
    session = app.session_state["eqlin"]
    assert session.pinned.request == REQUEST
    assert session.pinned.split.key.convention == Convention("half", "half")
    assert session.pinned.tokens.key.convention == Convention("up", "held")
    assert session.pinned.spectra is not None
    assert [header.value for header in app.header] == ["From A to B, token by token"]
    app.button(key="unpin").click().run()
    assert app.session_state["eqlin"].pinned is None
    assert "Nothing is pinned yet" in app.info[0].value


def test_two_maps_of_one_prompt_are_compared_and_the_difference_is_all_accounted_for(engine: TinyEngine) -> None:
    session = pinned(engine)
    app = page(session, compared="What differs")
    found = compare_runs(session.pinned.split, session.split_tokens())  # type: ignore[union-attr, arg-type]
    assert largest(found) in [text.value for text in app.markdown]
    table = app.dataframe[0].value
    assert dict(zip(table.iloc[:, 0], table["A"], strict=True))["map"] == "up"
    assert abs(found.remainder) <= found.bound
    assert found.total - found.remainder == pytest.approx(found.constant + float(np.sum(found.difference)))


def test_each_side_s_explained_token_is_chosen_and_one_that_is_gone_makes_room(engine: TinyEngine) -> None:
    session = pinned(engine)
    names = [visible_token(target.token) for target in session.pinned.tokens.targets]  # type: ignore[union-attr]
    app = page(session, explain_a=names[2], explain_b="gone")
    assert app.selectbox(key="explain_a").value == names[2]
    assert app.selectbox(key="explain_b").value == names[0]


@pytest.mark.parametrize("tab", ["Next tokens", "Spectra and angles"])
def test_the_other_tabs_are_drawn(engine: TinyEngine, tab: str) -> None:
    app = page(pinned(engine), compared=tab)
    wanted = {"Next tokens": "Next tokens in A", "Spectra and angles": "Angles between leading subspaces"}[tab]
    assert wanted in [header.value for header in app.header]


def test_the_joint_spectra_are_compared_where_they_are_chosen(engine: TinyEngine) -> None:
    app = page(pinned(engine), compared="Spectra and angles")
    assert "joint A" not in app.session_state["page_jobs"].jobs.snapshots, "what is not shown is not computed"
    app.selectbox(key="aligned").select("all tokens together").run()
    for _ in range(100):
        if any("Stable ranks" in caption.value for caption in app.caption):
            break
        time.sleep(0.1)
        app.run()
    (said,) = [caption.value for caption in app.caption if "Stable ranks" in caption.value]
    assert " in A, " in said
    assert "Angles between leading subspaces" in [header.value for header in app.header]


def test_spectra_that_were_not_there_when_it_was_pinned_are_computed(engine: TinyEngine) -> None:
    session = pinned(engine)
    session.pinned = replace(session.pinned, spectra=None)  # type: ignore[type-var]
    app = page(session, compared="Spectra and angles")
    for _ in range(100):
        if app.header[-1].value == "Angles between leading subspaces":
            break
        time.sleep(0.1)
        app.run()
    assert app.header[-1].value == "Angles between leading subspaces"


def test_b_s_spectra_are_waited_for(engine: TinyEngine) -> None:
    session = pinned(engine)
    session.spectra = None
    app = page(session, compared="Spectra and angles")
    assert any("when B's spectra are finished" in caption.value for caption in app.caption)


def test_what_changes_most_is_named(engine: TinyEngine) -> None:
    a = token_run(engine.lin, "one")
    b = replace(a, contributions=a.contributions * np.array([1, 1, 3, 1, 1])[:, None])
    b = replace(b, output=b.contributions.sum(0) + b.bias)
    said = largest(compare_runs(a, b, target_b=a.targets[0]))
    assert f"`{visible_token(a.tokens[2])}`" in said.split("What changes most: ")[1].split(",")[0]


def test_the_code_of_a_pinned_chat_explains_what_follows_the_answer_that_was_begun(engine: TinyEngine) -> None:
    session = pinned(engine)
    chat = Request("user: Hi\nassistant: I am", chat=True)
    assert session.pinned is not None
    session.pinned = replace(session.pinned, request=chat)
    n = len(session.pinned.split.tokens)
    (code,) = [block.value for block in page(session, code=True).code if "import eqlin_core" in block.value]
    compile(code, "page", "exec")
    assert f"[: {n - 1} + 1]" in code, code
    session.pinned = replace(session.pinned, request=REQUEST)
    (code,) = [block.value for block in page(session, code=True).code if "import eqlin_core" in block.value]
    assert "+ 1]" not in code
