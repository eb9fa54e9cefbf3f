"""The address of what is shown: copied by a button, and one step of the browser's history for every analysis."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs

import streamlit as st

from eqlin_core.errors import EqlinError
from eqlin_core.runs.convention import Convention
from pages.visit.session import session
from pages.visit.shelf import keeping
from pages.widgets.opening import ask_for, open_run
from pages.worker.request import DEFAULT_MODEL, EXAMPLES, PRECISIONS, Request

LONGEST = 1500  # characters of prompt and answer in an address; longer ones are linked by their run
DIGITS = 9  # of a position: no text has so many tokens
# What stands in boxes of numbers that the address fills.
NUMBERS = ("position", "inject", "new_tokens", "seed", "study_first")
_NUMBER = re.compile(rf"[+-]?[0-9]{{1,{DIGITS}}}(\.[0-9]{{0,{DIGITS}}})?")
_KEY = "address"
_STYLE = """
button { border: none; background: none; padding: 0.25rem 0.1rem; font: inherit; color: inherit; cursor: pointer;
         min-width: 2.2rem; font-size: 0.875rem; white-space: nowrap; }
button:hover { color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid var(--st-primary-color); border-radius: 4px; }
button:disabled { opacity: 0.5; cursor: default; }
"""
_component = st.components.v2.component(
    "eqlin_address",
    html="<button type='button'>Link</button>",
    css=_STYLE,
    js=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
)


def address_button(shown: Request) -> None:
    """The button, and what follows Back and Forward."""
    long = len(shown.prompt) + len(shown.answer) > LONGEST
    run = keeping().link_of(shown) if long else ""
    data = {
        "run": run,
        "prompt": shown.prompt if run else "",
        "answer": shown.answer if run else "",
        "shown": shown.prompt,
        "unlinked": long and not run,
        "help": _too_long(shown, run, keeping().links)
        if long
        else "Copies the address of this view: who opens it sees the same prompt with the same choices.",
    }
    _component(data=data, key=_KEY, on_went_change=_went, height="content", width="content")


def without_huge_numbers() -> None:
    """Take numbers out of the address at which Streamlit's own boxes of numbers fail."""
    for name in NUMBERS:
        said = st.query_params.get(name, "")
        if said and not _NUMBER.fullmatch(said):
            del st.query_params[name]


def _too_long(shown: Request, run: str, links: bool) -> str:
    """What is said of a text that no address holds: which part is long, and what its link is or would need."""
    by = [name for name in ("prompt", "answer") if len(getattr(shown, name)) > LONGEST]
    what = f"The {by[0]} is" if len(by) == 1 else "Prompt and answer are"
    said = f"{what} too long for an address"
    if run:
        return f"{said}, which names the kept run: it opens where the run is kept."
    if not links:
        return f"{said}, and nothing is kept here: send the report, or the run's file."
    if shown.answer and shown.position is None:
        return f"{said}, and no run is kept yet that it could name: page Answer makes one."
    return f"{said}, and no run is kept yet that it could name: one is as soon as the numbers are there."


def asked_in(query: str) -> Request | str | None:
    """What an address asks for: a request, or the id of a kept run; None for what no address of eqlin says."""
    said = {name: values[-1] for name, values in parse_qs(query.removeprefix("?"), keep_blank_values=True).items()}
    if "run" in said and "prompt" not in said:
        return said["run"]
    try:
        dials = Convention(said.get("gated_path", "up"), said.get("attention", "held"))
    except EqlinError:
        return None
    dtype = said.get("dtype", PRECISIONS[0])
    if dtype not in PRECISIONS:
        return None
    begin = said.get("begin", "false") == "true"
    place = said.get("position", "")
    return Request(
        said.get("prompt", EXAMPLES[0]),
        said.get("model", DEFAULT_MODEL),
        dtype,
        begin=begin,
        chat=said.get("as_chat", "false") == "true",
        answer=said.get("answer", ""),
        position=int(place) if len(place) <= DIGITS and place.isdecimal() and place.isascii() else None,
        **dials.keywords,
    )


def _went() -> None:
    """Show the analysis of the address that the browser went to; called before the page is drawn."""
    wanted = asked_in(st.session_state[_KEY].get("went") or "")
    if isinstance(wanted, str):
        open_run(wanted)
    elif wanted is not None and wanted != session().whole:
        ask_for(wanted)
