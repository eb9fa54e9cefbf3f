"""One visitor's state: what was asked for, the jobs under way, the last finished result, which errors never erase."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from eqlin_core.runs.split import Split
from eqlin_core.runs.text import PROMPT, RunText
from pages.visit.jobs import Jobs
from pages.visit.shelf import keeping
from pages.visit.tab import of_this_tab
from pages.worker import analysis
from pages.worker.engine import engine
from pages.worker.job import Snapshot
from pages.worker.presence import visitor
from pages.worker.question import Question
from pages.worker.request import DEFAULT_SPLIT, Request

if TYPE_CHECKING:
    from eqlin_core.runs.convention import Convention
    from eqlin_core.runs.prompt import EarlySpectra, SpectrumRun, Target, TokenRun

Found = TypeVar("Found")


@dataclass(frozen=True)
class Pinned:
    """What one tab has set aside as A, to compare with: an analysis, and its split as page Tokens had it."""

    request: Request
    tokens: TokenRun
    split: TokenRun
    spectra: SpectrumRun | None


@dataclass
class Session:
    """The state behind one browser tab."""

    visitor: str = field(default_factory=visitor)
    asked: Request | None = None
    shown: Request | None = None
    tokens: TokenRun | None = None
    spectra: SpectrumRun | None = None
    early: EarlySpectra | None = None  # of what is shown, while there are no spectra
    whole: Request | None = None  # what was asked for, with the answer behind the explained position
    shown_whole: Request | None = None  # the same of what is shown
    split: Split = DEFAULT_SPLIT  # as page Tokens takes the prediction apart
    split_run: TokenRun | None = None  # the last of these, of whatever prompt
    pinned: Pinned | None = None
    error: str = ""
    cancelled: bool = False
    fresh: bool = False  # whether what was asked for is computed although it is saved
    jobs: Jobs = field(init=False)  # of the analysis: "tokens", "split", "spectra", and "fetched"
    lookups: Jobs = field(init=False)  # of typed next tokens, by their text, and of other maps, by theirs
    errands: Jobs = field(init=False)  # fetches of models, by their names, and studies: no analysis gives them up

    def __post_init__(self) -> None:
        self.jobs, self.lookups, self.errands = Jobs(self.visitor), Jobs(self.visitor), Jobs(self.visitor)
        self._texts: dict[Request, RunText] = {}  # the last one, as its model reads it

    def ask(self, request: Request) -> None:
        """Start the analysis of ``request``; what is on the screen stays until its contributions are there."""
        if not request.prompt.strip():
            self.error = "The prompt is empty: type at least one word."
            return
        self.whole, request = request, request.explained
        keeping().whole = self.whole.whole
        if request == self.shown:
            self.shown_whole = self.whole
        lazy = request.chat or request.position is not None  # a click in the text asks for no spectra
        finished = self.shown == request and (self.spectra is not None or lazy)
        again = finished and self.saved  # who asks for what is on the screen as a saved run wants it computed
        if request == self.asked and (self.jobs.current is not None or (finished and not again)):
            self.error = ""
            return
        self.asked, self.error, self.cancelled, self.fresh = request, "", False, again
        keeping().asked = request
        self.jobs.start("tokens", analysis.tokens(request, again))
        self.jobs.start("split", self._question(request))
        if lazy:
            self.jobs.leave("spectra")
        else:
            self.jobs.start("spectra", analysis.spectra(request, again), shipped=not again)
        self.lookups.leave_all()
        self.jobs.take_others_off(self.errands)
        if self.jobs.wait("tokens"):
            run = self.jobs.snapshots["tokens"].result
            if run is not None and run.saved:
                for name in ("split", "spectra"):  # these are in files, too
                    if name in self.jobs.snapshots:
                        self.jobs.wait(name)

    def _question(self, request: Request) -> Question[TokenRun]:
        return analysis.tokens(request.by(self.split.convention), self.fresh, self.split.baseline)

    def split_tokens(self) -> TokenRun | str | None:
        """What is shown, by the map and the baseline of ``split``: a run, or a sentence on why there is none, or None.

        Until the run is there it is the last one of the same prompt, or the first numbers of a long one.
        """
        assert self.tokens is not None
        assert self.shown is not None
        if self.shown != self.asked:  # the next prompt's are under way; this one's stay
            return self.split_run
        snapshot = self.jobs.look("split", self._question(self.shown))
        if snapshot.state == "failed":
            return snapshot.error
        run: TokenRun | None = snapshot.result or snapshot.partial.get("preview")
        if run is not None:
            self.split_run = run
        elif self.split_run is not None and self.split_run.key.token_ids != self.tokens.key.token_ids:
            self.split_run = None
        return self.split_run

    def pin(self) -> None:
        """Set what is shown aside as A."""
        if self.tokens is None or self.shown is None:
            return
        split = self.split_tokens()
        found = self.tokens if split is None or isinstance(split, str) else split
        self.pinned = Pinned(self.shown, self.tokens, found, self.spectra)

    def unpin(self) -> None:
        """Forget what was set aside."""
        self.pinned = None

    def make_ready(self) -> None:
        """Once a saved run is on the screen, load its model, for whatever is asked next."""
        if self.saved and self.shown is not None and not self.busy:
            engine().submit(analysis.ready(self.shown), self.visitor)

    @property
    def damage(self) -> str:
        """What is wrong with the weights of what is on the screen; empty for nothing, and while they are fetched."""
        if self.shown is None or "fetched" in self.jobs.under_way:
            return ""
        return engine().damage(self.shown)

    def fetch_again(self) -> None:
        """Throw the damaged weights away and fetch the model again; what is on the screen stays."""
        if self.shown is not None:
            self.jobs.start("fetched", analysis.fetched_again(self.shown))

    @property
    def saved(self) -> bool:
        """Whether what is on the screen was read from a file."""
        return self.tokens is not None and self.tokens.saved

    @property
    def shipped(self) -> bool:
        """Whether what is on the screen came with eqlin, which the strip says."""
        return self.tokens is not None and bool(self.tokens.shipped)

    def want_spectra(self) -> None:
        """Start the spectra of what is shown, which an analysis leaves to the page that shows them; once."""
        there = self.spectra is not None or "spectra" in self.jobs.snapshots
        if self.shown is not None and self.shown == self.asked and not (there or self.cancelled):
            self.jobs.start("spectra", analysis.spectra(self.shown, self.fresh), shipped=not self.fresh)

    def resume(self) -> None:
        """Ask again for what was cancelled; what had been finished is not computed again."""
        if self.asked is not None and self.whole is not None:
            self.asked = None  # not what is under way or finished, then: it is asked for as if it were new
            self.ask(self.whole)

    def advance(self) -> bool:
        """Take in what the jobs have finished since the last look. True when the page has something new to show."""
        looked_up, ended = self.lookups.advance(), self.jobs.advance()
        changed = bool(looked_up or ended)
        if "fetched" in ended and ended["fetched"].state == "failed":
            self.error = ended["fetched"].error
        for name in ("tokens", "spectra"):
            if name in ended and not self._take(name, ended[name]):
                break
            if name in self.jobs.under_way:
                changed = self._preview(self.jobs.under_way[name]) or changed
        return changed

    def _take(self, name: str, ended: Snapshot) -> bool:
        """Keep what a job ended in. False when it failed; without contributions the spectra are of no use."""
        if ended.state == "failed":
            self.error = ended.error
            if name == "tokens":
                self.jobs.leave_all()
            return False
        if ended.state == "cancelled":
            self.cancelled = True
        elif name == "tokens":
            if self.shown != self.asked:
                self.spectra = self.early = None
            self.shown, self.shown_whole, self.tokens = self.asked, self.whole, ended.result
            spectra = self.jobs.snapshots.get("spectra")  # those that are shipped have ended before
            if spectra is not None and spectra.state == "done":
                self.spectra, self.early = spectra.result, None
        elif self.shown == self.asked:
            self.spectra, self.early = ended.result, None
        return True

    def _preview(self, snapshot: Snapshot) -> bool:
        """Show the first numbers of an unfinished analysis. True when they are new."""
        partial = snapshot.partial
        if "preview" in partial and self.shown != self.asked:
            self.shown, self.shown_whole, self.tokens = self.asked, self.whole, partial["preview"]
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

    @property
    def busy(self) -> bool:
        """True while jobs of this visitor are waiting or running."""
        return self.jobs.busy or self.lookups.busy

    def by_map(self, convention: Convention) -> TokenRun | str:
        """What is shown, by one of its exact maps, against zero; or a sentence on why it is not there (yet)."""
        assert self.shown is not None
        return self._looked_up(
            f"by the map {convention.words}",
            analysis.tokens(self.shown.by(convention)),
            cancelled="It was cancelled; choose the map again.",
            awaited="The sum by this map appears here in a moment.",
        )

    @property
    def plain(self) -> bool:
        """Whether a bare prompt is shown, explained at its end: no answer, no chat, no other position."""
        return self.shown is None or self.shown_whole in (None, replace(self.shown, chat=False, position=None))

    def text(self) -> RunText | str:
        """What is shown with its answer, as tokens; or a sentence on why it is not there (yet)."""
        assert self.shown is not None
        assert self.tokens is not None
        tokens = self.tokens
        if self.plain:
            n = len(tokens.tokens)
            return RunText(list(tokens.key.token_ids), list(tokens.tokens), [PROMPT] * n, [0] * n, n)
        request = (self.shown_whole or self.shown).whole
        if request not in self._texts:
            found = self._looked_up(
                f"the text {request!r}",
                analysis.text(request),
                cancelled="The text was not read: analyse again.",
                awaited="The text appears here in a moment.",
            )
            if isinstance(found, str):
                return found
            self._texts = {request: found}
        return self._texts[request]

    def explained(self, text: RunText) -> int:
        """The token of the text that was asked for last; the maps that are shown may be still of another one.

        Its length for what follows the text.
        """
        whole, shown = self.whole, self.shown_whole
        asked = whole if whole is not None and shown is not None and whole.whole == shown.whole else shown
        if asked is not None and asked.position is not None:
            return asked.position % len(text.tokens) + 1
        if self.tokens is not None and (shown is None or shown.position is None):
            return len(self.tokens.tokens)
        return text.first

    @property
    def followed_by(self) -> int | None:
        """The id of the token that follows the explained position in what is shown; None for none, or not known yet."""
        if self.plain or self.tokens is None or self.shown is None:
            return None
        text, at = self.text(), len(self.tokens.tokens)
        return text.token_ids[at] if isinstance(text, RunText) and at < len(text.token_ids) else None

    def typed_target(self, text: str) -> Target | str:
        """The vocabulary token that was typed, or a sentence on why there is none (yet). Waits a moment at most."""
        assert self.shown is not None
        return self._looked_up(
            text,
            analysis.target(self.shown, text),
            cancelled="The look-up was cancelled; choose the token again.",
            awaited=f"Looking up {text!r}; it is explained as soon as the model is free.",
        )

    def target_of(self, token: int) -> Target | None:
        """The vocabulary token of this id; None while it is looked up. Waits a moment at most."""
        assert self.shown is not None
        found = self._looked_up(
            ("token", token), analysis.target_of(self.shown, token), cancelled="Cancelled.", awaited="Awaited."
        )
        return None if isinstance(found, str) else found

    def _looked_up(self, name: Hashable, question: Question[Found], *, cancelled: str, awaited: str) -> Found | str:
        followed = name in self.lookups.under_way
        snapshot = self.lookups.look(name, question)
        if snapshot.state == "done":
            found: Found = snapshot.result
            return found
        if snapshot.finished:
            return snapshot.error or cancelled
        if not followed:
            st.rerun()  # the strip above has been drawn already; it polls only when it knows that something is awaited
        return awaited


def session() -> Session:
    """This browser tab's session."""
    return of_this_tab("eqlin", Session)
