"""By which names the server answers. A page of another site that makes its own name lead here finds no answer."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from pages.door.settings import Settings, is_loopback

HERE = ("localhost", "127.0.0.1", "::1")
_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)\.?)(?::[0-9]{1,5})?")


def host_rule(settings: Settings) -> Callable[[str], bool]:
    """Whether a ``Host`` header may ask this server anything, by its settings; its port does not count."""
    known = {*HERE, *(name.lower().rstrip(".").strip("[]") for name in settings.names)}
    known.add(settings.address.lower())
    if settings.beyond:
        known.add(socket.gethostname().lower())
    anything = "*" in known
    endings = tuple(name[1:] for name in known if name.startswith("*."))

    def allowed(header: str) -> bool:
        name = host_name(header)
        if name is None:
            return False
        # Whoever typed an address got to that address: only a name can be made to lead somewhere else.
        return anything or name in known or name.endswith(endings) or (settings.beyond and _is_address(name))

    return allowed


def host_name(header: str) -> str | None:
    """The name or address in a ``Host`` header, without its port; None where there is none."""
    found = _HOST.fullmatch(header.strip().lower())
    return None if found is None else found["v6"] or found["name"]


def headers_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """All headers of this name."""
    return [value.decode("latin-1") for key, value in headers if key.lower() == name]


def origin_host(origin: str) -> str:
    """What a ``Host`` header of the page with this origin says; empty where it has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def came_from_outside(server: tuple[str, int | None] | None) -> bool:
    """Whether a connection came in at an address that other machines reach."""
    return server is not None and _is_address(server[0]) and not is_loopback(server[0])


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
