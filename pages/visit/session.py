"""One visitor's state: what was asked for, the jobs under way, the last finished result, which errors never erase."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from pages.worker.engine import engine
from pages.worker.job import Snapshot
from pages.worker.presence import visitor
from pages.worker.request import Request
from pages.worker.worker import Job

if TYPE_CHECKING:
    from eqlin_core.runs.prompt import EarlySpectra, SpectrumRun, Target, TokenRun

# A warm analysis takes less than this: waiting for it on the first run saves the page a flash of progress bars.
PATIENCE = 0.4


@dataclass
class Session:
    """The state behind one browser tab."""

    visitor: str = field(default_factory=visitor)
    asked: Request | None = None
    jobs: dict[str, Job] = field(default_factory=dict)
    shown: Request | None = None
    tokens: TokenRun | None = None
    spectra: SpectrumRun | None = None
    early: EarlySpectra | None = None  # of what is shown, while there are no spectra
    error: str = ""
    cancelled: bool = False
    lookups: dict[str, Job] = field(default_factory=dict)
    awaited: set[str] = field(default_factory=set)  # look-ups that the page was told to come back for

    def ask(self, request: Request) -> None:
        """Start the analysis of ``request``; what is on the screen stays until its contributions are there."""
        if not request.prompt.strip():
            self.error = "The prompt is empty: type at least one word."
            return
        running = [job for job in self.jobs.values() if not job.snapshot(self.visitor).finished]
        finished = self.shown == request and self.spectra is not None
        again = finished and self.saved  # who asks for what is on the screen as a saved run wants it computed
        if request == self.asked and (running or (finished and not again)):
            self.error = ""
            return
        self.asked, self.error, self.cancelled = request, "", False
        work = engine()
        self.jobs = {
            "tokens": work.tokens(request, self.visitor, again),
            "spectra": work.spectra(request, self.visitor, again),
        }
        self.lookups, self.awaited = {}, set()
        work.worker.keep_only(self.visitor, [job.key for job in self.jobs.values()])
        if self.jobs["tokens"].wait(PATIENCE):
            found = self.jobs["tokens"].snapshot(self.visitor).result
            if found is not None and found.saved:
                self.jobs["spectra"].wait(PATIENCE)  # that is in a file, too

    def make_ready(self) -> None:
        """Once a saved run is on the screen, load its model, for whatever is asked next."""
        if self.saved and self.shown is not None and not self.busy:
            engine().ready(self.shown, self.visitor)

    @property
    def saved(self) -> bool:
        """Whether what is on the screen was read from a file."""
        return self.tokens is not None and self.tokens.saved

    def resume(self) -> None:
        """Ask again for what was cancelled; what had been finished is not computed again."""
        if self.asked is not None:
            self.ask(self.asked)

    def cancel(self) -> None:
        """Stop what is under way for this visitor."""
        for job in self.jobs.values():
            job.cancel(self.visitor)

    def advance(self) -> bool:
        """Take in what the jobs have finished since the last look. True when the page has something new to show."""
        engine().worker.touch(self.visitor)
        arrived = {text for text in self.awaited if self.lookups[text].snapshot(self.visitor).finished}
        self.awaited -= arrived
        changed = bool(arrived)
        for name in ("tokens", "spectra"):
            snapshot = self.snapshot(name)
            if snapshot is None or not snapshot.finished:
                changed = self._preview(snapshot) or changed
                continue
            del self.jobs[name]
            changed = True
            if snapshot.state == "failed":
                self.error = snapshot.error
                self.jobs.clear() if name == "tokens" else None
                break
            if snapshot.state == "cancelled":
                self.cancelled = True
            elif name == "tokens":
                if self.shown != self.asked:
                    self.spectra = self.early = None
                self.shown, self.tokens = self.asked, snapshot.result
            elif self.shown == self.asked:
                self.spectra, self.early = snapshot.result, None
        return changed

    def _preview(self, snapshot: Snapshot | None) -> bool:
        """Show the first numbers of an unfinished analysis. True when they are new."""
        partial = snapshot.partial if snapshot is not None else {}
        if "preview" in partial and self.shown != self.asked:
            self.shown, self.tokens = self.asked, partial["preview"]
            self.spectra = self.early = None
            return True
        early: EarlySpectra | None = partial.get("early")
        if early is None or self.shown != self.asked or self.spectra is not None:
            return False
        # computed again after a cancellation, it has fewer tokens at first
        if self.early is not None and len(self.early.there) >= len(early.there):
            return False
        self.early = early
        return True

    def snapshot(self, name: str) -> Snapshot | None:
        """How the job "tokens" or "spectra" stands; None when there is none under way."""
        job = self.jobs.get(name)
        return None if job is None else job.snapshot(self.visitor)

    @property
    def busy(self) -> bool:
        """True while jobs of this visitor are waiting or running."""
        return bool(self.jobs or self.awaited)

    def typed_target(self, text: str) -> Target | str:
        """The vocabulary token that was typed, or a sentence on why there is none (yet). Waits a moment at most."""
        assert self.shown is not None
        job = self.lookups.get(text)
        if job is None or job.key[1] != self.shown:  # type: ignore[index]
            job = self.lookups[text] = engine().target(self.shown, text, self.visitor)
        job.wait(PATIENCE)
        snapshot = job.snapshot(self.visitor)
        if snapshot.state == "done":
            return snapshot.result
        if snapshot.finished:
            return snapshot.error or "The look-up was cancelled; choose the token again."
        if text not in self.awaited:
            self.awaited.add(text)
            st.rerun()  # the strip above has been drawn already; it polls only when it knows that something is awaited
        return f"Looking up {text!r}; it is explained as soon as the model is free."


def session() -> Session:
    """This browser tab's session."""
    if "eqlin" not in st.session_state:
        st.session_state["eqlin"] = Session()
    found: Session = st.session_state["eqlin"]
    return found
