"""One visitor's state: results that errors and cancellations never erase, and nothing computed twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from eqlin_core.runs.prompt import Target
from pages.visit import jobs as jobs_module
from pages.visit.session import Session
from pages.worker import analysis
from pages.worker.request import Request
from tests.pages.run_cases import MadeUpEngine, spectrum_run, token_run
from tests.pages.visit.session_cases import finished, settle
from tests.pages.worker.worker_cases import Gate

BRIDGE, TOWER = Request("The bridge"), Request("The tower")


@pytest.fixture
def gate(engine: MadeUpEngine) -> Iterator[Gate]:
    """Holds the spectra up until opened."""
    engine.hold = Gate()
    yield engine.hold
    engine.hold.open.set()


def test_a_request_ends_in_contributions_and_spectra(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    assert session.tokens is not None
    assert session.spectra is not None
    assert session.tokens.prompt == "The bridge"
    assert session.shown == BRIDGE
    assert not session.busy


def test_a_long_prompt_shows_its_preview_until_the_contributions_are_there(engine: MadeUpEngine, gate: Gate) -> None:
    session = Session()
    session.ask(Request("a long prompt"))
    assert gate.entered.wait(5)
    assert session.advance()
    assert session.tokens is not None
    assert not session.tokens.complete
    assert session.shown == Request("a long prompt")
    assert session.spectra is None
    assert not session.advance(), "the same preview is not new again"
    gate.open.set()
    settle(session)
    settle(session)
    assert session.tokens.complete
    assert session.spectra is not None


def test_contributions_are_there_while_the_spectra_are_still_computed(engine: MadeUpEngine, gate: Gate) -> None:
    session = Session()
    session.ask(BRIDGE)
    assert gate.entered.wait(5)
    assert session.advance()
    assert session.tokens is not None
    assert session.spectra is None
    assert session.busy
    assert not session.advance(), "nothing new"


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t "])
def test_an_empty_prompt_gives_a_sentence_and_computes_nothing(engine: MadeUpEngine, prompt: str) -> None:
    session = finished(BRIDGE)
    session.ask(Request(prompt))
    assert session.error == "The prompt is empty: type at least one word."
    assert session.tokens is not None
    assert session.spectra is not None
    assert not session.busy
    assert engine.computed == [("tokens", "The bridge"), ("split", "The bridge"), ("spectra", "The bridge")]


def test_a_failed_request_keeps_the_former_result_and_drops_the_rest_of_its_jobs(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    session.ask(Request("The impossible"))
    session.jobs.wait("tokens", 5)
    assert session.advance()
    assert session.error == "This prompt is impossible; type another."
    assert session.tokens is not None
    assert session.tokens.prompt == "The bridge"
    assert session.spectra is not None
    assert session.shown == BRIDGE
    assert not session.busy


def test_the_sentence_of_an_error_goes_with_the_next_request(engine: MadeUpEngine) -> None:
    session = finished(Request("The impossible"))
    session.ask(TOWER)
    settle(session)
    assert session.error == ""
    assert session.tokens is not None


def test_a_new_prompt_never_stands_beside_the_spectra_of_the_last_one(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    gate = engine.hold = Gate()
    session.ask(TOWER)
    session.jobs.wait("tokens", 5)
    session.advance()
    assert session.tokens is not None
    assert session.tokens.prompt == "The tower"
    assert session.spectra is None
    gate.open.set()


def test_asking_for_what_is_shown_computes_nothing(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    for _ in range(3):
        session.ask(BRIDGE)
    assert not session.busy
    assert engine.computed == [("tokens", "The bridge"), ("split", "The bridge"), ("spectra", "The bridge")]


def test_asking_three_times_quickly_computes_once(engine: MadeUpEngine, gate: Gate) -> None:
    session = Session()
    for _ in range(3):
        session.ask(BRIDGE)
    gate.open.set()
    settle(session)
    assert engine.computed == [("tokens", "The bridge"), ("split", "The bridge"), ("spectra", "The bridge")]
    assert session.spectra is not None


def test_a_cancelled_request_keeps_its_contributions_and_is_resumed_without_computing_them_again(
    engine: MadeUpEngine, gate: Gate
) -> None:
    session = Session()
    session.ask(BRIDGE)
    assert gate.entered.wait(5)
    session.advance()
    session.jobs.cancel()
    settle(session)
    assert session.cancelled
    assert not session.busy
    assert session.tokens is not None

    gate.open.set()
    session.resume()
    settle(session)
    assert session.spectra is not None
    assert not session.cancelled
    assert [what for what, _ in engine.computed].count("tokens") == 1


def test_a_new_prompt_takes_the_old_one_s_jobs_off_the_worker(engine: MadeUpEngine, gate: Gate) -> None:
    session = Session()
    session.ask(BRIDGE)
    assert gate.entered.wait(5)
    left = engine.submit(analysis.spectra(BRIDGE), "another visitor")
    left.cancel("another visitor")
    session.ask(TOWER)
    assert left.wait(5)
    assert left.snapshot().state == "cancelled"


def test_two_visitors_with_one_request_share_the_computation(engine: MadeUpEngine) -> None:
    first, second = finished(BRIDGE), finished(BRIDGE)
    assert first.tokens is second.tokens
    assert first.spectra is second.spectra
    assert len(engine.computed) == 3


def test_a_visitor_who_cancels_does_not_take_the_spectra_from_another(engine: MadeUpEngine, gate: Gate) -> None:
    first, second = Session(), Session()
    first.ask(BRIDGE)
    second.ask(BRIDGE)
    assert gate.entered.wait(5)
    first.jobs.cancel()
    first.advance()
    assert first.cancelled
    gate.open.set()
    settle(second)
    assert second.spectra is not None


def test_a_typed_token_is_found_or_refused_with_a_sentence(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    typed = session.typed_target("Venice")
    assert isinstance(typed, Target)
    assert typed.token == " Venice"
    assert session.typed_target("zzqqzz") == "'zzqqzz' is not a single token of made-up."


def test_a_token_typed_while_the_model_is_busy_is_explained_once_it_is_free(
    engine: MadeUpEngine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_module, "WAIT_BEFORE_DRAWING", 0.05)
    gate.deaf = True  # else it would give way
    session = Session()
    session.ask(BRIDGE)
    assert gate.entered.wait(5)
    session.jobs.wait("tokens", 5)
    session.advance()
    told = session.typed_target("Venice")
    assert told == "Looking up 'Venice'; it is explained as soon as the model is free."
    assert session.busy
    gate.open.set()
    session.lookups.wait("Venice", 5)
    assert session.advance(), "the page is told to draw it"
    assert isinstance(session.typed_target("Venice"), Target)


def test_a_saved_run_is_shown_at_once_and_its_model_loaded_afterwards(engine: MadeUpEngine) -> None:
    engine.saved.add(BRIDGE)
    session = Session()
    session.ask(BRIDGE)
    session.make_ready()
    assert engine.readied == [], "nothing is loaded before the run is on the screen"
    assert session.advance()
    assert session.saved
    assert session.spectra is not None, "the spectra came with it"
    assert engine.computed == []
    session.make_ready()
    assert engine.submit(analysis.ready(BRIDGE), session.visitor).wait(5)
    session.make_ready()
    assert engine.readied == [BRIDGE], "once"


def test_spectra_that_are_there_before_the_contributions_are_not_lost(
    engine: MadeUpEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = spectrum_run(token_run())

    def shipped(question: Any, visitor: str) -> Any:
        return engine.worker.ended(question.key, there, question.label, visitor)

    monkeypatch.setattr(engine, "shipped", shipped)
    other = Gate(deaf=True)  # another visitor's work, which gives way to nobody
    engine.worker.submit("gate", other, label="the gate", visitor="porter")
    assert other.entered.wait(5)
    session = Session("ada")
    session.ask(BRIDGE)
    session.advance()
    assert session.spectra is None, "there is nothing to show them with"
    other.open.set()
    settle(session)
    assert session.spectra is there
    assert not session.busy


def test_asking_for_the_saved_run_on_the_screen_computes_it(engine: MadeUpEngine) -> None:
    engine.saved.add(BRIDGE)
    session = finished(BRIDGE)
    session.ask(BRIDGE)
    settle(session)
    assert not session.saved
    assert engine.computed == [("tokens", "The bridge"), ("split", "The bridge"), ("spectra", "The bridge")]
    session.ask(BRIDGE)
    assert not session.busy, "a fresh run is not computed again"


def test_a_fresh_run_needs_nothing_made_ready(engine: MadeUpEngine) -> None:
    finished(BRIDGE).make_ready()
    assert engine.worker.queue() == []
    assert engine.readied == []


WIDE = Request("a wide model")


def test_early_spectra_are_shown_as_they_arrive_and_replaced_by_the_full_ones(engine: MadeUpEngine, gate: Gate) -> None:
    engine.between = Gate()
    session = Session()
    session.ask(WIDE)
    assert engine.between.entered.wait(5)
    assert session.advance()
    assert session.early is not None
    assert session.early.there == (1,)
    assert session.tokens is not None
    assert session.spectra is None, "what needs all tokens sees nothing of it"
    assert not session.advance(), "the same early spectra are not new again"
    engine.between.open.set()
    assert gate.entered.wait(5)
    assert session.advance()
    assert session.early.there == (0, 1)
    session.ask(WIDE)
    assert session.busy, "an early result is not a finished one"
    assert engine.computed.count(("spectra", WIDE.prompt)) == 1
    gate.open.set()
    settle(session)
    assert session.spectra is not None
    assert session.early is None


def test_early_spectra_outlive_a_cancellation_and_lose_no_token_when_it_is_resumed(
    engine: MadeUpEngine, gate: Gate
) -> None:
    session = Session()
    session.ask(WIDE)
    assert gate.entered.wait(5)
    session.advance()
    session.jobs.cancel()
    settle(session)
    assert session.cancelled
    assert session.early is not None
    assert session.early.there == (0, 1)
    engine.between = Gate()
    session.resume()
    assert engine.between.entered.wait(5)
    session.advance()
    assert session.early.there == (0, 1)
    engine.between.open.set()
    gate.open.set()
    settle(session)
    assert session.spectra is not None


def test_early_spectra_go_with_their_prompt(engine: MadeUpEngine, gate: Gate) -> None:
    session = Session()
    session.ask(WIDE)
    assert gate.entered.wait(5)
    session.advance()
    assert session.early is not None
    session.ask(TOWER)
    assert session.jobs.wait("tokens", 5)
    session.advance()
    assert session.shown == TOWER
    assert session.early is None


def test_a_saved_run_is_never_replaced_by_early_spectra(engine: MadeUpEngine, gate: Gate) -> None:
    engine.saved.add(WIDE)
    gate.open.set()
    session = finished(WIDE)
    full = session.spectra
    gate.open.clear()
    session.ask(WIDE)
    session.jobs.wait("tokens", 5)
    assert gate.entered.wait(5)
    session.advance()
    assert session.spectra is full
    assert session.early is None


def test_damaged_weights_are_said_and_fetched_again_while_the_numbers_stay(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    assert session.damage == ""
    engine.damaged = "The weights on the disk have changed: fetch the model again."
    assert session.damage == engine.damaged
    session.fetch_again()
    assert session.jobs.wait("fetched", 5)
    session.advance()
    assert session.damage == ""
    assert session.tokens is not None
    assert session.error == ""


def test_weights_that_are_not_eqlin_s_stay_and_that_is_said(engine: MadeUpEngine) -> None:
    session = finished(BRIDGE)
    engine.damaged = "not ours"
    session.fetch_again()
    assert session.jobs.wait("fetched", 5)
    session.advance()
    assert session.error == "This folder is no copy that eqlin fetched: mend it by hand."
    assert session.damage == "not ours"
