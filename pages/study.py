"""Page Study: many prompts measured into tables, which grow while one looks."""

from pages.frame.entry import through_app
from pages.studies.asking import ask_for_study, follow
from pages.studies.view import results
from pages.visit.session import session
from pages.widgets.heading import heading
from pages.widgets.nothing_yet import nothing_yet

through_app(__file__)


def page() -> None:
    """Draw the page, or what to do while there is nothing to draw."""
    if session().shown is None:
        nothing_yet("studies", "The first analysis is on its way: the model is loaded once, then")
        return
    heading(
        "What holds over many prompts?",
        "A list of prompts is measured one after the other, by the model, precision and map of the sidebar. What is "
        "there is kept: a study that was stopped goes on where it was.",
    )
    asked = ask_for_study()
    if asked is not None:
        follow(asked)
        results(asked)


page()
