"""The page Layers: its jobs and what outlives them, the open cell, and the charts of what is there."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from eqlin_core import EqlinError
from eqlin_core.runs.split import Split
from pages.sweep.jobs import sweep
from pages.sweep.state import Layers
from pages.sweep.watch import affordable
from pages.worker.request import DEFAULT_SPLIT, Request
from pages.worker.worker import Reporter, Worker
from tests.pages.run_cases import give, target, token_run
from tests.pages.sweep.layer_cases import MadeUpLayers, first_run, heads_run, sweep_run
from tests.pages.worker.worker_cases import Gate

BRIDGE, TOWER = Request("The bridge"), Request("The tower")


@pytest.fixture
def jobs(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> MadeUpLayers:
    made_up = MadeUpLayers(worker)
    give(monkeypatch, made_up)
    return made_up


def settle(state: Layers) -> None:
    for name in state.jobs.under_way:
        assert state.jobs.wait(name, 5)
    state.advance()


def finished(request: Request = BRIDGE) -> Layers:
    state = Layers("ada")
    state.follow(request)
    state.ask()
    settle(state)
    return state


# ---- jobs -----------------------------------------------------------------------------------------------------------


def test_both_modes_are_swept_the_cumulative_one_first(jobs: MadeUpLayers) -> None:
    state = finished()
    assert list(state.sweeps) == ["cumulative", "layerwise"]
    assert jobs.computed == [("The bridge", "cumulative"), ("The bridge", "layerwise")]
    assert not state.jobs.busy
    assert not state.advance(), "nothing is new any more"


def test_the_first_mode_is_shown_while_the_second_is_computed(jobs: MadeUpLayers) -> None:
    state = Layers("ada")
    state.follow(BRIDGE)
    state.ask()
    assert state.jobs.wait("layerwise", 5)
    state.advance()
    assert "cumulative" in state.sweeps


def test_what_the_page_opens_with_is_there_before_the_rest(jobs: MadeUpLayers) -> None:
    jobs.publishes, jobs.hold = True, Gate()
    state = Layers("ada")
    state.follow(BRIDGE)
    state.open()
    assert jobs.hold.entered.wait(5)
    assert state.advance() or state.first is not None
    assert not state.advance(), "it is new once"
    assert state.sweeps == {}
    assert state.shown["cumulative"].kinds == ("layer",)
    jobs.hold.open.set()
    settle(state)
    assert state.shown == state.sweeps
    assert state.shown["cumulative"].kinds == ("layer", "attn", "mlp")
    state.follow(TOWER)
    assert state.shown == {}


def test_more_layers_take_the_place_of_fewer(jobs: MadeUpLayers) -> None:
    one, three = Gate(), Gate()

    def grow(progress: Reporter) -> None:
        progress.publish("first", first_run(1))
        one(progress)
        progress.publish("first", first_run(3))
        three(progress)

    jobs.hold = grow
    state = Layers("ada")
    state.follow(BRIDGE)
    state.ask()
    assert one.entered.wait(5)
    state.advance()
    assert not state.shown["cumulative"].complete
    one.open.set()
    assert three.entered.wait(5)
    assert state.advance(), "there is something new to show"
    assert state.shown["cumulative"].complete
    assert state.sweeps == {}
    three.open.set()
    settle(state)


def test_what_is_shipped_is_there_at_once_and_the_sweeps_follow_the_model(jobs: MadeUpLayers) -> None:
    jobs.comes, jobs.model = {"first", "heads"}, Gate()
    state = Layers("ada")
    assert state.follow(BRIDGE, shipped=True)
    state.open()
    assert state.shown == {"cumulative": state.first}
    state.ask_heads((0, 1), Split())
    assert state.heads is not None
    assert jobs.computed == []
    rest = Gate()

    def fewer(progress: Reporter) -> None:
        progress.publish("first", first_run(1))
        rest(progress)

    jobs.hold = fewer
    jobs.model.open.set()
    settle(state)
    assert rest.entered.wait(5)
    assert not state.advance(), "more of its layers are there already"
    assert state.shown["cumulative"].complete
    rest.open.set()
    settle(state)
    assert jobs.computed == [("The bridge", "cumulative"), ("The bridge", "layerwise")]
    assert not state.follow(BRIDGE, shipped=True)
    assert state.follow(BRIDGE), "computed here, it is another analysis"
    assert (state.shown, state.heads) == ({}, None)
    state.open()
    state.ask_heads((0, 1), Split())
    settle(state)
    assert ("The bridge", (0, 1)) in jobs.computed


def test_without_a_model_what_is_shipped_stays_and_the_rest_waits_for_a_click(jobs: MadeUpLayers) -> None:
    def missing(_progress: object) -> None:
        raise EqlinError("The package index does not offer it.")

    jobs.comes, jobs.model = {"first"}, missing
    state = Layers("ada")
    state.follow(BRIDGE, shipped=True)
    state.open()
    settle(state)
    assert state.first is not None
    assert (state.error, state.sweeps, jobs.computed) == ("", {}, [])
    jobs.failure = EqlinError("The package index does not offer it.")
    state.ask()
    settle(state)
    assert state.error == "The package index does not offer it."
    assert state.shown == {"cumulative": state.first}


def test_another_prompt_empties_the_page_and_stops_its_jobs(jobs: MadeUpLayers) -> None:
    jobs.hold = Gate()
    state = Layers("ada")
    state.follow(BRIDGE)
    state.ask()
    assert jobs.hold.entered.wait(5)
    left = jobs.submit(sweep(BRIDGE, "cumulative"), "another visitor")
    left.cancel("another visitor")
    assert state.follow(TOWER)
    assert not state.follow(TOWER), "it is the same request"
    jobs.hold.open.set()
    assert left.wait(5)
    assert left.snapshot().state == "cancelled"
    assert state.sweeps == {}


def test_what_was_stopped_can_be_asked_for_again(jobs: MadeUpLayers) -> None:
    jobs.hold = Gate()
    state = Layers("ada")
    state.follow(BRIDGE)
    state.ask()
    assert jobs.hold.entered.wait(5)
    state.jobs.cancel()
    jobs.hold.open.set()
    settle(state)
    assert state.stopped
    assert state.sweeps == {}
    jobs.hold = None
    state.ask()
    settle(state)
    assert not state.stopped
    assert len(state.sweeps) == 2


def test_a_failure_is_one_sentence_and_leaves_what_is_there(jobs: MadeUpLayers) -> None:
    state = finished()
    del state.sweeps["layerwise"]
    jobs.failure = EqlinError("The maps of a layer need more memory; shorten the prompt.")
    state.request = TOWER
    state.ask()
    settle(state)
    assert state.refused["layerwise"].startswith("The maps of a layer")
    assert state.error == "", "the maps that the page opens with are there"
    assert list(state.sweeps) == ["cumulative"]


def test_heads_are_asked_for_once_and_again_for_another_token(jobs: MadeUpLayers) -> None:
    state = finished()
    for ids in ((0, 1), (0, 1), (0,), (0, 1, 7)):
        state.ask_heads(ids, Split())
        settle(state)
    assert jobs.computed[2:] == [("The bridge", (0, 1)), ("The bridge", (0, 1, 7))]
    assert state.heads is not None
    assert state.heads.ids == (0, 1, 7)


@pytest.mark.parametrize(
    ("tokens", "attention", "at_once"), [(7, "held", True), (60, "held", False), (7, "half", False), (2, "half", True)]
)
def test_only_what_takes_a_moment_starts_by_itself(tokens: int, attention: str, at_once: bool) -> None:
    run = token_run()
    default = replace(run, tokens=["a"] * tokens, width=576, n_layers=30, key=replace(run.key, attention=attention))
    assert affordable(default) is at_once


# ---- what is drawn --------------------------------------------------------------------------------------------------


def draw_sweeps(run, sweeps, state):
    import streamlit as st

    from pages.sweep.charts import first_read, path, spectra
    from pages.sweep.table import choices, read_out

    st.session_state.update({"cell": True} | state)
    chosen = choices(sweeps, run)
    if chosen is not None:
        read_out(chosen, run)
        if chosen.sweep.complete:
            spectra(chosen, sweeps)
            path(chosen)
            first_read(chosen, run)


def drawn(sweeps: Any = None, **state: Any) -> AppTest:
    modes = ("cumulative", "layerwise")
    found = {mode: sweep_run(mode) for mode in modes} if sweeps is None else sweeps
    run = token_run()
    object.__setattr__(run, "n_layers", 3)
    app = AppTest.from_function(draw_sweeps, kwargs={"run": run, "sweeps": found, "state": state})
    app.run(timeout=30)
    assert not app.exception
    return app


def headers(app: AppTest) -> list[str]:
    return [header.value for header in app.header]


def facts(app: AppTest) -> str:
    return " ".join(element.proto.body for element in app.get("html"))


def test_the_page_opens_at_the_joint_map_of_the_last_layer() -> None:
    app = drawn()
    assert "What u₁ writes, layer by layer" in headers(app)
    assert "Triplet 1 of all tokens together at layer 2, block output" in headers(app)
    assert "σ</b> 33.0" in facts(app)
    assert "σ (v · x)</b> -66.0" in facts(app)
    assert "cos(v, all embeddings)</b> -0.500" in facts(app)
    assert "stable rank</b> 1.50" in facts(app)


def test_the_triplet_of_a_cell_waits_until_the_cell_is_opened() -> None:
    assert not any(header.startswith("Triplet") for header in headers(drawn(cell=False)))


def test_an_opened_cell_is_read_out() -> None:
    app = drawn(at_layer=1, column="1 ·bridge", layer_triplet=2)
    assert "What u₂ writes, layer by layer" in headers(app)
    assert "Triplet 2 of ·bridge at layer 1, block output" in headers(app)
    assert "σ</b> 21.5" in facts(app)
    assert "cos(v, own embedding)</b> -0.500" in facts(app)
    assert "Singular values, ·bridge" in headers(app)


def test_a_place_and_a_mode_are_chosen() -> None:
    app = drawn(map_from="layerwise", place="mlp")
    assert "Triplet 1 of all tokens together at layer 2, MLP" in headers(app)
    assert "stable rank</b> 20.0" in facts(app)
    assert "cos(v, all inputs)</b> -0.500" in facts(app)
    assert any("from the block's input" in caption.value for caption in app.caption)


def test_a_mode_that_is_not_there_yet_is_said_and_the_other_shown() -> None:
    app = drawn({"cumulative": sweep_run()}, map_from="layerwise")
    assert any("are not there yet; you see those from the embeddings" in caption.value for caption in app.caption)
    assert "stable rank</b> 1.50" in facts(app)


def test_what_is_not_there_yet_of_a_sweep_is_said_and_what_is_there_shown() -> None:
    app = drawn({"cumulative": first_run()}, place="mlp", layer_triplet=8)
    assert any(
        "2 triplets of each map to the block output; the rest follows" in caption.value for caption in app.caption
    )
    assert "Triplet 2 of all tokens together at layer 2, block output" in headers(app)
    assert app.selectbox(key="layer_triplet").value == 8, "the choice is kept"
    assert not any("So far" in caption.value for caption in drawn({"cumulative": first_run()}).caption)


def test_layers_that_are_not_there_yet_leave_their_rows_blank() -> None:
    app = drawn({"cumulative": first_run(2)}, layer_colour="cosine with the last layer's u")
    assert any("to the block output, up to layer 1 of 2; the rest follows" in caption.value for caption in app.caption)
    assert headers(app) == ["What u₁ writes, layer by layer"], "what needs the last layer waits for it"
    (table,) = app.get("plotly_chart")
    cells = json.loads(table.proto.spec)["data"][0]["text"]
    assert [any(row) for row in cells] == [True, True, False]


def test_nothing_is_drawn_before_there_is_a_sweep() -> None:
    app = drawn({})
    assert headers(app) == []


def test_a_cell_of_an_earlier_prompt_is_forgotten() -> None:
    app = drawn(at_layer=25, column="9 ·gone")
    assert "Triplet 1 of all tokens together at layer 2, block output" in headers(app)


def test_when_a_chosen_token_becomes_the_read_out_is_said() -> None:
    app = drawn(reads="·w31")
    assert app.selectbox(key="reads").value == "·w31"
    assert any("has at the block output never reads as it" in caption.value for caption in app.caption)
    app = drawn(reads="·w20")
    assert any("has at the block output first reads as it at layer 0" in caption.value for caption in app.caption)


def draw_heads(run, state, explained, head):
    import streamlit as st

    from pages.sweep.heads import heads

    if head is not None:
        st.session_state["head"] = head
    heads(state, run, explained)


def drawn_heads(head: tuple[int, int] | None = None) -> AppTest:
    from pages.widgets.explained import Explained

    run = token_run()
    state = Layers("ada", request=BRIDGE, heads=heads_run(tuple(t.token_id for t in run.targets)))
    state.heads_by = DEFAULT_SPLIT.convention, DEFAULT_SPLIT.baseline
    values = {"run": run, "state": state, "explained": Explained(target(0), None), "head": head}
    app = AppTest.from_function(draw_heads, kwargs=values)
    app.run(timeout=30)
    assert not app.exception
    return app


def test_the_head_that_writes_most_is_opened_and_another_can_be() -> None:
    app = drawn_heads()
    assert "Layer 2, head 1" in headers(app)
    assert any("they sum to 1.20" in caption.value for caption in app.caption)
    app = drawn_heads((0, 0))
    assert "Layer 0, head 0" in headers(app)
    assert any("they sum to 0.200" in caption.value for caption in app.caption)


def test_all_parts_sum_to_the_logit_on_the_page() -> None:
    (said,) = [caption.value for caption in drawn_heads().caption if "embedding and constants" in caption.value]
    assert said.startswith("With 0.500 of the embedding and constants they sum to 10.1; the target is 10.1")
