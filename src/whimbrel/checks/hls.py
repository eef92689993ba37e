"""``hls:URL``: plays a playlist as an HLS player does; each segment that comes with media in it is an answer.

So the usual silence is the length of a segment, and a gap is known to no less than that. What a player would show is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import polars as pl

from whimbrel.checks.check import HLS_BUFFER, Asker, Check, Failed, Listener, Tools
from whimbrel.records.series import SEGMENTS_SCHEMA

if TYPE_CHECKING:
    from whimbrel.stream.hls_viewer import Row


class _Events:
    """What the viewer tells of its stream: that it was lost, or is over, ends the listening. Implements ``hls_viewer.Teller``."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def say(self, what: str, **details: Any) -> None:
        """Takes one event of the viewer's."""
        if what == "lost":
            self._end(f"{details['reason']}")
        elif what == "film ended":
            self._end("the stream has ended")

    def _end(self, words: str) -> None:
        if not self.ended.done():
            self.ended.set_exception(Failed("wrong-answer", words))


class HlsListener:
    """Plays one playlist, and hears when segments stop coming."""

    def __init__(self, check: Check) -> None:
        self._url = check.url.removeprefix("hls:")
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise check.wrong("it names no playlist", "write hls:https://HOST/PATH.m3u8")
        self._buffer_s = check.duration_s("buffer", HLS_BUFFER)
        self._rows: list[Row] = []
        self._connection = 0

    async def listen(self, heard: Callable[[int], None]) -> None:
        """Plays until the stream is lost, or has ended."""
        # Only those who watch such a stream need what reads its segments.
        from whimbrel.stream.hls_viewer import HlsViewer
        from whimbrel.stream.segment_tracks import TrackFinder

        events = _Events()
        viewer = HlsViewer(1, self._url, self._buffer_s, events, TrackFinder(), heard)
        playing = asyncio.create_task(viewer.run())
        try:
            await asyncio.wait([playing, events.ended], return_when=asyncio.FIRST_COMPLETED)
            if not events.ended.done():
                playing.result()  # what nobody foresaw
            await events.ended
        finally:
            playing.cancel()
            events.ended.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            self._connection += 1
            self._rows += [row._replace(connection=self._connection) for row in viewer.rows]

    def film(self, position: int) -> pl.DataFrame:
        """Every request for a segment (``SEGMENTS_SCHEMA``)."""
        rows = [row._replace(viewer=position) for row in self._rows]
        return pl.DataFrame(rows, schema=SEGMENTS_SCHEMA, orient="row")

    async def close(self) -> None:
        """Nothing is kept open between two questions."""


class _Hls:
    schemes = ("hls",)
    prefix = "hls:"
    # So often a stream that is lost is opened anew.
    rate_per_s = 1.0
    options = {"buffer": f"how much of the film the player holds, such as 6s; default: {HLS_BUFFER}"}  # noqa: RUF012

    def listens(self, check: Check) -> bool:
        return True

    def open(self, check: Check, tools: Tools) -> Asker | Listener:
        return HlsListener(check)


KIND = _Hls()
