"""What page Models asks of the worker: to fetch a model, to unload one, to delete one from the disk."""

from __future__ import annotations

from eqlin_core.errors import EqlinError
from eqlin_core.models.names import hub_id_of
from pages.worker.engine import MODELS, Engine
from pages.worker.question import question
from pages.worker.worker import Reporter


@question("the download of {name}", beside=True)
def fetched(engine: Engine, progress: Reporter, name: str, _turn: int) -> None:
    """Nothing, once the model is here; ``_turn``: the engine's count of fetches, so that it can be fetched again."""
    from eqlin_core.models.loading import fetch_model  # noqa: PLC0415 - torch stays off the script thread

    with progress.alone_with(("files", hub_id_of(name))):
        fetch_model(name, progress)
    engine.fetches += 1


@question("unloading {name}", interactive=True)
def unloaded(engine: Engine, progress: Reporter, name: str, _since: float) -> None:
    """Nothing, once the model that is loaded ``_since`` then is not."""
    with progress.alone_with(MODELS):
        engine.models.let_go(name)


@question("deleting {name}", interactive=True)
def deleted(engine: Engine, progress: Reporter, name: str, _turn: int) -> None:
    """Nothing, once the model is gone from its cache. Raises EqlinError for one that is loaded."""
    from eqlin_core.models.on_disk import delete, on_disk  # noqa: PLC0415

    with progress.alone_with(MODELS), progress.alone_with(("files", hub_id_of(name))):
        copy = on_disk().get(name)
        if copy is None:
            return
        if engine.models.reads_from(copy.folder):
            raise EqlinError(f"{name} is loaded, and what is loaded is not deleted: unload it first.")
        delete(copy)
    engine.fetches += 1
