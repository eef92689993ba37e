"""``http:`` and ``https:``: HTTP/1.1 over connections that are kept as a browser keeps them, or over a fresh one each time.

A question never waits for another: while the connection that is kept is busy, a further one is opened, and closed again
afterwards. Redirects are not followed; one is a good answer.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import h11

from whimbrel import __version__
from whimbrel.checks.check import Answer, Asker, Check, Failed, Listener, Tools
from whimbrel.checks.connecting import TLS_OPTIONS, attach, connect, tls_for

# Servers end connections that nothing is asked on, after 5 s or more: after so long that is no loss.
_AGREED_NS = 4_000_000_000
# An answer that is larger has no end for us.
_LARGEST_BYTES = 16 << 20
_STATUS = re.compile(r"([1-5][0-9x]{2})(?:-([1-5][0-9x]{2}))?")
_GOOD = "2xx+3xx"


@dataclass(frozen=True)
class _Wanted:
    """What is asked, and which answer is good."""

    request: h11.Request
    body: bytes
    statuses: tuple[range, ...]
    text: bytes


class _Connection(asyncio.Protocol):
    """One connection, which carries one question at a time."""

    def __init__(self, asker: HttpAsker) -> None:
        self._asker = asker
        self._http = h11.Connection(h11.CLIENT)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[int] | None = None
        self._status = 0
        self._body = bytearray()
        self._body_bytes = 0
        self._closing = False
        self.answers = 0
        self.told_lost = False
        self.idle_since_ns: int | None = None
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def ask(self, wanted: _Wanted) -> int:
        """One question; when its answer had ended, in ns."""
        assert self._transport is not None
        self._status, self._body_bytes, self.idle_since_ns = 0, 0, None
        self._body.clear()
        self._waiting = asyncio.get_running_loop().create_future()
        sent = self._http.send(wanted.request) or b""
        if wanted.body:
            sent += self._http.send(h11.Data(data=wanted.body)) or b""
        self._transport.write(sent + (self._http.send(h11.EndOfMessage()) or b""))
        answered_ns = await self._waiting
        self.answers += 1
        if not any(self._status in good for good in wanted.statuses):
            raise Failed("wrong-answer", f"status {self._status}")
        if wanted.text not in self._body:
            raise Failed("wrong-answer", "the text that is expected is not in the answer")
        return answered_ns

    @property
    def alive(self) -> bool:
        """Whether it can be written to."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether it can carry another question; prepares it for that."""
        if not self.alive or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        if self._http.trailing_data[0]:
            # It says more than it was asked: nobody can tell to which question.
            return False
        self._http.start_next_cycle()
        return True

    def data_received(self, data: bytes) -> None:
        now_ns = time.monotonic_ns()
        try:
            self._http.receive_data(data)
            self._take_events(now_ns)
        except h11.RemoteProtocolError as error:
            self._fail(Failed("wrong-answer", f"this is not HTTP: {error}"))

    def _take_events(self, now_ns: int) -> None:
        for event in self._events():
            if isinstance(event, h11.Response):
                self._status = event.status_code
            elif isinstance(event, h11.Data):
                self._body_bytes += len(event.data)
                if self._asker.keeps_body:
                    self._body += event.data
                if self._body_bytes > _LARGEST_BYTES:
                    return self._fail(Failed("wrong-answer", f"the answer did not end after {_LARGEST_BYTES >> 20} MiB"))
            elif isinstance(event, h11.EndOfMessage) and self._waiting is not None and not self._waiting.done():
                self._waiting.set_result(now_ns)
        return None

    def _events(self) -> Iterator[h11.Event]:
        while self._http.their_state not in (h11.DONE, h11.MUST_CLOSE):
            event = self._http.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
                return
            assert not isinstance(event, type)
            yield event

    def eof_received(self) -> None:
        try:
            # An answer without a length ends here; another one is cut off.
            self._http.receive_data(b"")
            self._take_events(time.monotonic_ns())
        except h11.RemoteProtocolError:
            self._fail(EOFError())

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or EOFError())
        idle_ns = time.monotonic_ns() - self.idle_since_ns if self.idle_since_ns is not None else 0
        if not self._closing and (error is not None or idle_ns < _AGREED_NS):
            self._asker.lost(self)

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    def close(self) -> None:
        """Closes it, which is no loss."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()


class HttpAsker:
    """Asks one URL, over connections that are kept or fresh."""

    def __init__(self, check: Check, tools: Tools) -> None:
        parts, self._host, self._port = check.parts(443 if check.url.startswith("https:") else 80)
        self._tools = tools
        self._keeps = check.one_of("connection", "kept", "fresh") == "kept"
        self._tls = tls_for(check) if parts.scheme == "https" else None
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._wanted = _wanted(check, _ascii(target), _host_header(check, self._host, parts.port), self._keeps)
        self._idle: _Connection | None = None
        self._open: set[_Connection] = set()

    @property
    def keeps_body(self) -> bool:
        """Whether an answer's text matters."""
        return bool(self._wanted.text)

    async def ask(self) -> Answer:
        """On the connection that is kept, where it is free, else on a new one."""
        connection, self._idle = self._idle, None
        if connection is None or not connection.alive:
            connected, address = await connect(self._tools.names, self._host, self._port)
            connection = await attach(_Connection(self), connected, self._tls, self._host)
            connection.address = address
        self._open.add(connection)
        try:
            answered_ns = await connection.ask(self._wanted)
        except Failed:
            self._take_back(connection)
            raise
        except BaseException:
            # It was closed, or its time is up: one that has served before and is silent now is lost too.
            self.lost(connection)
            self._drop(connection)
            raise
        self._take_back(connection)
        return Answer(answered_ns, connection.address)

    def _take_back(self, connection: _Connection) -> None:
        if self._keeps and self._idle is None and connection.reusable:
            self._idle = connection
            connection.idle_since_ns = time.monotonic_ns()
        else:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        connection.close()
        self._open.discard(connection)

    def lost(self, connection: _Connection) -> None:
        """A connection has ended, and not by us; one that never served is of no use to anybody."""
        self._open.discard(connection)
        if connection is self._idle:
            self._idle = None
        if self._keeps and connection.answers and not connection.told_lost:
            connection.told_lost = True
            self._tools.lost()

    async def close(self) -> None:
        """Closes every connection to the server."""
        for connection in list(self._open):
            self._drop(connection)
        self._idle = None


