"""The stream's read-outs on page Layers: as it is, through fitted lenses, by this prompt's map, and by the model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from eqlin_core import figures
from eqlin_core.cache import cache_directory
from eqlin_core.figures import visible_token
from eqlin_core.lenses.kept import lens_file, prompts_read
from eqlin_core.runs.convention import PUBLISHED, Convention
from eqlin_core.runs.lenses import EXACT, LOGIT
from pages.door.settings import settings
from pages.sweep import jobs
from pages.visit.page_jobs import page_jobs, waiting
from pages.visit.session import session
from pages.visit.shelf import SWITCH
from pages.widgets.charts import show
from pages.widgets.explained import Explained
from pages.widgets.sentences import shortened
from pages.widgets.theme import theme
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.lenses import LensRun
    from eqlin_core.runs.prompt import TokenRun

# Of the prompts that a fit reads; a public server takes as many as it takes of a study.
PROMPTS = 100
FITTED = {"jacobian": "Jacobian lens", "frozen": "frozen lens"}
NAMES = {LOGIT: "logit lens", **FITTED, EXACT: "this prompt's map"}
CHANCE = "log-probability"
AVERAGES = {
    LOGIT: "averages over nothing: the stream goes through the final norm as it is",
    "jacobian": "the model's ordinary derivatives",
    "frozen": "the exact maps of each prompt, attention, norms and gates held",
    EXACT: "averages over nothing: the map of this prompt alone, from a block to the last at the position that is read",
}


def lenses(run: TokenRun, explained: Explained) -> tuple[str, ...]:
    """Draw what every block reads as by every read-out that is there, and the buttons that fit the lenses that are not.

    The kinds of the fitted lenses that are there.
    """
    files = {kind: _file(run, kind) for kind in FITTED}
    there = {kind: read for kind, file in files.items() if (read := prompts_read(file))}
    shown = session().shown
    assert shown is not None
    asked = tuple((files[kind], _written(files[kind])) for kind in there)
    token = explained.first.token_id
    found = page_jobs().want("lenses", jobs.lens_reads(shown, token, asked), shipped=False)
    refused = page_jobs().jobs.snapshots["lenses"].state == "failed"
    if found is not None:
        there = {kind: read for kind, read in there.items() if kind in found.fitted}  # the others are damaged
    st.header(f"When is {visible_token(explained.first.token)} the read-out?")
    left, right = st.columns([5, 4], gap="medium")
    with left:
        if found is None:
            waiting("lenses", "what every block reads as")
        else:
            _table(found)
    with right:
        if found is not None:
            _ranks(found)
        st.caption(_said(found, run.key.convention))
        if not refused:  # a lens would not be read either
            _fits(files, there)
    return tuple(there)


def _reads(run: LensRun) -> dict[str, int]:
    """The read-outs that are there, by the names that people see, and their places in the arrays."""
    return {NAMES[name]: run.reads.index(name) for name in NAMES if name in run.reads}


def _table(run: LensRun) -> None:
    places = _reads(run)
    at = list(places.values())
    tops = [[[token for token, _ in run.top(run.reads[i], layer)] for i in at] for layer in range(run.ranks.shape[1])]
    show(
        figures.readout_table(
            tops,
            run.log_probabilities[at].T,
            list(places),
            quantity=CHANCE,
            details=[("rank", run.ranks[at].T.astype(np.float64))],
            across="read through",
            theme=theme(),
        ),
        "lens-table",
        f"The likeliest tokens after every block, coloured by the {CHANCE} of "
        f"{visible_token(run.names[run.token_id])}; the last row is the model itself ({run.key.dtype}).",
    )


def _ranks(run: LensRun) -> None:
    places = _reads(run)
    compared = " The cosine is of what a lens and this prompt's map read as it." if run.fitted else ""
    show(
        figures.lens_ranks(
            {name: run.ranks[i] for name, i in places.items()},
            {name: run.cosines[i] for name, i in places.items()},
            token=run.names[run.token_id],
            exact=NAMES[EXACT],
            plain=NAMES[LOGIT],
            theme=theme(),
        ),
        "lens-ranks",
        f"Rank 1 is the likeliest token.{compared} ({run.key.dtype})",
    )


def _said(run: LensRun | None, convention: Convention) -> str:
    """What each read-out averages over, in a sentence."""
    fitted = {} if run is None else run.fitted
    parts = [f"**{NAMES[LOGIT]}** {AVERAGES[LOGIT]}"]
    parts += [f"**{FITTED[kind]}** averages {AVERAGES[kind]}, over {over}" for kind, over in fitted.items()]
    held = "" if convention == PUBLISHED else ", attention, norms and gates held whatever the sidebar says"
    parts.append(f"**{NAMES[EXACT]}** {AVERAGES[EXACT]}{held}")
    return (
        "; ".join(parts) + ". All of them leave out what later blocks take from other positions and their biases; only "
        "the last row has that."
    )


def _fits(files: Mapping[str, Path], there: Mapping[str, int]) -> None:
    """For each lens that is not whole yet a button, or that it is under way."""
    errands, most = session().errands, _most()
    for kind, name in FITTED.items():
        read = there.get(kind, 0)
        if read >= most:
            continue
        last = errands.snapshots.get(files[kind])
        going = last is not None and not last.finished
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                f"Go on with the {name}" if read else f"Fit the {name}",
                key=f"fit_{kind}",
                disabled=going,
                on_click=_start,
                args=(kind, files[kind]),
            )
            so_far = f"It is of {read} of {most} phrases so far. " if read else ""
            if going:
                st.caption(f"{so_far}It goes on while you look at other pages.")
            else:
                st.caption(so_far or f"On {most} short phrases, once for this model: minutes to half an hour.")
        if last is not None and last.state == "failed":
            st.error(shortened(last.error), icon=":material/error:")


def _start(kind: str, file: Path) -> None:
    shown = session().shown
    assert shown is not None
    model = Request("", shown.model, shown.dtype)
    turn = st.session_state["lens_turn"] = int(st.session_state.get("lens_turn", 0)) + 1
    session().errands.start(file, jobs.lens(model, kind, file, _most(), turn))


def _most() -> int:
    return min(PROMPTS, settings().study_prompts) if settings().public else PROMPTS


def _file(run: TokenRun, kind: str) -> Path:
    """Where the lens of the run's model is kept."""
    said = (kind, jobs.LENS_PROMPTS, *jobs.LENS_POSITIONS.items())
    return lens_file(_folder(), run.key.model, run.key.revision, run.key.dtype, said)


def _written(file: Path) -> int:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return 0


def _folder() -> Path:
    """What can be made again is in the cache; of this process alone on a public server and where nothing is kept."""
    temporary = settings().public or os.environ.get(SWITCH) == "0"
    return Path(_temporary().name) if temporary else cache_directory() / "lenses"


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="eqlin-lenses-")  # gone with the process
