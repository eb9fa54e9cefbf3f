"""Page Models: which models there are, what each takes, whether it fits here, and which of them are on this machine."""

from pages.catalogue.view import answer, chosen, table
from pages.frame.entry import through_app
from pages.widgets.heading import heading

through_app(__file__)


def page() -> None:
    """Draw the page."""
    heading(
        "Which model, and does it fit here?",
        "A model's weights take memory in proportion to their number and the precision; what is free is looked up now.",
    )
    answer()
    chosen()
    table()


page()
