"""Page Models: what is loaded and what is free, the table of models, and what can be done with the chosen one."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from eqlin_core.errors import EqlinError
from eqlin_core.models.files import size_text
from eqlin_core.models.names import check_name, hub_id_of
from pages.catalogue import jobs
from pages.catalogue.entries import Entry, entry
from pages.door.admission import listed_models, manages_models, refusal
from pages.visit.session import session
from pages.widgets.dials import ASK_AGAIN
from pages.widgets.facts import fact, plain, strip_of
from pages.widgets.row_choice import HEADER, ROW
from pages.widgets.sentences import shortened
from pages.worker.engine import engine
from pages.worker.request import DEFAULT_MODEL, PRECISIONS, Request

if TYPE_CHECKING:
    from pages.worker.models import InMemory, Room
    from pages.worker.question import Question

IN_VIEW = 20
LOOK, _TABLE = "look", "models-table"
_SIXTEEN = ("bfloat16", "float16")
_GB = {"float32": "float32, GB", "float64": "float64, GB", "bfloat16": "16 bit, GB"}


def answer(found: list[Entry], room: Room) -> None:
    """Say what is loaded, what is free, and how many of the models fit in the sidebar's precision."""
    here = "  \n".join(_in_memory(model) for model in engine().loaded()) or "No model is loaded now."
    dtype = st.session_state.get("dtype") or PRECISIONS[0]
    fitting = [_fits(one, dtype, room) for one in found]
    also = f", with the {size_text(room.loaded)} of what is loaded, which goes for another" if room.loaded else ""
    st.markdown(
        f"{here}  \n**{size_text(room.free)}** is free {room.where}: in {dtype} **{sum(fitting)} of {len(fitting)}** "
        f"models fit{also}."
    )


def table(found: list[Entry], room: Room) -> None:
    """Draw all models; a click in a row looks at that one."""
    loaded = _loaded_ids()
    columns: dict[str, list[Any]] = {
        "Model": [one.name for one in found],
        "Fits now in": [_fitting(one, room) for one in found],
        "10⁹ weights": [None if one.parameters is None else one.parameters / 1e9 for one in found],
        **{title: [_gigabytes(one.needed(dtype)) for one in found] for dtype, title in _GB.items()},
        "On this disk": [_disk(one, loaded) for one in found],
        "Licence": [one.licence + (", gated" if one.gated else "") for one in found],
    }
    number = st.column_config.NumberColumn(format="%.3g", width=82)
    wide = {"Model": 165, "Fits now in": 108, "On this disk": 116, "Licence": 216}
    st.dataframe(
        columns,
        hide_index=True,
        on_select=partial(_choose, [one.name for one in found]),
        selection_mode="single-cell",
        key=_TABLE,
        row_height=ROW,
        height=HEADER + min(IN_VIEW, len(found)) * ROW,
        column_config={
            **dict.fromkeys(["10⁹ weights", *_GB.values()], number),
            **{title: st.column_config.TextColumn(width=width) for title, width in wide.items()},
        },
    )
    st.caption(
        "Memory: the weights and the least that work needs beside them; a prompt's plan adds its own. Weights are "
        "counted in the files where these are here, else rounded as the model's card names them. The terms on the card "
        "count. 16 bit: bfloat16, float16."
    )


def chosen(found: list[Entry], room: Room) -> None:
    """Draw the model that is looked at: its facts, whether its name leads anywhere, and what to do with it."""
    names = [one.name for one in found]
    current = st.session_state.get("model") or DEFAULT_MODEL
    looked_at = st.session_state.get(LOOK) or current
    options = names if listed_models() else list(dict.fromkeys([*names, current, looked_at]))
    name = st.selectbox(
        "Look at",
        options,
        options.index(current) if current in options else 0,
        key=LOOK,
        bind="query-params",
        accept_new_options=True,
        help="A name from the list."
        if listed_models()
        else "A name from the list, a Hugging Face model id, a local folder, or a .gguf file.",
        width=420,
    )
    name = (name or DEFAULT_MODEL).strip()
    if refused := _refusal(name):
        st.error(shortened(refused), icon=":material/error:")
        return
    one = next((one for one in found if one.name == name), None) or entry(name)
    _facts(one, room)
    _said(name)
    st.markdown(_advice(one))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Use this model", key="use-model", type="primary", on_click=_use, args=(name,))
        if manages_models():
            _manage(one)
        else:
            st.caption("The models of this server are fetched and deleted by its operator.")


