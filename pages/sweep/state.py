"""What one visitor sees on the page Layers: the sweeps under way and finished, the heads' table, and errors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from eqlin_core.runs.convention import Convention
from eqlin_core.runs.split import Split
from pages.sweep.jobs import first, heads, sweep
from pages.visit.jobs import Jobs
from pages.visit.session import session
from pages.visit.tab import of_this_tab
from pages.worker import analysis
from pages.worker.request import Request

if TYPE_CHECKING:
    from eqlin_core.runs.layers import HeadsRun, SweepRun

MODES = ("cumulative", "layerwise")
HEADS = "heads"
_FIRST, _MODEL = "first", "model"


@dataclass
class Layers:
    """The state behind the page in one browser tab; results belong to ``request``.

    ``shipped``: whether the analysis that they belong to came with eqlin. Then what the page opens with may have, too.
    """

    visitor: str
    request: Request | None = None
    shipped: bool = False
    sweeps: dict[str, SweepRun] = field(default_factory=dict)
    first: SweepRun | None = None  # what is there of the first sweep while it is computed
    heads: HeadsRun | None = None
    heads_by: tuple[Convention, str | int] | None = None  # the map and the baseline that they were asked for
    refused: dict[str, str] = field(default_factory=dict)  # what failed, by mode or "heads", in a sentence
    stopped: bool = False
    model_there: bool = True  # known of a model that what is shipped needs not
    jobs: Jobs = field(init=False)  # by mode, and beside the modes those above

    def __post_init__(self) -> None:
        self.jobs = Jobs(self.visitor)

    def follow(self, request: Request, shipped: bool = False) -> bool:
        """Turn to another analysis; True when it is another one, whose results are still to be asked for."""
        if (request, shipped) == (self.request, self.shipped):
            return False
        self.jobs.leave_all()
        self.request, self.shipped, self.sweeps, self.first, self.heads = request, shipped, {}, None, None
        self.refused, self.stopped, self.model_there = {}, False, not shipped
        return True

    def open(self) -> None:
        """Start both sweeps; where what the page opens with is shipped, only once the model is there."""
        assert self.request is not None
        if not (self.shipped and self.jobs.take_shipped(_FIRST, first(self.request))):
            self.ask()
            return
        self.jobs.start(_MODEL, analysis.ready(self.request))
        self.advance()

    def ask(self) -> None:
        """Start both sweeps, the cumulative one first; what is finished is not computed again."""
        assert self.request is not None
        self.refused, self.stopped = {}, False
        self.jobs.leave(_MODEL)
        for mode in MODES:
            if mode not in self.sweeps and mode not in self.jobs.under_way:
                self.jobs.start(mode, sweep(self.request, mode))
        self._wait(MODES[0])

    def ask_heads(self, ids: tuple[int, ...], split: Split) -> None:
        """Start the split of these tokens' logits, by the map and the baseline of ``split``, unless it is there."""
        assert self.request is not None
        if self.heads_by != (split.convention, split.baseline):
            self.jobs.leave(HEADS)
            self.refused.pop(HEADS, None)
            self.heads, self.heads_by = None, (split.convention, split.baseline)
        there = self.heads is not None and set(ids) <= set(self.heads.ids)
        if there or HEADS in self.refused or HEADS in self.jobs.under_way:
            return
        asked = heads(self.request.by(split.convention), ids, split.baseline)
        self.jobs.start(HEADS, asked, shipped=self.shipped)
        self._wait(HEADS)

    def advance(self) -> bool:
        """Take in what has been finished since the last look. True when the page has something new to show."""
        ended = self.jobs.advance()
        for name, job in ended.items():
            if job.state == "failed":
                if name != _MODEL:  # without a model the sweeps wait for a click
                    self.refused[str(name)] = job.error
            elif job.state == "cancelled":
                self.stopped = True
            elif name == _FIRST:
                self.first = job.result
            elif name == HEADS:
                self.heads = job.result
            elif name != _MODEL:
                self.sweeps[str(name)] = job.result
                self.model_there = True
        if _MODEL in ended and ended[_MODEL].state == "done":
            self.model_there = True
            self.ask()
        return self._preview() or bool(ended)

    @property
    def error(self) -> str:
        """Why the maps that the page opens with are not there, in a sentence."""
        return self.refused.get(MODES[0], "")

    @property
    def shown(self) -> dict[str, SweepRun]:
        """The sweeps by mode, in place of the first of them what is there of it."""
        return self.sweeps or ({MODES[0]: self.first} if self.first is not None else {})

    def _preview(self) -> bool:
        """Take in what is there of the first sweep, where it is more than before. True when it is."""
        under_way = self.jobs.under_way.get(MODES[0])
        there = None if under_way is None else under_way.partial.get("first")
        if there is None or (self.first is not None and len(there.errors) <= len(self.first.errors)):
            return False
        self.first = there
        return True

    def _wait(self, name: str) -> None:
        if name in self.jobs.under_way:
            self.jobs.wait(name)
        self.advance()


def layers() -> Layers:
    """This browser tab's sweeps."""
    return of_this_tab("layers", lambda: Layers(session().visitor))