def _host_header(check: Check, host: str, port: int | None) -> str:
    """A host as HTTP names it: a name in ASCII, an address of version 6 in brackets."""
    try:
        name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    except UnicodeError as error:
        raise check.wrong(f"{host!r} is no name of a host") from error
    return name if port is None else f"{name}:{port}"


def _wanted(check: Check, target: str, host: str, keeps: bool) -> _Wanted:
    body = check.option("body").encode()
    headers = [_header(check, text) for text in check.options.get("header", ())]
    given = {name.lower() for name, _ in headers}
    usual = [("Host", host), ("User-Agent", f"whimbrel/{__version__}"), ("Accept", "*/*")]
    usual += [] if keeps else [("Connection", "close")]
    usual += [("Content-Length", str(len(body)))] if body else []
    headers = [(name, value) for name, value in usual if name.lower() not in given] + headers
    try:
        method = check.option("method", "POST" if body else "GET").upper()
        request = h11.Request(method=method, target=target, headers=headers)
    except (h11.LocalProtocolError, UnicodeEncodeError) as error:
        raise check.wrong(f"this cannot be asked: {error}") from error
    return _Wanted(request, body, _statuses(check), check.option("text").encode())


def _header(check: Check, text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise check.wrong(f"header={text}: a header is NAME: VALUE")
    return name.strip(), value.strip()


def _statuses(check: Check) -> tuple[range, ...]:
    found = []
    for part in check.option("status", _GOOD).split("+"):
        match = _STATUS.fullmatch(part)
        if match is None:
            raise check.wrong(f"status={part}: it is such as 200, 2xx, 200-399 or 200+204")
        low, high = match[1].replace("x", "0"), (match[2] or match[1]).replace("x", "9")
        found.append(range(int(low), int(high) + 1))
    return tuple(found)


def _ascii(target: str) -> str:
    """A path as it is sent: what is no ASCII in it, and a space, becomes percent-encoded UTF-8."""
    return "".join(char if "!" <= char <= "~" else "".join(f"%{byte:02X}" for byte in char.encode()) for char in target)


class _Http:
    schemes = ("http", "https")
    prefix = "http://"
    rate_per_s = 20.0
    options = {  # noqa: RUF012
        "connection": "kept (default), or fresh for each question",
        "method": "default: GET, or POST where there is a body",
        "header": "NAME: VALUE; several times",
        "body": "what is sent",
        "status": "which are good; default: 2xx+3xx",
        "text": "what a good answer has in it",
        **TLS_OPTIONS,
    }

    def listens(self, check: Check) -> bool:
        return False

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return HttpAsker(check, tools)


KIND = _Http()
