"""The browser tests' own tools, on a small throw-away app: what they wait for, notice, and clean up."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.server import App, running_app
from tests.browser.visit import IDLE, visit, wait_finished, wait_idle

SMALL_APP = """
import time
import streamlit as st

print("a visitor came")
if st.query_params.get("do") == "fail":
    st.html("<script>setTimeout(() => { throw new Error('burst') })</script>", unsafe_allow_javascript=True)
if st.button("slow"):
    time.sleep(3)
    st.write("slept")
st.session_state.setdefault("begun", time.monotonic())
done = st.session_state.get("job") and time.monotonic() - st.session_state.job > 2
if st.button("job"):
    st.session_state.job = time.monotonic()
    st.rerun()

@st.fragment(run_every=None if done or "job" not in st.session_state else 0.3)
def follow():
    if "job" in st.session_state and not done:
        st.progress(0.5)
        if time.monotonic() - st.session_state.job > 2:
            st.rerun()

follow()
st.write("finished" if done else "not finished")
st.write("theme", st.context.theme.type)
"""


@pytest.fixture(scope="module")
def small_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    script = tmp_path_factory.mktemp("small") / "small.py"
    script.write_text(SMALL_APP)
    with running_app(script) as app:
        yield app


def test_a_page_is_idle_only_after_its_script_has_run(small_app: App, chromium: Browser) -> None:
    page = visit(chromium, small_app.url)
    wait_idle(page)
    page.get_by_role("button", name="slow").click()
    page.wait_for_timeout(200)
    wait_idle(page)
    assert page.get_by_text("slept").is_visible()
    page.context.close()


def test_a_page_is_finished_only_after_its_job_has_ended(small_app: App, chromium: Browser) -> None:
    page = visit(chromium, small_app.url)
    wait_idle(page)
    page.get_by_role("button", name="job").click()
    wait_idle(page)
    assert page.get_by_text("not finished").is_visible()
    wait_finished(page)
    assert page.get_by_text("finished", exact=True).is_visible()
    page.context.close()


def test_waiting_gives_up_in_time(small_app: App, chromium: Browser) -> None:
    page = visit(chromium, small_app.url)
    wait_idle(page)
    page.get_by_role("button", name="slow").click()
    page.wait_for_timeout(200)
    with pytest.raises(TimeoutError, match="standing still"):
        wait_idle(page, timeout=0.3)
    assert not page.evaluate(f"() => ({IDLE})()"), "it gave up before the page stood still"
    page.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_app_follows_the_theme_of_the_visit(small_app: App, chromium: Browser, theme: str) -> None:
    page = visit(chromium, small_app.url, theme=theme)  # type: ignore[arg-type]
    wait_idle(page)
    assert page.get_by_text(f"theme {theme}").is_visible()
    page.context.close()


def test_console_errors_and_exceptions_of_the_page_are_noted(small_app: App, chromium: Browser) -> None:
    problems: list[str] = []
    page = visit(chromium, f"{small_app.url}/?do=fail", problems=problems)
    wait_idle(page)
    page.evaluate("() => console.error('a complaint')")
    page.wait_for_timeout(100)
    assert any("burst" in problem for problem in problems)
    assert any("a complaint" in problem for problem in problems)
    page.context.close()


def test_an_ordinary_visit_notes_no_problem(small_app: App, chromium: Browser) -> None:
    problems: list[str] = []
    page = visit(chromium, small_app.url, problems=problems)
    wait_idle(page)
    assert problems == []
    page.context.close()


def test_the_log_of_the_app_is_at_hand(small_app: App, chromium: Browser) -> None:
    page = visit(chromium, small_app.url)
    wait_idle(page)
    assert "a visitor came" in small_app.log()
    page.context.close()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except urllib.error.URLError:
        return False


def test_the_server_ends_with_its_block_even_when_the_test_fails(tmp_path: Path) -> None:
    script = tmp_path / "empty.py"
    script.write_text("import streamlit as st\n")
    urls = []

    def fail_during_the_visit() -> None:
        with running_app(script) as app:
            urls.append(app.url)
            assert answers(app.url)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_during_the_visit()
    assert not answers(urls[0])


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended before it answered"), running_app(tmp_path / "missing.py"):
        pass
