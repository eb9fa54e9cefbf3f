"""What a tab keeps by itself, under which names, and that an opened run is shown without being computed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eqlin_core.runs.convention import Convention
from eqlin_core.runs.shelf import Shelf
from eqlin_core.runs.split import Split
from pages.answers import jobs
from pages.visit import shelf
from pages.visit.session import Session
from pages.visit.shelf import InMemory, Keeping, name_of, request_of, written
from pages.worker import analysis
from pages.worker.question import Question
from pages.worker.request import Request
from tests.eqlin_core.runs.file_cases import answer_run, same
from tests.pages.run_cases import token_run
from tests.pages.tiny_cases import REQUEST, TinyEngine, finished_visit, tiny_engine

HALF = Convention("half", "half")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyEngine]:
    with tiny_engine(monkeypatch) as made:
        yield made


@pytest.fixture
def keeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keeping:
    made = Keeping(Shelf(tmp_path))
    for module in ("pages.visit.jobs", "pages.visit.session", "pages.visit.shelf"):
        monkeypatch.setattr(f"{module}.keeping", lambda: made)
    return made


def finish(session: Session) -> None:
    for name in session.jobs.snapshots:
        assert session.jobs.wait(name, 30)
    session.advance()
    written()


def test_a_finished_analysis_is_one_run_with_the_answers_of_every_map(engine: TinyEngine, keeping: Keeping) -> None:
    session = Session()
    session.ask(REQUEST)
    finish(session)
    (entry,) = keeping.place.entries()  # type: ignore[union-attr]
    assert request_of(entry.run) == REQUEST
    run = keeping.place.get(entry.id)  # type: ignore[union-attr]
    assert run is not None
    assert len(run.answers) == 3, "contributions by two maps, and the spectra"
    assert run.tokens is not None
    assert run.tokens.key.convention == REQUEST.convention
    assert run.spectra is not None
    assert run.predicted == run.tokens.targets[0].token


def test_an_opened_run_is_shown_and_nothing_is_computed(
    engine: TinyEngine, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Session()
    first.ask(REQUEST)
    finish(first)
    (entry,) = keeping.place.entries()  # type: ignore[union-attr]
    keeping.opened = keeping.place.get(entry.id)  # type: ignore[union-attr]
    monkeypatch.setattr(engine, "submit", lambda question, _visitor: pytest.fail(f"{question.label} is computed"))
    session = Session()
    session.ask(REQUEST)
    finish(session)
    assert session.tokens is not None
    assert session.tokens.saved
    assert session.spectra is not None
    assert session.split_tokens().key.convention == HALF  # type: ignore[union-attr]
    assert keeping.place.entries()[0].used == entry.used, "what was read is not written again"  # type: ignore[union-attr]


def test_what_is_asked_for_anew_is_computed_though_it_is_there(keeping: Keeping) -> None:
    keeping.asked = REQUEST
    keeping.note(analysis.tokens(REQUEST, True), token_run())
    written()
    (entry,) = keeping.place.entries()  # type: ignore[union-attr]
    keeping.opened = keeping.place.get(entry.id)  # type: ignore[union-attr]
    assert keeping.answer(analysis.tokens(REQUEST)) is not None
    assert keeping.answer(analysis.tokens(REQUEST, True)) is None
    assert keeping.answer(analysis.tokens(replace(REQUEST, prompt="another"))) is None
    assert keeping.answer(analysis.tokens(REQUEST.by(HALF))) is None


def test_an_answer_of_another_kind_than_was_asked_for_is_none(keeping: Keeping) -> None:
    keeping.asked = REQUEST
    keeping.note(analysis.tokens(REQUEST), token_run())
    written()
    run = keeping.place.get(keeping.place.entries()[0].id)  # type: ignore[union-attr]
    assert run is not None
    keeping.opened = replace(run, answers={name_of(analysis.spectra(REQUEST)): token_run()})
    assert keeping.answer(analysis.spectra(REQUEST)) is None


def test_names_tell_maps_and_choices_apart_and_not_prompts() -> None:
    asked: list[Question[Any]] = [
        analysis.tokens(REQUEST),
        analysis.tokens(REQUEST, False, "mean"),
        analysis.tokens(REQUEST.by(HALF)),
        analysis.spectra(REQUEST),
        analysis.target(REQUEST, "a"),
        analysis.target(REQUEST, "b"),
    ]
    assert len({name_of(question) for question in asked}) == len(asked)
    assert name_of(analysis.tokens(Request("one"))) == name_of(analysis.tokens(Request("two")))


def test_a_run_whose_contributions_are_shipped_knows_its_next_token(engine: TinyEngine, keeping: Keeping) -> None:
    run = replace(token_run(), shipped="1.0")
    keeping.asked = REQUEST
    keeping.note(analysis.tokens(REQUEST), run)
    assert keeping.place.entries() == []  # type: ignore[union-attr]
    keeping.note(analysis.spectra(REQUEST), finished_visit(engine).spectra)
    written()
    (entry,) = keeping.place.entries()  # type: ignore[union-attr]
    assert entry.run.predicted == run.targets[0].token


@pytest.mark.parametrize("changes", [{"complete": False}, {"shipped": "1.0"}])
def test_previews_and_what_is_shipped_are_not_kept(keeping: Keeping, changes: dict[str, Any]) -> None:
    keeping.asked = REQUEST
    keeping.note(analysis.tokens(REQUEST), replace(token_run(), **changes))
    written()
    assert keeping.place.entries() == []  # type: ignore[union-attr]


def test_a_public_server_keeps_the_last_few_for_the_tab_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "IN_MEMORY", 2)
    one, other = Keeping(InMemory()), Keeping(InMemory())
    for prompt in ("a", "b", "c"):
        one.asked = Request(prompt)
        one.note(analysis.tokens(one.asked), token_run())
    assert [entry.run.prompt for entry in one.place.entries()] == ["c", "b"]  # type: ignore[union-attr]
    assert other.place.entries() == []  # type: ignore[union-attr]


def test_runs_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(shelf.SWITCH, "0")
    assert shelf._place() is None
    keeping = Keeping(None)
    keeping.asked = REQUEST
    keeping.note(analysis.tokens(REQUEST), token_run())
    assert keeping.answer(analysis.tokens(REQUEST)) is None


def test_an_answer_is_kept_under_all_that_was_asked_and_opens_from_there(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = replace(REQUEST, answer=" is red")
    keeping.asked, keeping.whole = whole.explained, whole
    split = Split("log-probability", "mean", REQUEST.convention)
    keeping.note(jobs.answer(whole, split), answer_run())
    keeping.note(analysis.tokens(REQUEST), token_run())
    written()
    runs = {request_of(entry.run): entry.id for entry in keeping.place.entries()}  # type: ignore[union-attr]
    assert set(runs) == {whole, REQUEST}, "the analysis of the prompt is not the answer's"
    keeping.opened = keeping.place.get(runs[whole])  # type: ignore[union-attr]
    assert same(keeping.answer(jobs.answer(whole, split)), answer_run())
    assert keeping.answer(jobs.answer(replace(whole, answer=" is blue"), split)) is None
    assert keeping.answer(jobs.answer(whole, replace(split, target="logit"))) is None
    assert keeping.link_of(whole) == runs[whole] != keeping.link_of(REQUEST)
