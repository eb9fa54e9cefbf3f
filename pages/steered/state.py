"""What one visitor sees on the page Steering: the plan asked for, its jobs, and the last result, which errors keep."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eqlin_core.runs.convention import Convention
from eqlin_core.runs.steering import SteeringGrid, SteeringPlan
from eqlin_core.steering.presets import STEERING_PRESETS
from pages.door.admission import too_long
from pages.steered.jobs import grid, guide, text
from pages.visit.jobs import Jobs
from pages.visit.session import session
from pages.visit.tab import of_this_tab
from pages.worker.job import Snapshot
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.convention import Convention
    from eqlin_core.runs.steering import Guide, Text

Asked = tuple[Request, SteeringPlan]
_GRID, _LIVE = "grid", "live"


@dataclass
class Steering:
    """The state behind the page in one browser tab.

    ``shipped``: whether what is shown came with eqlin, as it may unless it is asked for once more.
    ``placed``: whether the strength is where a hand, an address or a suggestion put it since the concept was asked for.
    """

    visitor: str
    asked: Asked | None = None
    shown: SteeringGrid | None = None
    shipped: bool = True
    source: Request | None = None  # the model of what is shown
    error: str = ""
    stopped: bool = False
    live_strength: tuple[float, ...] = ()
    live_text: Text | None = None
    placed: bool = False
    suggested: float | None = None  # where the slider was put for what is shown
    jobs: Jobs = field(init=False)  # the grid, and one text at a strength beside it
    guides: Jobs = field(init=False)  # by model and concept

    def __post_init__(self) -> None:
        self.jobs, self.guides = Jobs(self.visitor), Jobs(self.visitor)

    def ask(self, plan: SteeringPlan) -> None:
        """Start the grid of ``plan``; what is on the screen stays until the first texts are there."""
        if refused := too_long(plan.concept, plan.prompt, plan.second):
            self.error = refused
            return
        asked = (source(), plan)
        if self.asked is not None and _operator(self.asked) != _operator(asked):
            self.placed = False
        again = asked == self.asked  # who asks once more for what is on the screen wants it computed
        self.jobs.leave_all()
        self.asked, self.error, self.stopped = asked, "", False
        self.live_text = None
        self.jobs.start(_GRID, grid(*asked), shipped=not again)
        self.jobs.wait(_GRID)

    def generate(self, strength: tuple[float, ...]) -> None:
        """Generate one text at a strength between those of the grid that is shown."""
        if self.shown is None or self.source is None:
            return
        self.error, self.live_text, self.live_strength = "", None, strength
        self.jobs.start(_LIVE, text(self.source, self.shown.plan, strength))

    def advance(self) -> bool:
        """Take in what has been finished since the last look. True when the page has something new to show."""
        guided, ended = self.guides.advance(), self.jobs.advance()
        staged = self._show(ended.get(_GRID) or self.jobs.under_way.get(_GRID))
        for name, job in ended.items():
            if job.state == "failed":
                self.error = job.error
            elif name == _GRID:
                self.stopped = job.state == "cancelled"
            elif job.state == "done":
                self.live_text = job.result
        return bool(guided or ended or staged)

    def guide(self, concept: str) -> Guide | None:
        """Where the concept lives in the model of the sidebar; None while that is being looked up, or cannot be."""
        if not concept.strip() or too_long(concept):
            return None
        key = (source(), concept)
        if key not in self.guides.snapshots:
            # Two at most: of the concept in the form, and of what is shown.
            self.guides.leave(*list(self.guides.snapshots)[:-1])
        where: Guide | None = self.guides.look(key, guide(*key), shipped=self.shipped).result
        return where

    def suggestion(self) -> float | None:
        """The strength to put the slider at, once for each concept of one's own; None where a hand has put it."""
        if self.shown is None or self.shown.measured is None or self.placed or is_preset(self.shown.plan):
            return None
        if (self.source, self.shown.plan) != self.asked or self.shown.suggested is None:
            return None
        self.placed, self.suggested = True, self.shown.suggested
        return self.suggested

    @property
    def busy(self) -> bool:
        """True while anything of this page waits or runs."""
        return self.jobs.busy or self.guides.busy

    @property
    def live(self) -> Snapshot | None:
        """How the text beside the grid stands; None while none is being generated."""
        return self.jobs.under_way.get(_LIVE)

    @property
    def generated(self) -> Snapshot | None:
        """How the grid stands; None while none is being generated."""
        return self.jobs.under_way.get(_GRID)

    @property
    def streaming(self) -> bool:
        """True while the texts of a new grid are being generated, which are shown in place of the last result."""
        job = self.generated
        return job is not None and not job.finished and "texts" in job.partial and "grid" not in job.partial

    def _show(self, job: Snapshot | None) -> bool:
        """Show the last stage of a grid. True when it is new."""
        if job is None or self.asked is None:
            return False
        stage = job.result if job.state == "done" else job.partial.get("grid")
        if stage is None or stage is self.shown:
            return False
        if self.shown is None or self.shown.plan != stage.plan:
            self.suggested = None
        self.shown, self.source = stage, self.asked[0]
        self.shipped = self.jobs.is_shipped(_GRID)
        return True


def is_preset(plan: SteeringPlan) -> bool:
    """Whether the concept's map is one of a preset, which brings its strength along."""
    return plan.file is None and any(
        (plan.concept, plan.layers, plan.final_norm) == (preset.concept, preset.layers, preset.final_norm)
        for preset in STEERING_PRESETS.values()
    )


def _operator(asked: Asked) -> tuple[Hashable, ...]:
    """What of a question is the operators', and not the prompt's."""
    model, plan = asked
    of = (plan.concept, plan.second, plan.layers, plan.final_norm, plan.block, plan.form, plan.convention, plan.file)
    return (model, *of)


def source() -> Request:
    """The model and precision of the sidebar; its prompt plays no part here, and its convention is the plan's."""
    asked = session().asked or Request()
    return Request(prompt="", model=asked.model, dtype=asked.dtype)


def convention() -> Convention:
    """Which of the exact maps is taken, as the sidebar says it."""
    return (session().asked or Request()).convention


def steering() -> Steering:
    """This browser tab's steering."""
    return of_this_tab("steering", lambda: Steering(session().visitor))
