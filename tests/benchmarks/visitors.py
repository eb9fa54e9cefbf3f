"""Visitors of the running app without a browser each: what a tab says to the server and hears from it.

A tab opens a websocket, asks for a page by its address, and runs the page's polling parts when the server tells it to.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import websockets
from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

# What marks the strip, which is drawn with the first numbers.
STRIP = 'class=\\"eq-strip'
_MOST_BYTES = 1 << 28


@dataclass
class Visit:
    """One tab's visit: what it asked for, and after how many seconds it saw what."""

    prompt: str
    numbers: float | None = None  # seconds from connecting to the strip
    errors: list[str] = field(default_factory=list)
    left: bool = False  # it was closed before that


class Tab:
    """A tab that shows the page at ``url`` with a prompt of its own."""

    def __init__(self, url: str, prompt: str, page: str = "") -> None:
        self.visit = Visit(prompt)
        self._stream = f"ws://{urlsplit(url).netloc}/_stcore/stream"
        self._query, self._page = urlencode({"prompt": prompt}), page
        self._polls: dict[str, asyncio.Task[None]] = {}

    async def stay(self, seconds: float, *, until_numbers: bool = True) -> Visit:
        """Visit for so long at most; until the first numbers are there, unless told to stay."""
        began = time.monotonic()
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(seconds),
                connect(
                    self._stream, subprotocols=[websockets.Subprotocol("streamlit")], max_size=_MOST_BYTES
                ) as socket,
            ):
                try:
                    await self._ask(socket)
                    async for data in socket:
                        assert isinstance(data, bytes)
                        self._hear(socket, ForwardMsg.FromString(data), began)
                        if until_numbers and self.visit.numbers is not None:
                            break
                finally:
                    self._stop_polls()
        self.visit.left = self.visit.numbers is None
        return self.visit

    async def _ask(self, socket: ClientConnection, fragment: str = "") -> None:
        message = BackMsg()
        state = message.rerun_script
        state.query_string, state.page_name, state.fragment_id = self._query, self._page, fragment
        state.is_auto_rerun = bool(fragment)
        await socket.send(message.SerializeToString())

    def _hear(self, socket: ClientConnection, message: Any, began: float) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session" and not message.metadata.run.fragment_ids:
            self._stop_polls()  # the page is drawn anew, and says again what polls
        elif kind == "auto_rerun":
            poll = message.auto_rerun
            self._polls[poll.fragment_id] = asyncio.create_task(self._poll(socket, poll.fragment_id, poll.interval))
        elif kind == "stop_auto_rerun":
            if task := self._polls.pop(message.stop_auto_rerun.fragment_id, None):
                task.cancel()
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            element = message.delta.new_element
            if element.WhichOneof("type") == "exception" or element.alert.format == Alert.ERROR:
                self.visit.errors.append(element.alert.body or element.exception.message)
            elif self.visit.numbers is None and STRIP in str(element):
                self.visit.numbers = time.monotonic() - began

    async def _poll(self, socket: ClientConnection, fragment: str, interval: float) -> None:
        with suppress(websockets.ConnectionClosed):
            while True:
                await asyncio.sleep(interval)
                await self._ask(socket, fragment)

    def _stop_polls(self) -> None:
        for task in self._polls.values():
            task.cancel()
        self._polls.clear()
