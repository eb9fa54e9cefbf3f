"""What one visitor sees on the page Layers: the sweeps under way and finished, the heads' table, and errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from pages.sweep.jobs import layer_jobs
from pages.visit.session import PATIENCE, session
from pages.worker.job import Snapshot
from pages.worker.request import Request
from pages.worker.worker import Job

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun, SweepRun

MODES = ("cumulative", "layerwise")


@dataclass
class Layers:
    """The state behind the page in one browser tab; results belong to ``request``."""

    visitor: str
    request: Request | None = None
    jobs: dict[str, Job] = field(default_factory=dict)  # by mode, and "heads"
    sweeps: dict[str, SweepRun] = field(default_factory=dict)
    heads: HeadsRun | None = None
    error: str = ""
    stopped: bool = False

    def follow(self, request: Request) -> bool:
        """Turn to another request; True when it is another one, whose results are still to be asked for."""
        if request == self.request:
            return False
        self.stop()
        self.request, self.jobs, self.sweeps, self.heads = request, {}, {}, None
        self.error, self.stopped = "", False
        return True

    def ask(self) -> None:
        """Start both sweeps, the cumulative one first; what is finished is not computed again."""
        assert self.request is not None
        self.error, self.stopped = "", False
        for mode in MODES:
            if mode not in self.sweeps and mode not in self.jobs:
                self.jobs[mode] = layer_jobs().sweep(self.request, mode, self.visitor)
        self._wait(MODES[0])

    def ask_heads(self, ids: tuple[int, ...]) -> None:
        """Start the split of these tokens' logits unless it is there."""
        assert self.request is not None
        if "heads" in self.jobs or self.error or (self.heads is not None and set(ids) <= set(self.heads.ids)):
            return
        self.jobs["heads"] = layer_jobs().heads(self.request, ids, self.visitor)
        self._wait("heads")

    def stop(self) -> None:
        """Stop what is under way for this visitor."""
        for job in self.jobs.values():
            job.cancel(self.visitor)

    def advance(self) -> bool:
        """Take in what has been finished since the last look. True when the page has something new to show."""
        changed = False
        for name in list(self.jobs):
            snapshot = self.jobs[name].snapshot(self.visitor)
            if not snapshot.finished:
                continue
            del self.jobs[name]
            changed = True
            if snapshot.state == "failed":
                self.error = snapshot.error
            elif snapshot.state == "cancelled":
                self.stopped = True
            elif name == "heads":
                self.heads = snapshot.result
            else:
                self.sweeps[name] = snapshot.result
        return changed

    @property
    def busy(self) -> bool:
        """True while anything of this page waits or runs."""
        return bool(self.jobs)

    def snapshot(self) -> Snapshot | None:
        """How the first job under way stands."""
        return next((job.snapshot(self.visitor) for job in self.jobs.values()), None)

    def _wait(self, name: str) -> None:
        if name in self.jobs:
            self.jobs[name].wait(PATIENCE)
        self.advance()


def layers() -> Layers:
    """This browser tab's sweeps."""
    if "layers" not in st.session_state:
        st.session_state["layers"] = Layers(session().visitor)
    found: Layers = st.session_state["layers"]
    return found
