"""The list of kept runs: searched, opened, pinned, named, downloaded, deleted; and a file from another machine."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.errors import EqlinError
from eqlin_core.runs.files import load_run, save_run
from eqlin_core.runs.kept import KeptRun
from pages.widgets.facts import plain
from pages.widgets.opening import open_run, title

if TYPE_CHECKING:
    from eqlin_core.runs.shelf import Entry
    from pages.visit.shelf import Place

AT_ONCE = 20
_SEARCH, _ALL = "search", "all_runs"


def runs(place: Place) -> None:
    """Draw the search, the list, and the way to open a file."""
    entries = place.entries()
    if not entries:
        st.info("Nothing is kept yet: every analysis that is finished stands here from then on.")
    else:
        words = st.text_input("Search", key=_SEARCH, placeholder="Words of the prompt, the name, the note, the model")
        found = [entry for entry in entries if _matches(entry, words or "")]
        shown = found if st.session_state.get(_ALL) else found[:AT_ONCE]
        size = sum(entry.size for entry in entries) / 2**20
        st.caption(
            f"{len(found)} of {len(entries)} runs, {size:.1f} MB. The oldest go first when room is needed, pinned ones "
            "never."
        )
        for entry in shown:
            _row(place, entry)
        if len(found) > len(shown):
            st.toggle(f"Show all {len(found)}", key=_ALL)
    _upload(place)


def _matches(entry: Entry, words: str) -> bool:
    run = entry.run
    text = " ".join((run.prompt, run.name, run.note, run.model, run.dtype, run.convention.words)).casefold()
    return all(word in text for word in words.casefold().split())


def _row(place: Place, entry: Entry) -> None:
    run, id = entry.run, entry.id
    with st.container(border=True, key=f"run-{id}"):
        left, right = st.columns([3, 2], vertical_alignment="center")
        with left:
            st.markdown(("**" + plain(title(run, 90)) + "**") + (" (pinned)" if run.pinned else ""))
            made = f"{datetime.fromisoformat(run.made).astimezone():%d %b %Y %H:%M}"
            facts = [plain(run.model), run.dtype, f"map {run.convention.words}", made, f"{entry.size / 2**20:.1f} MB"]
            st.caption(", ".join(facts) + (f". {plain(run.note)}" if run.note else ""))
        with right, st.container(horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
            st.button("Open", key=f"open-{id}", type="primary", on_click=open_run, args=(id,))
            with st.popover("More", key=f"more-{id}"):
                _more(place, entry)


def _more(place: Place, entry: Entry) -> None:
    run, id = entry.run, entry.id
    name = st.text_input("Name", run.name, key=f"name-{id}", max_chars=200)
    note = st.text_area("Note", run.note, key=f"note-{id}", max_chars=4000)
    if (name, note) != (run.name, run.note):
        _try(lambda: place.change(id, name=name or "", note=note or ""))
        st.rerun()
    st.button(
        "Unpin" if run.pinned else "Keep for good",
        key=f"keep-{id}",
        on_click=_try,
        args=(lambda: place.change(id, pinned=not run.pinned),),
    )
    st.download_button(
        "Download",
        lambda: _file(place, id),
        f"eqlin-{id}.npz",
        key=f"download-{id}",
        on_click="ignore",
        help="One file with all arrays: eq.load_run reads it, and this page on another machine opens it.",
    )
    st.button("Delete", key=f"delete-{id}", on_click=place.remove, args=(id,))


def _file(place: Place, id: str) -> bytes:
    """The run as a file."""
    run = place.get(id)
    if run is None:
        return b""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        save_run(run, path)
        return path.read_bytes()


def _upload(place: Place) -> None:
    given = st.file_uploader(
        "Open a run from a file", type="npz", key="run-file", help="One that this page, or eq.save_run, wrote."
    )
    if given is None or st.session_state.get("run-file-taken") == given.file_id:
        return
    st.session_state["run-file-taken"] = given.file_id
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.npz"
        path.write_bytes(given.getvalue())
        try:
            run = load_run(path)
        except EqlinError:
            st.error("This file holds no run of eqlin, or is damaged.", icon=":material/error:")
            return
    if not isinstance(run, KeptRun):
        st.error("This file holds one result and no whole run: eq.load_run reads it.", icon=":material/error:")
        return
    _try(lambda: place.put(run))
    st.rerun()


def _try(act: Callable[[], object]) -> None:
    """Do something to the shelf; what goes wrong is said when the page is drawn next."""
    try:
        act()
    except EqlinError as error:
        st.session_state["run_error"] = str(error)
