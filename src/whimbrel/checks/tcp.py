"""``tcp:``: a fresh connection for each question, beside one that is kept; or, where the service answers, what it answers.

With ``send`` each question sends that text and waits for ``text`` (default: the same, an echo). Questions follow one
another on the connection that is kept without waiting: answers come in their order.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque

from whimbrel.checks.check import Answer, Asker, Check, Failed, Listener, Tools
from whimbrel.checks.connecting import attach, connect

# What is kept of what was not understood: no service is a reason to fill the memory.
_MOST_KEPT_BYTES = 1 << 20


class _Kept(asyncio.Protocol):
    """A connection that is kept: who waits on it, in order, and what has come."""

    def __init__(self, asker: _Connecting | _Sending, expected: bytes) -> None:
        self._asker = asker
        self._expected = expected
        self._waiting: deque[asyncio.Future[int]] = deque()
        self._came = bytearray()
        self._closing = False
        self.transport: asyncio.Transport | None = None
        self.address = ""
        self.heard_ns = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    @property
    def alive(self) -> bool:
        """Whether it can be written to."""
        return self.transport is not None and not self.transport.is_closing()

    async def ask(self, text: bytes) -> int:
        """Sends it and waits for its answer: when that was there, in ns."""
        if not self.alive:
            raise EOFError
        assert self.transport is not None
        waiting: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        # One whose asker gives up stays: its answer may yet come, before those of later questions.
        self._waiting.append(waiting)
        self.transport.write(text)
        return await waiting

    def data_received(self, data: bytes) -> None:
        self.heard_ns = time.monotonic_ns()
        if not self._expected:
            return
        self._came += data
        while (at := self._came.find(self._expected)) >= 0:
            del self._came[: at + len(self._expected)]
            if self._waiting:
                waiting = self._waiting.popleft()
                if not waiting.done():
                    waiting.set_result(self.heard_ns)
        if len(self._came) > _MOST_KEPT_BYTES:
            self._fail(Failed("wrong-answer", "the text that is expected is not in 1 MiB of what came"))
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        words = bytes(self._came[:60])
        self._fail(Failed("wrong-answer", f"it said {words!r} and closed the connection") if words else error or EOFError())
        if not self._closing:
            self._asker.lost(self)

    def _fail(self, error: Exception) -> None:
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_exception(error)

    def close(self) -> None:
        """Closes it, which is no loss."""
        self._closing = True
        if self.transport is not None:
            self.transport.abort()


class _Connecting:
    """A connection that can be made is the answer; another one is held all the time, and its loss is told."""

    def __init__(self, check: Check, tools: Tools) -> None:
        _, self._host, self._port = check.parts(None)
        self._tools = tools
        self._kept: _Kept | None = None
        self._holding = False
        self._holds = check.one_of("connection", "kept", "fresh") == "kept"
        self._timeout_s = check.timeout_s

    async def ask(self) -> Answer:
        connected, address = await connect(self._tools.names, self._host, self._port)
        now_ns = time.monotonic_ns()
        if self._kept is not None or self._holding or not self._holds:
            connected.close()
            return Answer(now_ns, address)
        self._holding = True
        _probe(connected, self._timeout_s)
        try:
            self._kept = await attach(_Kept(self, b""), connected, None, self._host)
        finally:
            self._holding = False
        return Answer(now_ns, address)

    def lost(self, connection: _Kept) -> None:
        if connection is self._kept:
            self._kept = None
            self._tools.lost()

    async def close(self) -> None:
        if self._kept is not None:
            self._kept.close()


def _probe(connected: socket.socket, timeout_s: float) -> None:
    """Lets the kernels ask each other every second whether the connection is still there (tcp(7)): nothing else is sent on it."""
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, min(100, max(1, round(timeout_s))))


class _Sending:
    """Sends a text and waits for another."""

    def __init__(self, check: Check, tools: Tools) -> None:
        _, self._host, self._port = check.parts(None)
        self._text = _unescaped(check.option("send"))
        self._expected = _unescaped(check.option("text")) or self._text
        self._tools = tools
        self._keeps = check.one_of("connection", "kept", "fresh") == "kept"
        self._kept: _Kept | None = None
        self._open: set[_Kept] = set()

    async def ask(self) -> Answer:
        connection = self._kept if self._kept is not None and self._kept.alive else await self._connect()
        asked_ns = time.monotonic_ns()
        try:
            answered_ns = await connection.ask(self._text)
        except asyncio.CancelledError:
            # Nothing at all came for as long as we wait: whoever holds such a connection has lost it.
            if connection is self._kept and connection.heard_ns < asked_ns:
                self.lost(connection)
                self._drop(connection)
            raise
        finally:
            if connection is not self._kept:
                self._drop(connection)
        return Answer(answered_ns, connection.address)

    async def _connect(self) -> _Kept:
        """A new connection for this question alone, unless it is the first to be there: then it is kept."""
        connected, address = await connect(self._tools.names, self._host, self._port)
        connection = await attach(_Kept(self, self._expected), connected, None, self._host)
        connection.address = address
        self._open.add(connection)
        if self._keeps and self._kept is None:
            self._kept = connection
        return connection

    def _drop(self, connection: _Kept) -> None:
        connection.close()
        self._open.discard(connection)

    def lost(self, connection: _Kept) -> None:
        self._open.discard(connection)
        if connection is self._kept:
            self._kept = None
            # One that never answered was of no use to anybody.
            if connection.heard_ns:
                self._tools.lost()

    async def close(self) -> None:
        for connection in list(self._open):
            self._drop(connection)


def _unescaped(text: str) -> bytes:
    r"""``\r``, ``\n`` and ``\0`` as people write them."""
    return text.replace("\\r", "\r").replace("\\n", "\n").replace("\\0", "\0").encode()


class _Tcp:
    schemes = ("tcp",)
    prefix = "tcp://"
    rate_per_s = 20.0
    options = {  # noqa: RUF012
        "connection": "kept (default): one is held all the time; or fresh",
        "send": r"what is sent as a question, such as PING\r\n",
        "text": "what its answer has in it; default: the same, an echo",
    }

    def listens(self, check: Check) -> bool:
        return False

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        if "send" in check.options:
            return _Sending(check, tools)
        if "text" in check.options:
            raise check.wrong("text is what is answered to what 'send' says, and there is no 'send'")
        return _Connecting(check, tools)


KIND = _Tcp()
