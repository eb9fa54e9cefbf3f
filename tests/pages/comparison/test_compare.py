"""Page Compare on a tiny model: what is pinned, what is shown of both, and that the changes sum."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core import figures
from eqlin_core.analysis.prompt import token_run
from eqlin_core.analysis.validity import counterfactual_run
from eqlin_core.figures import visible_token
from eqlin_core.runs.compare import compare_runs
from eqlin_core.runs.convention import Convention
from eqlin_core.runs.prompt import TokenRun
from pages.comparison.swaps import needed, sentence
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


def swapping(engine: TinyEngine, *ids: int) -> Session:
    """The visit, whose A has other tokens than B in these first places."""
    session = pinned(engine)
    other = eq.linearize(engine.lin.lm, token_ids=[*ids, *engine.lin.token_ids[len(ids) :]])
    request, run, of_b = Request("swapped"), token_run(other, "swapped"), engine.linear_map
    session.pinned = Pinned(request, run, run, session.spectra)
    engine.linear_map = lambda asked, *rest: other if asked == request else of_b(asked, *rest)  # type: ignore[method-assign]
    return session


def waited(app: AppTest) -> AppTest:
    assert app.session_state["page_jobs"].jobs.wait("counterfactual", 20)
    app.run()
    assert not app.exception, app.exception
    return app


def test_swapped_tokens_are_measured_from_a_or_from_b_and_parts_sum(engine: TinyEngine) -> None:
    session = swapping(engine, 40)
    app = waited(page(session, compared="Swapped tokens", frozen_at="B"))
    found = app.session_state["page_jobs"].jobs.snapshots["counterfactual"].result
    b = session.split_tokens()
    assert isinstance(b, TokenRun)
    assert found.other_ids == session.pinned.tokens.key.token_ids  # type: ignore[union-attr]
    assert found.before == pytest.approx(b.targets[0].logit, abs=1e-5)
    assert found.foreseen + sum(found.hidden.values()) == pytest.approx(found.measured, abs=1e-6)
    assert sentence(found, "B", "A") in [text.value for text in app.markdown]
    assert any("Frozen at B, map half" in text.value for text in app.caption)
    app.segmented_control(key="frozen_at").set_value("A")
    app = waited(app.run())
    again = app.session_state["page_jobs"].jobs.snapshots["counterfactual"].result
    assert again.key.token_ids == found.other_ids
    assert any("Frozen at A" in text.value for text in app.caption)


def test_what_swapping_tokens_needs_is_said(engine: TinyEngine) -> None:
    a = token_run(engine.lin, "x")
    shorter = token_run(eq.linearize(engine.lin.lm, token_ids=engine.lin.token_ids[:3]), "y")
    assert needed(a, a).startswith("A and B have the same tokens")
    assert needed(a, shorter).startswith("A has 5 tokens, B 3. Swapping tokens one for one needs two prompts")
    other = replace(shorter, key=replace(shorter.key, model="another", dtype="float64"))
    assert needed(a, other).startswith(f"A is by {a.key.model}, B by another; A is in float32, B in float64; A has 5")
    app = page(pinned(engine), compared="Swapped tokens")
    assert app.info[0].value == needed(a, a)


def test_many_swaps_are_measured_when_they_are_asked_for(engine: TinyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.comparison.swaps.UNASKED", 1)
    app = page(swapping(engine, 40, 41), compared="Swapped tokens")
    assert "counterfactual" not in app.session_state["page_jobs"].jobs.snapshots
    assert app.toggle(key="measure_swaps").label == "Measure: 12 runs"
    app.toggle(key="measure_swaps").set_value(True)
    app = waited(app.run())
    assert len(app.get("plotly_chart")) == 2


def test_what_rounding_leaves_has_a_bar_where_it_is_seen_and_an_overflow_is_said(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[str, float]] = []
    builder = figures.counterfactual

    def noting(*args: Any, **options: Any) -> Any:
        drawn.append(args[3])
        return builder(*args, **options)

    monkeypatch.setattr(figures, "counterfactual", noting)
    session = swapping(engine, 40, 41)
    targets = session.pinned.tokens.targets  # type: ignore[union-attr]
    for target, error in zip(targets, (0.0, 0.5, math.inf), strict=False):
        monkeypatch.setattr(
            "eqlin_core.analysis.validity.counterfactual_run",
            lambda *args, error=error: replace(found := counterfactual_run(*args), after=found.after + error),
        )
        app = waited(page(session, compared="Swapped tokens", explain_a=visible_token(target.token)))
    assert list(dict.fromkeys("rounding" in free for free in drawn)) == [False, True]
    assert "choose another precision" in app.warning[0].value
