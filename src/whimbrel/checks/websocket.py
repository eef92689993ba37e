"""``ws:`` and ``wss:``: a ping on a connection that is kept, which every server has to answer; or a message and its answer.

With ``connection=fresh`` each question is a new connection and its handshake.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage, InvalidURI, WebSocketException
from websockets.uri import parse_uri

from whimbrel.checks.check import Answer, Asker, Check, Failed, Listener, Tools
from whimbrel.checks.connecting import TLS_OPTIONS, connect, tls_for

_CLOSE_S = 0.5


class _Kept:
    """A connection: its messages are read all the time, and go to who has waited longest."""

    def __init__(self, websocket: ClientConnection, address: str) -> None:
        self.websocket = websocket
        self.address = address
        self.waiting: deque[asyncio.Future[tuple[int, str | bytes]]] = deque()
        self.heard_ns = 0
        self.closing = False
        self.reader: asyncio.Task[None] | None = None

    async def read(self) -> None:
        """Reads until the connection has ended."""
        try:
            async for message in self.websocket:
                self.heard_ns = time.monotonic_ns()
                if self.waiting:
                    waiting = self.waiting.popleft()
                    if not waiting.done():
                        waiting.set_result((self.heard_ns, message))
        except ConnectionClosed:
            pass
        for waiting in self.waiting:
            if not waiting.done():
                waiting.set_exception(EOFError())


class WebSocketAsker:
    """Asks one URL, by pings on a connection."""

    def __init__(self, check: Check, tools: Tools) -> None:
        _, self._host, self._port = check.parts(443 if check.url.startswith("wss:") else 80)
        try:
            parse_uri(check.url)
        except InvalidURI as error:
            raise check.wrong(error.msg) from error
        self._url, self._tools = check.url, tools
        self._tls = tls_for(check) if check.url.startswith("wss:") else None
        self._keeps = check.one_of("connection", "kept", "fresh") == "kept"
        self._text, self._expected = check.option("send"), check.option("text")
        self._kept: _Kept | None = None
        self._open: set[_Kept] = set()

    async def ask(self) -> Answer:
        """A ping, or a message, on the connection that is kept; a further one is opened while there is none."""
        connection = self._kept or await self._connect()
        now_ns = asked_ns = time.monotonic_ns()
        try:
            if self._text:
                now_ns = await self._talk(connection)
            elif self._keeps:
                await (await connection.websocket.ping())
                now_ns = connection.heard_ns = time.monotonic_ns()
        except asyncio.CancelledError:
            if connection is self._kept and connection.heard_ns < asked_ns:
                self._lose(connection)
            raise
        except ConnectionClosed as error:
            raise EOFError from error
        finally:
            if connection is not self._kept:
                self._drop(connection)
        return Answer(now_ns, connection.address)

    async def _talk(self, connection: _Kept) -> int:
        waiting: asyncio.Future[tuple[int, str | bytes]] = asyncio.get_running_loop().create_future()
        connection.waiting.append(waiting)
        await connection.websocket.send(self._text)
        answered_ns, message = await waiting
        text = message if isinstance(message, str) else message.decode(errors="replace")
        if self._expected not in text:
            raise Failed("wrong-answer", "the text that is expected is not in the answer")
        return answered_ns

    async def _connect(self) -> _Kept:
        connected, address = await connect(self._tools.names, self._host, self._port)
        try:
            websocket = await open_websocket(
                self._url, sock=connected, ssl=self._tls, server_hostname=self._host if self._tls else None,
                ping_interval=None, compression=None, open_timeout=None, close_timeout=_CLOSE_S, proxy=None,
            )  # fmt: skip
        except InvalidMessage as error:
            connected.close()
            # A connection that ends in the middle of the handshake is one of these too.
            raise (EOFError() if isinstance(error.__cause__, EOFError) else Failed("wrong-answer", str(error))) from error
        except (InvalidHandshake, WebSocketException) as error:
            connected.close()
            raise Failed("wrong-answer", str(error)) from error
        except BaseException:
            connected.close()
            raise
        connection = _Kept(websocket, address)
        self._open.add(connection)
        connection.reader = asyncio.create_task(connection.read())
        connection.reader.add_done_callback(lambda _: self._ended(connection))
        if self._keeps and self._kept is None:
            self._kept = connection
        return connection

    def _ended(self, connection: _Kept) -> None:
        self._open.discard(connection)
        if connection is self._kept:
            self._kept = None
        if not connection.closing and connection.heard_ns and self._keeps:
            self._tools.lost()

    def _lose(self, connection: _Kept) -> None:
        self._kept = None
        if connection.heard_ns:
            self._tools.lost()
        self._drop(connection)

    def _drop(self, connection: _Kept) -> None:
        connection.closing = True
        # At once: a good-bye would wait for whoever does not answer any more.
        connection.websocket.transport.abort()
        self._open.discard(connection)

    async def close(self) -> None:
        """Closes the connection to the server."""
        self._kept = None
        for connection in list(self._open):
            self._drop(connection)


class _WebSocket:
    schemes = ("ws", "wss")
    prefix = "ws://"
    rate_per_s = 20.0
    options = {  # noqa: RUF012
        "connection": "kept (default), or fresh for each question",
        "send": "a message to send instead of a ping",
        "text": "what the message that answers it has in it",
        **TLS_OPTIONS,
    }

    def listens(self, check: Check) -> bool:
        return False

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return WebSocketAsker(check, tools)


KIND = _WebSocket()
