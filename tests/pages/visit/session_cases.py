"""A visit whose analysis has ended."""

from __future__ import annotations

from pages.visit.session import Session
from pages.worker.request import Request


def settle(session: Session) -> None:
    """Take in everything that is under way."""
    for name in session.jobs.under_way:
        assert session.jobs.wait(name, 5)
    session.advance()


def finished(request: Request) -> Session:
    session = Session()
    session.ask(request)
    settle(session)
    return session
