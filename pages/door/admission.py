"""What a visitor may ask for: every model and prompt on one's own machine, those of the operator on a public server."""

from __future__ import annotations

from pages.door.models import offered
from pages.door.settings import settings
from pages.worker.request import Request

# One sentence for every other name, so that nobody learns from it which folders and files this machine has.
NOT_OFFERED = "This server offers the models of its list and no others: choose one of them."
LONGEST_NAME = 1000


def refusal(request: Request) -> str:
    """Why this is not computed, in one sentence; empty where it may be."""
    if settings().public and request.model not in offered(settings()):
        return NOT_OFFERED
    if len(request.model) > LONGEST_NAME:
        return f"A model's name of {len(request.model):,} characters is too long: choose one of the list."
    return too_long(request.prompt, request.answer)


def too_long(*texts: str) -> str:
    """That one of the texts is longer than this server takes, in one sentence; empty where none is."""
    longest = max(map(len, texts), default=0)
    if not settings().public or longest <= settings().longest_prompt:
        return ""
    return (
        f"The text has {longest:,} characters, and this server takes {settings().longest_prompt:,} at most: shorten it."
    )


def manages_models() -> bool:
    """Whether a visitor may fetch, unload and delete models: on a public server only its operator does."""
    return not settings().public


def listed_models() -> tuple[str, ...] | None:
    """The models of the list where there are no others; None where any name may be typed."""
    return offered(settings()) if settings().public else None
