"""The engine behind all pages: one worker, the models that are loaded, and the linear maps that were made last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.worker.models import InMemory, Models, Room
from pages.worker.presence import connected
from pages.worker.question import Question
from pages.worker.request import Request
from pages.worker.saved_analyses import SavedAnalyses
from pages.worker.texts import explained_ids, read
from pages.worker.worker import Job, Reporter, Worker

if TYPE_CHECKING:
    from eqlin_core import LanguageModel, LinearMap

MODELS = "the models"
# The bytes that the contributions of one text at every position of its answer may take.
POSITION_BYTES = 256 << 20


class Engine:
    """One worker, and the models with their linear maps, which only the work of a question touches, on its thread.

    Only ``submit``, ``shipped``, ``damage``, ``loaded``, ``room`` and ``fetches`` are for the pages.
    """

    def __init__(self) -> None:
        self.models = Models()
        self.worker = Worker(connected=connected, on_loss=self.models.let_all_go)
        self.saved = SavedAnalyses()
        self.fetches = 0  # how often a model was fetched or deleted here: until then, who asks for it gets one answer

    def submit(self, question: Question[Any], visitor: str) -> Job:
        """The job that ends in the answer; whoever asks the same question gets the same job."""

        def work(progress: Reporter) -> Any:
            if question.interactive or question.beside:
                return question.work(self, progress)
            # Long work on one prompt makes the same matrix: one after the other, it is made once.
            with progress.alone_with(("long work about", question.about)):
                return question.work(self, progress)

        return self.worker.submit(
            question.key,
            work,
            label=question.label,
            visitor=visitor,
            interactive=question.interactive,
            beside=question.beside,
        )

    def shipped(self, question: Question[Any], visitor: str) -> Job | None:
        """A job that has ended in the answer that is shipped, read here and now; None where none is."""
        answer = self.saved.shipped(question)
        return None if answer is None else self.worker.ended(question.key, answer, question.label, visitor)

    def linear_map(self, request: Request, progress: Reporter, said: str = "") -> LinearMap:
        """The map of the request: one of the last made, or a new one, of which only the network is recorded.

        Publishes "plan", how the run will use time and memory, unless the plan of the work that asks was ``said``.
        Raises EqlinError for what cannot be loaded or will not fit, and ``Cancelled`` from ``progress``.
        """
        from eqlin_core import linearize, plan_run  # noqa: PLC0415 - torch stays off the script thread

        model = self.load(request, progress)
        found = self.models.map_of(request)
        if found is None:
            ids = explained_ids(model, request)
            plan = plan_run(model, len(ids), request.convention)  # what cannot fit is refused here, before it starts
            progress.publish("plan", said or plan.sentence())
            progress(None, "Recording the frozen network")
            self.models.make_room_for(plan)
            lin = linearize(model, token_ids=ids, **request.convention.keywords)
            found = self.models.keep_map(request, lin, plan)
        progress.publish("plan", said or found.plan.sentence())
        return found.lin

    def position_of_answer(self, request: Request, progress: Reporter) -> LinearMap | None:
        """The map of a position within an answer, one of those that share the recording and replays of the whole text.

        None for any other request, for a text whose contributions at all positions would not be kept, and for a model
        whose positions may read later ones.
        """
        if request.position is None or not request.answer:
            return None
        model = self.load(request, progress)
        text, whole = read(model, request), request.whole
        n = len(text.token_ids)
        size = (n - text.first + 1) * n * model.width * model.dtype.itemsize
        if not text.first <= request.position + 1 <= n or size > POSITION_BYTES:
            return None
        lin = self.linear_map(whole, progress)
        if not lin.network.ordered:
            return None
        return self.models.positions(whole, lin, range(text.first - 1, n), size)[request.position + 1 - text.first]

    def load(self, request: Request, progress: Reporter) -> LanguageModel:
        """The model of the request in its precision. Raises EqlinError where the name leads nowhere."""
        found = self.models.find(request)
        if found is None:
            with progress.alone_with(MODELS):  # nobody else loads meanwhile, the same model least of all
                found = self.models.find(request) or self.models.load(request, progress)
        return found

    def damage(self, request: Request) -> str:
        """What is wrong with the weights of the request's model on the disk; empty for nothing. For the pages, too."""
        return self.models.damage(request)

    def loaded(self) -> list[InMemory]:
        """What is loaded now, the last used first."""
        return self.models.in_memory()

    def room(self) -> Room:
        """What memory is free for another model now. Of a GPU it is known once a model was loaded on it."""
        return self.models.room()

    def kept(self, request: Request, name: str) -> Any:
        """What work keeps beside the request's model, which is loaded: an empty ordered dictionary at first."""
        return self.models.kept(request, name)


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The one engine of this server process, shared by all visitors."""
    return Engine()
