"""The server of the README's command: where it listens, and what a stranger gets of it."""

from __future__ import annotations

import http.client
import re
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil
import pytest

from pages.door.server import STRANGER
from tests.browser.server import App, running_app


@pytest.fixture(scope="module")
def app() -> Iterator[App]:
    with running_app(address=None) as running:
        yield running


def asked(app: App, path: str, **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    """What the server answers: status, text, headers."""
    place = urlsplit(app.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    try:
        connection.putrequest("GET", path, skip_host=True)
        for name, value in {"Host": place.netloc, **headers}.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        websocket = answer.status == 101  # its stream has no end
        return answer.status, "" if websocket else answer.read().decode("utf-8", "replace"), answer.headers
    finally:
        connection.close()


def websocket(app: App, **headers: str) -> int:
    """The status that answers a request for the websocket of the pages."""
    opening = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    }
    return asked(app, "/_stcore/stream", **opening, **headers)[0]


def test_it_listens_on_this_machine_only(app: App) -> None:
    sockets = psutil.Process(app.process.pid).net_connections("inet")
    listening = {found.laddr.ip for found in sockets if found.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    others = {
        place.address
        for places in psutil.net_if_addrs().values()
        for place in places
        if place.family == socket.AF_INET and not place.address.startswith("127.")
    }
    for address in others:
        with socket.socket() as stranger:
            stranger.settimeout(5)
            assert stranger.connect_ex((address, urlsplit(app.url).port or 0)) != 0


def test_a_foreign_host_is_refused_over_http_and_for_a_websocket(app: App) -> None:
    status, text, headers = asked(app, "/")
    assert status == 200
    assert "<title>Streamlit</title>" in text
    assert re.search(r"frame-ancestors 'self'", headers["Content-Security-Policy"])
    for path in ("/", "/_stcore/health", "/_stcore/host-config", "/media/x.png"):
        assert asked(app, path, Host="evil.example")[:2] == (403, STRANGER)
    assert websocket(app) == 101
    assert websocket(app, Host="evil.example", Origin="http://evil.example") == 403
    assert websocket(app, Origin="http://evil.example") == 403
