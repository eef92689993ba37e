"""RTMP as a check, against a server of our own: what came of the film is kept, connection by connection."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from tests.unit.stream.test_rtmp import HANDSHAKE, delta, message, picture
from whimbrel.checks.check import Failed, Tools
from whimbrel.checks.names import Names
from whimbrel.checks.registry import open_check
from whimbrel.checks.rtmp import RtmpListener
from whimbrel.checks.url import parse_check
from whimbrel.errors import UsageError


def listener(url: str) -> RtmpListener:
    made = open_check(parse_check(url), Tools(Names(), lambda: None))
    assert isinstance(made, RtmpListener)
    return made


def test_each_connection_and_message_is_kept() -> None:
    heard: list[int] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HANDSHAKE + message(6, 9, 500, picture(60)))
        await writer.drain()
        await asyncio.sleep(0.2)
        writer.write(delta(6, 1, 40, picture(70)) + message(4, 8, 541, b"\xaf\x01" + bytes(30)))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async def go() -> RtmpListener:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        watched = listener(f"rtmp://127.0.0.1:{server.sockets[0].getsockname()[1]}/film/one")
        async with server:
            for _ in range(2):
                with contextlib.suppress(EOFError, OSError, Failed):
                    await watched.listen(heard.append)
        return watched

    began_ns = time.monotonic_ns()
    film = asyncio.run(go()).film(7)
    assert film.select("viewer", "connection", "kind", "stream_ms", "bytes").rows() == [
        (7, connection, kind, stream_ms, size)
        for connection in (1, 2)
        for kind, stream_ms, size in ((0, 500, 55), (0, 540, 65), (1, 541, 30))
    ]
    # What came together is one moment, and one answer.
    assert film.get_column("arrived_ns").unique(maintain_order=True).to_list() == heard
    assert len(heard) == 4
    assert heard[0] > began_ns
    assert 0.15 < (heard[1] - heard[0]) / 1e9 < 2


@pytest.mark.parametrize("buffer", ["0s", "3", "20min", "-1s", "much"])
def test_what_is_no_buffer_is_refused(buffer: str) -> None:
    for url in ("rtmp://127.0.0.1/film/one", "hls:http://127.0.0.1/x.m3u8"):
        with pytest.raises(UsageError, match="buffer"):
            open_check(parse_check(f"{url}#buffer={buffer}"), Tools(Names(), lambda: None))
