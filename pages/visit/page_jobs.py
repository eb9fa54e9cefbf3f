"""What one page asks of the worker beside the analysis: results by name, each computed once for what it depends on."""

from __future__ import annotations

import streamlit as st

from pages.visit.jobs import Jobs
from pages.visit.polling import poll
from pages.visit.progress_line import progress_line
from pages.visit.session import session
from pages.visit.tab import of_this_tab
from pages.worker.question import Answer, Question


class PageJobs:
    """The results that the pages of one browser tab want; what a page does not want any more is given up."""

    def __init__(self, visitor: str) -> None:
        self.jobs = Jobs(visitor)
        self._drawn: set[str] = set()  # names of what the page wants that is drawn now

    def want(self, name: str, question: Question[Answer], *, shipped: bool = True) -> Answer | None:
        """The answer, drawn in the place called ``name``; None while there is none. It is waited for a moment.

        Beside an analysis that is shipped it may be ``shipped`` as well: the strip says it of the whole page.
        """
        self._drawn.add(name)
        answer: Answer | None = self.jobs.look(name, question, shipped=shipped and session().shipped).result
        return answer

    def begin(self) -> None:
        """A page starts to be drawn: what it does not want by its end is another page's."""
        self._drawn = set()

    def end(self) -> None:
        """The page is drawn: what only other pages wanted is given up unless it is finished."""
        unfinished = (name for name, job in self.jobs.under_way.items() if not job.finished)
        self.jobs.leave(*(name for name in unfinished if name not in self._drawn))

    def resume(self) -> None:
        """Forget what was cancelled, so that it is started again when it is wanted."""
        self.jobs.leave(*(name for name, job in self.jobs.snapshots.items() if job.state == "cancelled"))


def page_jobs() -> PageJobs:
    """The page jobs of this browser tab."""
    return of_this_tab("page_jobs", lambda: PageJobs(session().visitor))


def waiting(name: str, what: str) -> None:
    """In the place of a result that is not there: that it is under way, was stopped or failed, and what to do."""
    wanted = page_jobs()
    snapshot = wanted.jobs.snapshots[name]
    if snapshot.state == "failed":
        st.error(snapshot.error, icon=":material/error:")
    elif snapshot.state == "cancelled":
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Cancelled before {what} was finished.")
            st.button(
                "Compute it",
                key=f"again-{name}",
                on_click=wanted.resume,
                type="tertiary",
                icon=":material/replay:",
            )
    else:
        st.caption(f"Here {what} appears when it is finished.")


def watch() -> None:
    """Before a page wants its first result: follow them, with progress and a Cancel while no analysis is under way."""
    page_jobs().begin()
    poll(_follow, going_on=_all_wanted)


def _all_wanted() -> bool:
    page_jobs().end()
    return page_jobs().jobs.busy


def _follow(_active: bool) -> None:
    jobs = page_jobs().jobs
    if jobs.advance():
        st.rerun(scope="app")
    current = jobs.current
    if current is not None and not session().busy:
        progress_line(current, "Cancel", jobs.cancel, key="page_progress", button="page_cancel")
