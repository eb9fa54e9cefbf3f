"""What one visitor sees on the page Steering: the plan asked for, its job, and the last result, which errors keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from eqlin_core.runs.steering import SteeringGrid, SteeringPlan
from pages.steered.jobs import Guide, steering_jobs
from pages.visit.session import PATIENCE, session
from pages.worker.request import Request
from pages.worker.worker import Job

if TYPE_CHECKING:
    from eqlin_core.runs.steering import Text

Asked = tuple[Request, SteeringPlan]


@dataclass
class Steering:
    """The state behind the page in one browser tab."""

    visitor: str
    asked: Asked | None = None
    job: Job | None = None
    shown: SteeringGrid | None = None
    source: Request | None = None  # the model of what is shown
    error: str = ""
    stopped: bool = False
    guides: dict[tuple[Request, str], Job] = field(default_factory=dict)
    live: Job | None = None  # one text at a strength beside the grid
    live_strength: tuple[float, ...] = ()
    live_text: Text | None = None

    def ask(self, plan: SteeringPlan) -> None:
        """Start the grid of ``plan``; what is on the screen stays until the first texts are there."""
        asked = (source(), plan)
        self._leave(self.job)
        self._leave(self.live)
        self.asked, self.error, self.stopped = asked, "", False
        self.live, self.live_text = None, None
        self.job = steering_jobs().grid(*asked, self.visitor)
        self.job.wait(PATIENCE)

    def generate(self, strength: tuple[float, ...]) -> None:
        """Generate one text at a strength between those of the grid that is shown."""
        if self.shown is None or self.source is None:
            return
        self._leave(self.live)
        self.error, self.live_text, self.live_strength = "", None, strength
        self.live = steering_jobs().text(self.source, self.shown.plan, strength, self.visitor)

    def stop(self) -> None:
        """Stop what is being generated, between two tokens."""
        self._leave(self.job)
        self._leave(self.live)

    def advance(self) -> bool:
        """Take in what has been finished since the last look. True when the page has something new to show."""
        changed = self._advance_grid()
        return self._advance_live() or changed

    def guide(self, concept: str) -> Guide | None:
        """Where the concept lives in the model of the sidebar; None while that is being looked up, or cannot be."""
        if not concept.strip():
            return None
        key = (source(), concept)
        if key not in self.guides:
            # Two at most: of the concept in the form, and of what is shown.
            self.guides = dict([*self.guides.items()][-1:])
            self.guides[key] = steering_jobs().guide(*key, self.visitor)
            self.guides[key].wait(PATIENCE)
        snapshot = self.guides[key].snapshot(self.visitor)
        return snapshot.result if snapshot.state == "done" else None

    @property
    def busy(self) -> bool:
        """True while anything of this page waits or runs."""
        jobs = [self.job, self.live, *self.guides.values()]
        return any(job is not None and not job.snapshot(self.visitor).finished for job in jobs)

    @property
    def streaming(self) -> bool:
        """True while the texts of a new grid are being generated, which are shown in place of the last result."""
        if self.job is None:
            return False
        snapshot = self.job.snapshot(self.visitor)
        return not snapshot.finished and "texts" in snapshot.partial and "grid" not in snapshot.partial

    def _advance_grid(self) -> bool:
        if self.job is None or self.asked is None:
            return False
        snapshot = self.job.snapshot(self.visitor)
        found = snapshot.result if snapshot.state == "done" else snapshot.partial.get("grid")
        changed = found is not None and found is not self.shown
        if changed:
            self.shown, self.source = found, self.asked[0]
        if snapshot.finished:
            self.job, changed = None, True
            self.error = snapshot.error if snapshot.state == "failed" else self.error
            self.stopped = snapshot.state == "cancelled"
        return changed

    def _advance_live(self) -> bool:
        if self.live is None:
            return False
        snapshot = self.live.snapshot(self.visitor)
        if not snapshot.finished:
            return False
        self.live = None
        self.error = snapshot.error if snapshot.state == "failed" else self.error
        if snapshot.state == "done":
            self.live_text = snapshot.result
        return True

    def _leave(self, job: Job | None) -> None:
        if job is not None:
            job.cancel(self.visitor)


def source() -> Request:
    """The model and precision of the sidebar; its prompt plays no part here, and its convention is the plan's."""
    asked = session().asked or Request()
    return Request(prompt="", model=asked.model, dtype=asked.dtype)


def convention() -> str:
    """Which path of gated MLPs stays linear, as the sidebar says it."""
    return (session().asked or Request()).gated_path


def steering() -> Steering:
    """This browser tab's steering."""
    if "steering" not in st.session_state:
        st.session_state["steering"] = Steering(session().visitor)
    found: Steering = st.session_state["steering"]
    return found
