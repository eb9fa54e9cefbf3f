"""Parts that poll stand where they were reserved, and are drawn after everything else."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def script(inside_app: bool) -> None:
    import streamlit as st

    from pages.visit import polling

    order = st.session_state.setdefault("order", [])

    def part(active: bool) -> None:
        order.append(f"part {active}")
        st.write("the part")

    order.append("run")
    if inside_app:
        polling.begin()
    polling.poll(part, going_on=lambda: "page" in order)
    st.write("the page")
    order.append("page")
    if inside_app:
        polling.draw_parts()


def abandoned() -> None:
    import streamlit as st

    from pages.visit import polling

    polling.begin()
    polling.poll(lambda _active: st.write("the part"), going_on=lambda: False)
    if "again" not in st.session_state:
        st.session_state["again"] = True
        st.rerun()
    polling.draw_parts()


def test_a_part_is_drawn_last_in_the_place_where_it_was_reserved() -> None:
    at = AppTest.from_function(script, args=(True,)).run()
    assert at.session_state["order"] == ["run", "page", "part True"], "what is going on is asked at the end as well"
    assert [text.value for text in at.markdown] == ["the part", "the page"]


def test_outside_the_app_a_part_is_drawn_at_once() -> None:
    at = AppTest.from_function(script, args=(False,)).run()
    assert at.session_state["order"] == ["run", "part False", "page"]


def test_a_run_that_was_abandoned_leaves_no_part_behind() -> None:
    at = AppTest.from_function(abandoned).run()
    assert [text.value for text in at.markdown] == ["the part"]
    assert not at.exception
