"""The engine behind all pages: one worker, the model that is loaded, and the linear map that was made last."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.worker.presence import connected
from pages.worker.question import Question
from pages.worker.request import Request
from pages.worker.saved_analyses import SavedAnalyses
from pages.worker.worker import Job, Reporter, Worker

if TYPE_CHECKING:
    from eqlin_core import LanguageModel, LinearMap


# A page's own split is by another map than the other pages' spectra: of small prompts both stay.
KEPT_MAPS, SMALL_MAP = 2, 256 << 20


class Engine:
    """One worker, at most one model, and the linear maps that were made last: all owned by the worker's thread.

    Only ``submit`` is for the pages; the rest is for the work of a question, on the worker's thread. ``beside_model``
    holds what such work keeps for the model that is loaded, and is emptied when the model goes.
    """

    def __init__(self) -> None:
        self.worker = Worker(connected=connected)
        self.saved = SavedAnalyses()
        self.beside_model: dict[str, Any] = {}
        self._model: tuple[tuple[str, str], LanguageModel] | None = None
        self._maps: OrderedDict[Request, tuple[LinearMap, str]] = OrderedDict()  # each with the plan of its run

    def submit(self, question: Question[Any], visitor: str) -> Job:
        """The job that ends in the answer; whoever asks the same question gets the same job."""
        return self.worker.submit(
            question.key,
            lambda progress: question.work(self, progress),
            label=question.label,
            visitor=visitor,
            interactive=question.interactive,
        )

    def linear_map(self, request: Request, progress: Reporter) -> LinearMap:
        """The map of the request: one of the last made, or a new one, of which only the network is recorded.

        Publishes "plan", how the run will use time and memory. Raises EqlinError for what cannot be loaded or will
        not fit, and ``Cancelled`` from ``progress``.
        """
        from eqlin_core import linearize, plan_run  # noqa: PLC0415 - torch stays off the script thread
        from eqlin_core.models.baselines import with_begin  # noqa: PLC0415
        from eqlin_core.models.prompts import prompt_ids  # noqa: PLC0415

        if request not in self._maps:
            model = self.load(request, progress)
            ids = prompt_ids(model, request.prompt, None)
            if request.begin:
                ids = prompt_ids(model, None, with_begin(model, ids))
            plan = plan_run(model, len(ids), request.convention)  # what cannot fit is refused here, before it starts
            while len(self._maps) >= (KEPT_MAPS if plan.recorded_bytes < SMALL_MAP else 1):
                self._maps.popitem(last=False)
            progress.publish("plan", plan.sentence())
            progress(None, "Recording the frozen network")
            self._maps[request] = linearize(model, token_ids=ids, **request.convention.keywords), plan.sentence()
        self._maps.move_to_end(request)
        lin, said = self._maps[request]
        progress.publish("plan", said)
        return lin

    def load(self, request: Request, progress: Reporter) -> LanguageModel:
        """The model of the request in its precision. Raises EqlinError where the name leads nowhere."""
        wanted = (request.model, request.dtype)
        if self._model is None or self._model[0] != wanted:
            progress(None, f"Loading {request.model}")
            from eqlin_core import load_model  # noqa: PLC0415

            # Two models never share the memory, and a name that leads nowhere costs nobody the model that is loaded.
            model = load_model(request.model, dtype=request.dtype, progress=progress, found=self._release)
            self._model = (wanted, model)
        return self._model[1]

    def _release(self) -> None:
        self._model = None
        self._maps.clear()
        self.beside_model.clear()


@st.cache_resource(show_spinner=False)
def engine() -> Engine:
    """The one engine of this server process, shared by all visitors."""
    return Engine()
