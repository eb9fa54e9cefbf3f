"""The door of the server: what every request passes before Streamlit sees it, and what the terminal says at first."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eqlin_core.errors import EqlinError
from pages.door.gate import has_login
from pages.door.hosts import came_from_outside, headers_of, host_rule, origin_host
from pages.door.models import is_here, offered
from pages.door.settings import Settings, settings

STRANGER = "This server does not answer to that name. Whoever runs it allows a name with: eqlin serve --name NAME\n"
_HIDDEN = "/_stcore/metrics"


class Door:
    """Lets in what asks for this server by a name of its own, and sends every answer with headers that protect it."""

    def __init__(self, app: ASGIApp, served: Settings) -> None:
        self._app, self._served = app, served
        self._allowed = host_rule(served)
        self._headers = [(name.encode(), value.encode()) for name, value in protecting_headers(served).items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or open one websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif not self._may_come_in(scope):
            await self._refuse(scope, receive, send)
        elif self._served.public and scope["path"].rstrip("/").endswith(_HIDDEN):
            await PlainTextResponse("Not found\n", 404)(scope, receive, send)
        else:
            await self._app(scope, receive, self._protected(send))

    def _may_come_in(self, scope: Scope) -> bool:
        hosts = headers_of(scope["headers"], b"host")
        if len(hosts) != 1 or not self._allowed(hosts[0]):
            return False
        if not self._served.beyond and came_from_outside(scope.get("server")):
            return False  # started by another way than ours, on an address that the settings do not know
        # A browser says from which page it opens a websocket, and asks nobody whether it may.
        origins = headers_of(scope["headers"], b"origin") if scope["type"] == "websocket" else []
        return all(self._allowed(origin_host(origin)) for origin in origins)

    @staticmethod
    async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: status 403
        else:
            await PlainTextResponse(STRANGER, 403)(scope, receive, send)

    def _protected(self, send: Send) -> Send:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *self._headers]}
            await send(message)

        return send_with_headers


def protecting_headers(served: Settings) -> dict[str, str]:
    """The headers of every answer.

    Scripts may be inline and evaluated, because Streamlit and Plotly need both; nothing is fetched from elsewhere, and
    nothing sent there.
    """
    policy = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "worker-src": "'self' blob:",
        "object-src": "'none'",
        "base-uri": "'self'",
        "form-action": "'self'",
        "frame-ancestors": " ".join(("'self'", *served.frames)),
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "X-Content-Type-Options": "nosniff",
        # a prompt is part of the address, which is nobody else's business
        "Referrer-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        **({} if served.frames else {"X-Frame-Options": "SAMEORIGIN"}),
    }


def middleware() -> list[Middleware]:
    """What stands between the network and Streamlit."""
    try:
        served = settings()
    except EqlinError as error:
        raise SystemExit(str(error)) from error
    if served.public:
        # Before the hub's library is imported: no visitor makes this process ask a hub for anything.
        os.environ["HF_HUB_OFFLINE"] = "1"
    return [Middleware(Door, served=served)]


@asynccontextmanager
async def opening(_app: Any) -> AsyncIterator[None]:
    """The life of the server, which begins with a line in the terminal where other machines reach it."""
    if said := said_at_the_start(settings()):
        print(said, file=sys.stderr, flush=True)
    yield


def said_at_the_start(served: Settings) -> str:
    """What whoever starts the server must know; nothing for a private server that only this machine reaches."""
    where = f"eqlin listens beyond this machine, on {served.address}: " if served.beyond else ""
    if not where and served.names:
        where = f"eqlin answers to {', '.join(served.names)}: "
    if not served.public:
        return where and where + "public mode is OFF, so every visitor can open folders and fetch models."
    gate = "a password" if served.password else "a login" if has_login() else "no password"
    said = (
        f"{where or 'eqlin: '}public mode is on, with {gate}. Models: {', '.join(offered(served))}. "
        f"Prompts: up to {served.longest_prompt:,} characters."
    )
    # no visitor can make this process fetch them
    absent = ", ".join(name for name in offered(served) if not is_here(name))
    return said + (f" Not on this machine, fetch first with `eqlin run MODEL PROMPT`: {absent}." if absent else "")
