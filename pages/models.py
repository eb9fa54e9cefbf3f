"""Page Models: which models there are, what each takes, whether it fits here, and which of them are on this machine."""

from pages.catalogue.entries import entries
from pages.catalogue.view import answer, chosen, table
from pages.door.admission import listed_models
from pages.frame.entry import through_app
from pages.widgets.heading import heading
from pages.worker.engine import engine

through_app(__file__)


def page() -> None:
    """Draw the page."""
    heading(
        "Which model, and does it fit here?",
        "A model's weights take memory in proportion to their number and the precision; what is free is looked up now.",
    )
    found, room = entries(listed_models()), engine().room()
    answer(found, room)
    chosen(found, room)
    table(found, room)


page()
