"""What one page asks of the worker beside the analysis: results by name, each computed once for what it depends on."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from pages.visit.polling import poll
from pages.visit.progress_line import progress_line
from pages.visit.session import PATIENCE, session
from pages.worker.engine import engine
from pages.worker.job import Snapshot
from pages.worker.worker import Job


@dataclass
class PageJobs:
    """The results that the pages of one browser tab want, and the jobs that make them."""

    visitor: str
    jobs: dict[str, Job] = field(default_factory=dict)
    keys: dict[str, Hashable] = field(default_factory=dict)
    drawn: dict[str, str] = field(default_factory=dict)  # the state of each job when the page was last drawn

    def want(self, name: str, key: Hashable, submit: Callable[[str], Job]) -> Any:
        """The result called ``name`` for ``key``, which says all that it depends on; None while there is none.

        ``submit(visitor)`` starts its job, unless that was done before; it is waited for a moment at most.
        """
        if self.keys.get(name) != key:
            self.leave(name)
            self.keys[name] = key
            self.jobs[name] = submit(self.visitor)
            self.jobs[name].wait(PATIENCE)
        snapshot = self.jobs[name].snapshot(self.visitor)
        self.drawn[name] = snapshot.state
        return snapshot.result

    def leave(self, name: str) -> None:
        """Give up a result: nothing is computed for it any more, and nothing is shown of it."""
        job = self.jobs.pop(name, None)
        if job is not None:
            job.cancel(self.visitor)
        self.keys.pop(name, None)
        self.drawn.pop(name, None)

    def begin(self) -> None:
        """A page starts to be drawn: what it does not want by its end is another page's."""
        self.drawn = {}

    def end(self) -> None:
        """The page is drawn: what only other pages wanted is given up unless it is finished."""
        for name in [name for name in self.jobs if name not in self.drawn]:
            if not self.snapshot(name).finished:
                self.leave(name)

    def cancel(self) -> None:
        """Stop what is under way."""
        for job in self.jobs.values():
            job.cancel(self.visitor)

    def resume(self) -> None:
        """Forget what was cancelled, so that it is started again when it is wanted."""
        for name in [name for name in self.jobs if self.snapshot(name).state == "cancelled"]:
            self.leave(name)

    def snapshot(self, name: str) -> Snapshot:
        """How the job of a result stands."""
        return self.jobs[name].snapshot(self.visitor)

    @property
    def under_way(self) -> list[Snapshot]:
        """The jobs of the page that was drawn last that wait or run."""
        return [s for s in map(self.snapshot, self.drawn) if not s.finished]

    @property
    def changed(self) -> bool:
        """Whether a job has finished since the page was drawn."""
        return any(
            self.snapshot(name).finished and state in ("queued", "running") for name, state in self.drawn.items()
        )


def page_jobs() -> PageJobs:
    """The page jobs of this browser tab."""
    if "page_jobs" not in st.session_state:
        st.session_state["page_jobs"] = PageJobs(session().visitor)
    found: PageJobs = st.session_state["page_jobs"]
    return found


def waiting(name: str, what: str) -> None:
    """In the place of a result that is not there: that it is under way, was stopped or failed, and what to do."""
    jobs = page_jobs()
    snapshot = jobs.snapshot(name)
    if snapshot.state == "failed":
        st.error(snapshot.error, icon=":material/error:")
    elif snapshot.state == "cancelled":
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Cancelled before {what} was finished.")
            st.button(
                "Compute it",
                key=f"again-{name}",
                on_click=jobs.resume,
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
    return bool(page_jobs().under_way)


def _follow(_active: bool) -> None:
    jobs = page_jobs()
    engine().worker.touch(jobs.visitor)
    if jobs.changed:
        st.rerun(scope="app")
    running = jobs.under_way
    if running and not session().busy:
        shown = next((s for s in running if s.state == "running"), running[0])
        progress_line(shown, "Cancel", jobs.cancel, key="page_progress", button="page_cancel")
