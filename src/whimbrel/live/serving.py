"""The process that makes page, metrics and spans of what it is told on a pipe, a line each; it ends when the pipe does.

Run as ``python -m whimbrel.live.serving DESCRIPTOR``; ``live.beside`` starts it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import uvicorn
from prometheus_client import make_asgi_app, write_to_textfile

from whimbrel.events import Published
from whimbrel.live.hub import Hub
from whimbrel.live.lines import from_line
from whimbrel.live.metrics import Metrics
from whimbrel.live.pages import Door, Pages
from whimbrel.live.picture import Picture
from whimbrel.live.spans import Spans, otlp
from whimbrel.system.clock import read_pair
from whimbrel.trace_parent import TraceParent

_LONGEST_LINE_BYTES = 1 << 24
_FILE_EVERY_S = 2.0
# Pages that are open get so long to go on to the report.
_LEAVING_S = 5.0
_LOOK_S = 0.1
# A page and its files take a few connections each.
_MOST_CONNECTIONS = 500


class Serving:
    """All that is made of what is told on ``pipe``: ``given`` says what."""

    def __init__(self, given: dict[str, Any], pipe: BinaryIO) -> None:
        self._pipe = pipe
        pair = read_pair()
        offset_ns = pair.realtime_ns - pair.monotonic_ns
        self._given = given
        self._hub = Hub(Picture(given["title"], given["began_ns"], offset_ns))
        self._metrics = Metrics(self._hub.picture, offset_ns)
        self._takers: list[Callable[[Published], None]] = [self._hub.take, self._metrics.take]
        self._file = Path(given["metrics_file"]) if given["metrics_file"] else None
        self._pages = Pages(self._hub, Door(frozenset(given["names"]), given["token"]))
        self._servers: list[uvicorn.Server] = []
        self._spans: Spans | None = None
        root, parent = (TraceParent.read(given[key]) for key in ("root", "parent"))
        if given["spans"] is not None and root is not None:
            self._spans = Spans(self._hub.picture, offset_ns, otlp(given["spans"]), given["title"], root, parent)
            self._takers.append(self._spans.take)
        self._report: str | None = None

    async def run(self) -> None:
        """Serves until the pipe ends, and the pages that are open have gone on to the report."""
        apps = {"live_fd": self._pages.app, "metrics_fd": make_asgi_app(self._metrics.registry)}
        serving = [self._serve(app, self._given[key]) for key, app in apps.items() if self._given[key] is not None]
        tasks = [asyncio.create_task(task) for task in (*serving, self._hub.tick(), self._write_now_and_then())]
        try:
            await self._read()
            await self._leave()
        finally:
            for server in self._servers:
                server.should_exit = True
            for task in tasks[len(serving) :]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._write()
            if self._spans is not None:
                self._spans.end()

    async def _serve(self, app: Any, descriptor: int) -> None:
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, lifespan="off", server_header=False, date_header=False,
            timeout_graceful_shutdown=1, limit_concurrency=_MOST_CONNECTIONS,
        )  # fmt: skip
        server = uvicorn.Server(config)
        self._servers.append(server)
        await server.serve(sockets=[socket.socket(fileno=descriptor)])

    async def _read(self) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE_BYTES)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), self._pipe)
        while line := await reader.readline():
            self._take(line)

    def _take(self, line: bytes) -> None:
        if line.startswith(b'{"end"'):
            self._report = json.loads(line)["end"]
            return
        # The last line of one that was killed may be cut off.
        with contextlib.suppress(ValueError):
            news = from_line(line)
            for take in self._takers:
                take(news)

    async def _leave(self) -> None:
        """Pages that are open go on to the report; nobody is waited for for long."""
        pages = self._pages
        pages.report = Path(self._report) if self._report else None
        wanted = self._hub.open if pages.report is not None else 0
        self._hub.end(pages.report is not None)
        until_s = asyncio.get_running_loop().time() + _LEAVING_S
        while (pages.report_taken < wanted or self._hub.open) and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(_LOOK_S)
        if wanted:
            # The last one has its headers; the rest of it is on its way.
            await asyncio.sleep(_LOOK_S)

    async def _write_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_FILE_EVERY_S)
            self._write()

    def _write(self) -> None:
        if self._file is not None:
            write_to_textfile(str(self._file), self._metrics.registry)


def main() -> None:
    """Serves what the first line on the pipe asks for."""
    pipe = os.fdopen(int(sys.argv[1]), "rb", buffering=0)
    given = json.loads(pipe.readline())
    asyncio.run(Serving(given, pipe).run())


if __name__ == "__main__":
    main()
