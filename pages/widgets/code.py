"""The code of a page: lines of Python that compute what it shows, to copy, and as a script or a notebook."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.visit.session import session
from pages.widgets.downloads import download_link

if TYPE_CHECKING:
    from eqlin_core.reports.view import View
    from eqlin_core.runs.prompt import TokenRun
    from pages.widgets.explained import Explained
    from pages.worker.request import Request

WIDTH, HEIGHT = 720, 420


def page_code_button(
    beside: DeltaGenerator,
    page: str,
    request: Request,
    *,
    compared: tuple[Request, dict[str, Any]] | None = None,
    **choices: Any,
) -> None:
    """A button ``beside`` a page's heading that opens its code; ``choices`` are those of `View`, as ``compared``'s."""
    with beside:
        popover = st.popover(
            "Code",
            key="code",
            type="tertiary",
            icon=":material/code:",
            on_change="rerun",
            help="The lines of Python that compute the numbers on this page.",
        )
        if popover.open:
            with popover:
                _code(partial(_view, page, request, choices, compared))


def of_explained(explained: Explained) -> dict[str, Any]:
    """What `View` calls the choice of the explained token."""
    second = explained.second_id
    return {"kind": explained.kind if second is None else "logit", "target": explained.first.token_id, "versus": second}


def end_of(request: Request, run: TokenRun) -> dict[str, Any]:
    """What `View` needs beside a chat whose run this is: where it ends, after what the assistant has begun."""
    return {"position": len(run.tokens) - 1} if request.chat and request.position is None else {}


def _view(
    page: str, request: Request, choices: dict[str, Any], compared: tuple[Request, dict[str, Any]] | None = None
) -> View:
    from eqlin_core.reports.view import View  # noqa: PLC0415 - nobody waits for it who does not open it

    asked = {"prompt": request.prompt, "model": request.model, "dtype": request.dtype, "begin": request.begin}
    if page == "answer" or request != replace(request, chat=False, position=None):
        asked |= {"chat": request.chat, "answer": request.answer, "position": request.position}
    run, shown = session().tokens, session().shown
    of_shown = run is not None and shown is not None and request.by(shown.convention) == shown
    if page != "answer" and run is not None and of_shown:
        asked |= end_of(request, run)
    if compared is not None:
        choices = choices | {"compared": _view("tokens", *compared)}
    return View(page, **{**asked, **request.convention.keywords, **choices})


def _code(make: Callable[[], View]) -> None:
    from eqlin_core.reports.code import page_code, page_notebook  # noqa: PLC0415

    view = make()
    code = page_code(view)
    st.code(code, language="python", width=WIDTH, height=HEIGHT)
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, data, suffix, mime in (
            ("Script", lambda: code, "py", "text/x-python"),
            ("Notebook", lambda: page_notebook(view), "ipynb", "application/x-ipynb+json"),
        ):
            download_link(
                label,
                data,
                f"eqlin-{view.page}.{suffix}",
                mime=mime,
                key=f"code-{suffix}",
                help=f"As a .{suffix} file.",
            )
        st.caption("Needs eqlin alone. The model is loaded as it is here.")
