"""Page Study: what can be asked, what it takes, what stands there while it runs and when it has ended."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import eqlin_core as eq
from eqlin_core.errors import EqlinError
from eqlin_core.studies.plan import ModelPlan
from eqlin_core.studies.reading import Study
from pages.door.settings import Settings
from pages.studies import asking, jobs, lists
from pages.studies.jobs import Asked, _prompts
from pages.studies.lists import LISTS, Source, content_of, keep_upload
from pages.visit.session import Session
from pages.worker.engine import Engine
from pages.worker.request import Request
from tests.eqlin_core.odd_calls import tiny_with_text
from tests.pages.run_cases import give

MINE = b"The capital of France is\nThe bridge out of\nWater boils at a\n"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Engine]:
    """An engine with a tiny model that reads every text, whose studies stand in a folder of the test."""
    made, lm = Engine(), tiny_with_text()
    monkeypatch.setattr(Engine, "load", lambda *_: lm)
    monkeypatch.setattr(jobs, "_studies", lambda: tmp_path / "studies")
    give(monkeypatch, made)
    yield made
    assert made.worker.shutdown(30)


def asked(source: Source, *measures: str) -> Asked:
    return Asked(source, "smollm2-135m", "float32", "up", "held", measures or ("exactness",))


def done(engine: Engine, wanted: Asked) -> None:
    """Run a study to its end; whoever asked is there all along."""
    job = engine.submit(jobs.study(wanted, 1), "ada")
    while not job.wait(2):
        engine.worker.touch("ada")
    assert job.snapshot().state == "done", job.snapshot().error


def page(**state: Any) -> AppTest:
    app = AppTest.from_file("../../../pages/study.py", default_timeout=60)
    visit = Session()
    visit.shown = Request()
    for key, value in {"in_app": True, "eqlin": visit, **state}.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception, app.exception
    return app


def said(app: AppTest) -> str:
    return " ".join(one.value for one in (*app.caption, *app.info, *app.error))


def test_the_lists_are_those_of_the_engine() -> None:
    assert all(eq.study_prompts(name) for name in LISTS)


def test_a_study_has_one_folder_whoever_asks(engine: Engine) -> None:
    one, same = asked(Source("facts", first=3)), asked(Source("facts", first=3))
    assert one.folder == same.folder
    others = [asked(Source("facts", first=4)), asked(Source("facts", first=3), "contributions")]
    assert len({one.folder, *(other.folder for other in others)}) == 3


def test_what_was_uploaded_is_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "UPLOADS", 1)
    first = keep_upload("a.txt", b"one")
    assert content_of(first) == b"one"
    keep_upload("b.txt", b"two")
    with pytest.raises(EqlinError, match=r"The file a\.txt is not here any more: choose it again"):
        content_of(first)


def test_a_study_is_planned_and_run_by_the_engine(engine: Engine) -> None:
    wanted = asked(keep_upload("mine.txt", MINE), "exactness", "contributions")
    job = engine.submit(jobs.plan(wanted, 0), "ada")
    assert job.wait(60)
    assert job.snapshot().result.prompts == 3
    done(engine, wanted)
    study = eq.load_study(wanted.folder)
    assert study.prompts["prompt"].tolist() == MINE.decode().splitlines()
    assert study.info["prompts"] == "mine.txt"
    again = engine.submit(jobs.plan(wanted, 1), "ada")
    assert again.wait(60)
    assert (again.snapshot().result.prompts, again.snapshot().result.there) == (0, 3)


def test_a_file_that_cannot_be_read_is_one_sentence(engine: Engine) -> None:
    wanted = asked(keep_upload("mine.csv", b"a,b\n1,2\n"))
    job = engine.submit(jobs.plan(wanted, 0), "ada")
    assert job.wait(60)
    assert "mine.csv, line 2: No column is called prompt" in job.snapshot().error


def test_the_page_says_what_it_takes_and_what_to_do(engine: Engine) -> None:
    app = page()
    assert "100 prompts of " in said(app)
    assert not app.button(key="study_start").disabled
    app.session_state["study_measures"] = []
    app.run()
    assert "Choose at least one measure" in said(app)


def test_of_a_file_none_is_chosen_it_says_which(engine: Engine) -> None:
    app = page(study_list="a file of mine")
    assert "A text file with a prompt a line" in said(app)
    assert not app.exception


def test_what_is_there_is_drawn_and_a_row_opens_its_prompt(engine: Engine) -> None:
    wanted = asked(Source("facts", first=3), "exactness", "contributions", "layers")
    done(engine, wanted)
    app = page(study_list="facts", study_first=3)
    assert "All 3 prompts are measured" in said(app)
    assert "3 prompts are there. smollm2-135m, float32, map up" in said(app)
    assert app.button(key="study_start").disabled
    for tab, key in (("How it is spread", "study_number"), ("Two numbers", "study_x")):
        app = page(study_list="facts", study_first=3, study_tab=tab)
        for number in app.selectbox(key=key).options[::3]:
            app.selectbox(key=key).set_value(number).run()
            assert not app.exception, number
    app = page(study_list="facts", study_first=3, study_tab="Prompts and tables")
    assert app.button(key="study_open").disabled, "no row is chosen"


def test_a_damaged_study_is_a_sentence_and_the_page_stands(engine: Engine) -> None:
    wanted = asked(Source("facts", first=2), "exactness", "contributions", "layers")
    done(engine, wanted)
    (wanted.folder / "prompts.parquet").write_bytes(b"nothing")
    app = page(study_list="facts", study_first=2)
    assert "The table prompts in" in said(app)


@pytest.mark.parametrize("name", ["tokens", "layers"])
def test_a_damaged_table_is_a_sentence_and_the_page_stands(engine: Engine, name: str) -> None:
    wanted = asked(Source("facts", first=2), "exactness", "contributions", "layers")
    done(engine, wanted)
    (wanted.folder / f"{name}.parquet").write_bytes(b"nothing")
    assert f"The table {name} in" in said(page(study_list="facts", study_first=2))


def test_a_file_where_the_folder_would_be_is_a_sentence_and_the_page_stands(engine: Engine) -> None:
    wanted = asked(Source("facts", first=2), "exactness", "contributions", "layers")
    wanted.folder.parent.mkdir(parents=True)
    wanted.folder.write_text("x")
    assert "is no folder for a study" in said(page(study_list="facts", study_first=2))


def test_another_tab_sees_what_was_measured_since_the_first_plan(engine: Engine) -> None:
    wanted = asked(Source("facts", first=2), "exactness", "contributions", "layers")
    assert "2 prompts of " in said(page(study_list="facts", study_first=2))
    done(engine, wanted)
    assert "All 2 prompts are measured" in said(page(study_list="facts", study_first=2))


def test_points_of_a_table_that_has_grown_since_the_prompts_were_read_are_drawn(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = asked(Source("facts", first=2), "exactness", "contributions", "layers")
    done(engine, wanted)
    real = Study._read
    monkeypatch.setattr(Study, "_read", lambda own, name: real(own, name).head(1 if name == "prompts" else None))
    app = page(study_list="facts", study_first=2, study_tab="Two numbers")
    app.selectbox(key="study_x").set_value("norm of the contribution").run()
    assert not app.exception


def test_pressed_twice_a_study_begins_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    running = SimpleNamespace(finished=False, state="running")
    snapshots: dict[Any, Any] = {}

    def start(name: Any, _question: Any) -> None:
        begun.append(name)
        snapshots[name] = running

    errands = SimpleNamespace(snapshots=snapshots, start=start)
    monkeypatch.setattr("pages.studies.asking.session", lambda: SimpleNamespace(errands=errands))
    wanted = asked(Source("facts", first=2))
    for _ in range(3):
        asking._start(wanted)
    assert begun == [wanted]


def test_prompts_that_the_model_cannot_read_are_said_with_the_reason() -> None:
    one = eq.study_prompts(["Hi"])[0]
    none = ModelPlan("m", "float32", [], [(one, "It has no chat template.")], 0, 0.0, 0, 0)
    assert asking._words(none) == "This model can read none of the 1 prompts (It has no chat template)."
    some = replace(none, there=2)
    expected = "All 2 prompts are measured; 1 cannot be read by this model (It has no chat template)."
    assert asking._words(some) == expected


def test_where_every_prompt_is_refused_the_page_says_it_before_and_after(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = b'{"token_ids": [999999], "n": null, "odd :red[name]": NaN}\n{"chat": [{"role": "user", "content": "Hi"}]}'
    mine = keep_upload("mine *of* _all_.jsonl", lines)
    monkeypatch.setattr(asking, "_upload", lambda: mine)
    state = {"study_list": "a file of mine", "study_tab": "Prompts and tables"}
    assert "This model can read none of the 2 prompts (Token id 999999 is outside" in said(page(**state))
    done(engine, asked(mine, *asking.FIRST_MEASURES))
    after = page(**state)
    assert "2 prompts are there, 2 with something that failed" in said(after)
    assert "All 2 prompts are measured" in said(after)


def test_a_public_server_bounds_a_study_whose_number_was_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.studies.jobs.settings", lambda: Settings(public=True, study_prompts=3))
    assert len(_prompts(Source("facts"))) == 3


def test_a_public_server_takes_as_many_prompts_as_its_operator_says(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    public = Settings(public=True, study_prompts=4)
    monkeypatch.setattr("pages.studies.asking.settings", lambda: public)
    app = page()
    assert app.number_input(key="study_first").max == 4
    assert app.number_input(key="study_first").value == 4
    assert "4 prompts of" in said(app)


def test_a_public_server_takes_no_longer_prompt_of_an_uploaded_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pages.studies.jobs.settings", lambda: Settings(public=True, longest_prompt=5))
    assert len(_prompts(keep_upload("short.txt", b"12345\nabc"))) == 2
    with pytest.raises(eq.EqlinError, match="has 6 characters, and this server takes 5 at most"):
        _prompts(keep_upload("long.txt", b"abc\n123456"))
