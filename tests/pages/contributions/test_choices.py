"""Page Tokens on a tiny model: the choices of a split, in words and in numbers, and what is measured beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core.runs.convention import Convention
from pages.contributions import measured
from pages.visit.session import Session
from pages.worker.request import DEFAULT_SPLIT
from tests.pages.tiny_cases import REQUEST, TinyEngine, settled, tiny_engine, unsettled

MEASURED = ("leave-one-out", "other-maps", "hidden", "curves")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


def visit(app: AppTest) -> Session:
    state: Session = app.session_state["eqlin"]
    return state


def drawn(app: AppTest) -> AppTest:
    """The page once the split and all that is measured beside it are there."""
    assert visit(app).jobs.wait("split", 20)
    app.run()
    return settled(app)


def opened(engine: TinyEngine, **state: object) -> AppTest:
    return drawn(unsettled("tokens", engine, **state))


def words(app: AppTest) -> str:
    """The line above the chips."""
    (line,) = (text.value for text in app.markdown if ", map " in text.value)
    return str(line)


def summed(app: AppTest) -> float:
    """What the terms and the constant of the split that is shown add up to, for the page's own target."""
    run = visit(app).split_run
    assert run is not None
    terms, constant, _ = run.split(run.targets[0].row)
    return math.fsum([*terms, constant])


def test_it_opens_with_the_split_that_was_chosen_by_measurement_and_says_so(engine: TinyEngine) -> None:
    app = opened(engine)
    assert words(app).endswith(f", baseline zero, map {DEFAULT_SPLIT.convention.words}")
    run = visit(app).split_run
    assert run is not None
    assert run.key.convention == DEFAULT_SPLIT.convention
    assert summed(app) == pytest.approx(run.targets[0].logit, abs=1e-4)


@pytest.mark.parametrize(
    ("turned", "said"),
    [
        ({"split_gated": "up", "split_attention": "held"}, "baseline zero, map up (as published)"),
        ({"split_gated": "0.3", "split_attention": "live"}, "baseline zero, map 0.3, attention live"),
        ({"baseline": "mean embedding"}, "baseline mean embedding, map half, attention half"),
    ],
)
def test_a_choice_changes_the_terms_and_never_the_sum(engine: TinyEngine, turned: dict[str, str], said: str) -> None:
    app = opened(engine)
    before, total = visit(app).split_run, summed(app)
    for key, value in turned.items():
        widget = app.selectbox(key=key) if key == "baseline" else app.select_slider(key=key)
        widget.set_value(value)
    drawn(app.run())
    assert words(app).endswith(said)
    after = visit(app).split_run
    assert before is not None
    assert after is not None
    row = before.targets[0].row
    assert not np.allclose(before.split(row)[0], after.split(row)[0], atol=1e-6)
    assert summed(app) == pytest.approx(total, abs=1e-4)


def test_the_target_can_be_the_log_probability(engine: TinyEngine) -> None:
    app = opened(engine)
    assert words(app).startswith("**logit of ")
    app.segmented_control(key="target").set_value("log-probability")
    drawn(app.run())
    assert words(app).startswith("**log-probability of ")


def test_one_click_sets_the_dials_of_all_pages(engine: TinyEngine) -> None:
    app = opened(engine)
    app.button(key="take-map").click().run()
    assert (app.session_state["gated_path"], app.session_state["attention"]) == ("half", "half")
    assert app.session_state["ask_again"]


def test_the_button_is_gone_where_all_pages_show_the_same_map(engine: TinyEngine) -> None:
    app = opened(engine)
    assert "take-map" in {button.key for button in app.button}
    visit(app).shown = visit(app).asked = REQUEST.by(Convention("half", "half"))
    drawn(app.run())
    assert "take-map" not in {button.key for button in app.button}


def test_agreement_with_leave_one_out_is_said_and_low_agreement_is_called_bookkeeping(engine: TinyEngine) -> None:
    app = opened(engine)
    (said,) = (text.value for text in app.markdown if "Rank agreement of the terms" in text.value)
    agreed = float(said.split("**")[1].replace("−", "-"))
    assert ("bookkeeping" in said) == (agreed < 0.5)
    assert "With the other exact maps: up " in said


def test_what_freezing_hides_and_the_curves_wait_for_a_click(engine: TinyEngine) -> None:
    app = opened(engine)
    found = app.session_state["page_jobs"].jobs.snapshots
    assert set(found) == {"leave-one-out", "other-maps"}
    for tab, key, name in (("What freezing hides", "freezing", "hidden"), ("Deleting in order", "curves", "curves")):
        app.session_state["more"] = tab
        drawn(app.run())
        assert name not in found, "it waits for its switch"
        app.toggle(key=key).set_value(True)
        drawn(app.run())
        found = app.session_state["page_jobs"].jobs.snapshots
        assert name in found
        if name == "hidden":
            hidden = found["hidden"].result
    assert set(found) <= set(MEASURED)
    assert np.sum(list(hidden.parts.values()), axis=0) == pytest.approx(hidden.measured, abs=1e-4)


def test_deletion_by_removal_is_measured_anew(engine: TinyEngine) -> None:
    app = opened(engine)
    jobs = app.session_state["page_jobs"].jobs
    before = jobs.snapshots["leave-one-out"].result
    app.selectbox(key="deletion").set_value("removal")
    drawn(app.run())
    after = jobs.snapshots["leave-one-out"].result
    assert (before.deletion, after.deletion) == ("mean", "removal")
    target = after.target_ids[0]
    assert not np.allclose(before.falls("log-probability", target, None), after.falls("log-probability", target, None))


def test_what_was_measured_of_a_short_prompt_does_not_stand_for_a_long_one(
    engine: TinyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = opened(engine)
    assert "measure" not in {button.key for button in app.button}
    monkeypatch.setattr(measured, "UNASKED", 1)  # as if the next prompt had more tokens
    drawn(app.run())
    assert "measure" in {button.key for button in app.button}
    app.button(key="measure").click()
    drawn(app.run())
    assert "measure" not in {button.key for button in app.button}
