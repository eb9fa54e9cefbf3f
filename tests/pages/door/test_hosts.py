"""The door: by which names the server answers, over HTTP and for a websocket, and what every answer carries."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pages.door.hosts import host_name, host_rule
from pages.door.server import STRANGER, Door
from pages.door.settings import Settings

PRIVATE = Settings()
ROOM = Settings(address="0.0.0.0", beyond=True, public=True, names=("lab.example.org", "*.school.example"))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost", "localhost"),
        ("LocalHost:8501", "localhost"),
        ("lab.example.org.:80", "lab.example.org"),
        ("[::1]:8501", "::1"),
        ("", None),
        ("localhost:", None),
        ("localhost@evil.example", None),
        ("localhost/evil", None),
        ("localhost evil.example", None),
        ("::1", None),
    ],
)
def test_a_host_header_is_read_to_its_last_letter(header: str, name: str | None) -> None:
    assert host_name(header) == name


def test_a_private_server_answers_to_the_names_of_this_machine_alone() -> None:
    allowed = host_rule(PRIVATE)
    assert all(map(allowed, ("localhost:1", "127.0.0.1:8501", "[::1]")))
    assert not any(map(allowed, ("evil.example", "localhost.evil.example", "192.0.2.7", "127.0.0.1.evil.example")))


def test_a_room_is_reached_by_the_names_that_are_listed_and_by_any_address() -> None:
    allowed = host_rule(ROOM)
    assert all(
        map(allowed, ("lab.example.org", "a.school.example:443", "192.0.2.7:8501", "[2001:db8::7]", "localhost"))
    )
    assert not any(map(allowed, ("evil.example", "school.example", "xlab.example.org", "192.0.2.7.evil.example")))
    assert host_rule(replace(PRIVATE, names=("*",)))("anything.example")
    assert host_rule(replace(PRIVATE, address="lab.example.org"))("lab.example.org:8501")


async def _inside(scope: Any, receive: Any, send: Any) -> None:
    """What stands behind the door."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"server", b"inside")]})
        await send({"type": "http.response.body", "body": b"inside"})


def asked(served: Settings, kind: str = "http", path: str = "/", server: str = "127.0.0.1", **headers: str) -> Any:
    """What the door sends for one request: the first message, and the body of an answer."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": f"{kind}.disconnect"}

    named = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": path, "method": "GET", "headers": named, "server": (server, 8501)}
    asyncio.run(Door(_inside, served)(scope, receive, send))
    return sent[0], b"".join(message.get("body", b"") for message in sent)


def test_a_foreign_host_gets_one_sentence_and_nothing_from_behind_the_door() -> None:
    for headers in ({"host": "evil.example:8501"}, {}):
        first, body = asked(PRIVATE, **headers)
        assert (first["status"], body.decode()) == (403, STRANGER)
    assert asked(PRIVATE, host="localhost:8501")[1] == b"inside"


def test_a_websocket_is_opened_by_a_page_of_this_server_or_by_a_program() -> None:
    def opened(**headers: str) -> bool:
        first, _ = asked(PRIVATE, "websocket", **headers)
        assert first["type"] in ("websocket.accept", "websocket.close")
        return bool(first["type"] == "websocket.accept")

    assert opened(host="localhost:8501")
    assert opened(host="localhost:8501", origin="http://localhost:8501")
    assert not opened(host="evil.example", origin="http://evil.example")
    assert not opened(host="localhost:8501", origin="http://evil.example")
    assert not opened(host="localhost:8501", origin="null")


def test_a_connection_from_outside_finds_nobody_where_only_this_machine_was_meant() -> None:
    assert asked(PRIVATE, server="192.0.2.7", host="localhost")[0]["status"] == 403
    assert asked(ROOM, server="192.0.2.7", host="localhost")[0]["status"] == 200


def test_the_metrics_are_of_no_concern_to_the_public() -> None:
    for path in ("/_stcore/metrics", "/base/_stcore/metrics/"):
        assert asked(ROOM, path=path, host="localhost")[0]["status"] == 404
        assert asked(PRIVATE, path=path, host="localhost")[0]["status"] == 200


def test_every_answer_forbids_frames_of_other_sites_and_scripts_from_elsewhere() -> None:
    headers = dict(asked(PRIVATE, host="localhost")[0]["headers"])
    assert headers[b"server"] == b"inside"
    policy = headers[b"Content-Security-Policy"].decode().split("; ")
    assert {"default-src 'self'", "object-src 'none'", "frame-ancestors 'self'"} <= set(policy)
    assert (headers[b"X-Content-Type-Options"], headers[b"Referrer-Policy"]) == (b"nosniff", b"same-origin")
    assert headers[b"X-Frame-Options"] == b"SAMEORIGIN"
    framed = dict(asked(replace(ROOM, frames=("https://school.example",)), host="localhost")[0]["headers"])
    assert framed[b"Content-Security-Policy"].endswith(b"frame-ancestors 'self' https://school.example")
    assert b"X-Frame-Options" not in framed, "it knows no list"