def _manage(one: Entry) -> None:
    loaded = [model for model in engine().loaded() if hub_id_of(model.name) == hub_id_of(one.name)]
    turn = engine().fetches
    last = session().errands.snapshots.get(one.name)
    fetching = last is not None and not last.finished
    if not one.is_here:
        part = one.copy is not None and one.copy.nbytes > 0
        st.button(
            "Fetch the rest" if part else "Fetch",
            key="fetch-model",
            icon=":material/download:",
            disabled=fetching,
            on_click=_start,
            args=(one.name, jobs.fetched(one.name, turn)),
            help="Downloads it without loading it, on every page with its progress. Closing this tab stops it.",
        )
    if loaded:
        st.button(
            "Unload",
            key="unload-model",
            on_click=_start,
            args=(one.name, jobs.unloaded(loaded[0].name, loaded[0].since)),
            help="Frees its memory. An analysis loads it again.",
        )
    if one.copy is not None:
        with st.popover(
            "Delete", key=f"delete-{one.name}", icon=":material/delete:", disabled=bool(loaded) or fetching
        ):
            st.markdown(f"{size_text(one.copy.nbytes)} of {plain(one.name)} go, and must be fetched to be used again.")
            st.button(
                f"Delete {size_text(one.copy.nbytes)}",
                key="delete-model",
                on_click=_start,
                args=(one.name, jobs.deleted(one.copy.name, turn)),
            )


def _refusal(name: str) -> str:
    """Why nothing is done with this name, in one sentence; empty where it leads somewhere."""
    if refused := refusal(Request(model=name)):
        return refused
    try:
        check_name(name)
    except EqlinError as error:
        return str(error)
    return ""


def _facts(one: Entry, room: Room) -> None:
    where = one.hub_id or ("this machine" if one.is_local else "a Python package, once")
    weights = "unknown here" if one.parameters is None else f"{one.parameters / 1e9:.3g} × 10⁹"
    st.html(
        strip_of(
            fact("from", where),
            fact("weights", weights),
            fact("licence", one.licence),
            fact("on this disk", _disk(one, _loaded_ids()) or "no"),
            fact("fits now in", _fitting(one, room)),
        )
    )


def _advice(one: Entry) -> str:
    """What stands between this model and its use."""
    if one.is_here:
        return f"{plain(one.name)} is on this machine and needs no network."
    begun = ""
    if one.copy is not None and one.copy.nbytes:
        begun = f" {size_text(one.copy.nbytes)} of it have arrived: files that are whole are not fetched again."
    gated = ""
    if one.gated and manages_models():
        gated = (
            "  \nIt is gated: accept its terms on its page of the hub, and log in with `hf auth login` in a terminal "
            "on this machine. eqlin neither shows nor keeps the token."
        )
    by = "its first use, or *Fetch*, downloads it" if manages_models() else "its first use downloads it"
    return f"{plain(one.name)} is not on this machine: {by}.{begun}{gated}"


def _said(name: str) -> None:
    """How the last fetch, or deletion, of this model ended."""
    last = session().errands.snapshots.get(name)
    if last is not None and last.state == "failed":
        st.error(shortened(last.error), icon=":material/error:")
    elif last is not None and last.state == "cancelled":
        st.caption("Cancelled. Files that had arrived whole stay.")


def _use(name: str) -> None:
    """Set the sidebar's model, and analyse the prompt with it."""
    st.session_state["model"] = name
    st.session_state[ASK_AGAIN] = True


def _start(name: str, question: Question[None]) -> None:
    """Begin what was asked for, unless this server leaves it to its operator."""
    if manages_models():
        session().errands.start(name, question)
        session().errands.wait(name)


def _choose(names: list[str]) -> None:
    for row, _ in st.session_state[_TABLE]["selection"]["cells"]:
        st.session_state[LOOK] = names[row]


def _in_memory(model: InMemory) -> str:
    since = time.strftime("%H:%M", time.localtime(model.since))
    maps = f"{model.maps} map" + ("" if model.maps == 1 else "s")
    return (
        f"Loaded since {since}: **{plain(model.name)}** in {model.dtype}, {size_text(model.nbytes)} on "
        f"{plain(model.device)}, with {maps} kept."
    )


def _fits(one: Entry, dtype: str, room: Room) -> bool:
    needed = one.needed(dtype)
    return needed is not None and needed <= room.bytes


def _fitting(one: Entry, room: Room) -> str:
    """The precisions in which it fits, in few words."""
    found = one.fitting(room.bytes)
    if found is None:
        return "unknown"
    if len(found) == len(PRECISIONS):
        return "all"
    words = [dtype for dtype in found if dtype not in _SIXTEEN] + ["16 bit"] * (set(_SIXTEEN) <= set(found))
    return ", ".join(words) or "none"


def _loaded_ids() -> set[str]:
    return {hub_id_of(model.name) for model in engine().loaded()}


def _disk(one: Entry, loaded: set[str]) -> str:
    """How much of it lies here, and whether it is loaded, by the ids of what is."""
    is_loaded = hub_id_of(one.name) in loaded
    if one.is_local:
        return "yes, loaded" if is_loaded else "yes"
    if one.copy is None or not one.copy.nbytes:
        return "loaded" if is_loaded else ""
    state = ", loaded" if is_loaded else "" if one.copy.whole else ", a part"
    return size_text(one.copy.nbytes) + state


def _gigabytes(size: float | None) -> float | None:
    return None if size is None else size / 1e9
