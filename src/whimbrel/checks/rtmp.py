"""``rtmp:`` and ``rtmps:``: plays a stream; each media message that comes is an answer, and what a player would show is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import polars as pl

from whimbrel.checks.check import RTMP_BUFFER, Asker, Check, Failed, Listener, Tools
from whimbrel.checks.connecting import TLS_OPTIONS, attach, connect, tls_for
from whimbrel.stream.packets import PacketLog
from whimbrel.stream.rtmp import Media, Player, RtmpError

# How much is asked for ahead: little, so that a silence of the server's is one here too.
_READ_AHEAD_MS = 100


class _Playing(asyncio.Protocol):
    """One connection to the stream, from its greeting to its end."""

    def __init__(self, player: Player, heard: Callable[[int, Sequence[Media]], None]) -> None:
        self._player = player
        self._heard = heard
        self._transport: asyncio.Transport | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(self._player.greet())

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        now_ns = time.monotonic_ns()
        try:
            media, answer = self._player.receive(data)
            if media:
                self._heard(now_ns, media)
        except RtmpError as error:
            return self._end(Failed("wrong-answer", str(error)))
        if answer:
            self._transport.write(answer)
        if self._player.ended:
            self._end(Failed("wrong-answer", "the stream has ended"))
        return None

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or EOFError())

    def _end(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
        self.ended.cancel()


class RtmpListener:
    """Plays one stream, and hears when media stops coming."""

    def __init__(self, check: Check, tools: Tools) -> None:
        parts, self._host, self._port = check.parts(443 if check.url.startswith("rtmps:") else 1935)
        self._app, _, self._name = parts.path.strip("/").partition("/")
        if not self._app or not self._name:
            raise check.wrong("it names no stream", "write rtmp://HOST/APPLICATION/STREAM")
        if parts.query:
            self._name += f"?{parts.query}"
        self._netloc = parts.netloc
        self._tls = tls_for(check) if parts.scheme == "rtmps" else None
        self._tools = tools
        check.duration_s("buffer", RTMP_BUFFER)
        self._log = PacketLog()
        self._connection = 0

    async def listen(self, heard: Callable[[int], None]) -> None:
        """Plays until the connection is lost."""
        self._connection += 1
        connection = self._connection

        def hear(now_ns: int, media: Sequence[Media]) -> None:
            # What came together is one moment.
            self._log.note(connection, now_ns, media)
            heard(now_ns)

        connected, _ = await connect(self._tools.names, self._host, self._port)
        playing = _Playing(Player(self._netloc, self._app, self._name, _READ_AHEAD_MS), hear)
        await attach(playing, connected, self._tls, self._host)
        try:
            await playing.ended
        finally:
            playing.close()

    def film(self, position: int) -> pl.DataFrame:
        """Every media message that came (``PACKETS_SCHEMA``)."""
        return self._log.frame(position)

    async def close(self) -> None:
        """Nothing is kept open between two questions."""


class _Rtmp:
    schemes = ("rtmp", "rtmps")
    prefix = "rtmp://"
    # So often a connection that is lost is tried anew.
    rate_per_s = 2.0
    options = {  # noqa: RUF012
        "buffer": f"what the player holds whose stalls are told, such as 3s; default: {RTMP_BUFFER}",
        **TLS_OPTIONS,
    }

    def listens(self, check: Check) -> bool:
        return True

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return RtmpListener(check, tools)


KIND = _Rtmp()
