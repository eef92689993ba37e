"""Real HLS for tests: films that FFmpeg has cut, and a web server of our own on the loopback."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from aiohttp import web
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

SEGMENT_S = 0.5
_FRAMES_PER_S, _SAMPLE_HZ, _SAMPLES = 10, 44100, 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def film(file: Path, length_s: float, picture: bool = True, sound: bool = True) -> None:
    """A small film with a key frame every ``SEGMENT_S``."""
    random = np.random.default_rng(1)
    with av.open(str(file), "w") as out:
        video = out.add_stream("libx264", rate=_FRAMES_PER_S) if picture else None
        audio = out.add_stream("aac", rate=_SAMPLE_HZ, layout="mono") if sound else None
        if video is not None:
            video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
            video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(round(_FRAMES_PER_S * SEGMENT_S))}
        done = 0
        for number in range(round(length_s * _FRAMES_PER_S)):
            if video is not None:
                noise = random.integers(0, 255, (64, 64), dtype=np.uint8)
                frame = VideoFrame.from_ndarray(noise, format="gray").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, _FRAMES_PER_S)
                out.mux(video.encode(frame))
            while audio is not None and done * _FRAMES_PER_S < (number + 1) * _SAMPLE_HZ:
                wave = AudioFrame.from_ndarray(np.zeros((1, _SAMPLES), np.float32), format="fltp", layout="mono")
                wave.sample_rate, wave.pts, wave.time_base = _SAMPLE_HZ, done, Fraction(1, _SAMPLE_HZ)
                out.mux(audio.encode(wave))
                done += _SAMPLES
        for stream in (video, audio):
            if stream is not None:
                out.mux(stream.encode(None))


def cut(source: Path, folder: Path, name: str = "film.m3u8", **options: str) -> None:
    """FFmpeg's own HLS of a film: ``options`` are those of its ``hls`` format without the leading ``hls_``, or whole."""
    folder.mkdir(parents=True, exist_ok=True)
    given = {"hls_time": str(SEGMENT_S), "hls_list_size": "0", "hls_playlist_type": "vod"}
    given |= {"hls_segment_filename": str(folder / "%04d.ts")} | {f"hls_{key}": value for key, value in options.items()}
    with av.open(str(source)) as read, av.open(str(folder / name), "w", format="hls", options=given) as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in read.streams}
        for packet in read.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                out.mux(packet)


@dataclass
class Asked:
    """A question that the server was asked: its path with the query, its range, and when."""

    path: str
    range: str | None
    at_s: float


@dataclass
class WebServer:
    """A server of a folder; ``answers`` come before what lies there, by path or by the first part of a path and a star."""

    folder: Path
    answers: dict[str, Handler] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0

    def url(self, path: str) -> str:
        """The address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The special answer for a path, else the file that lies there."""
        self.asked.append(Asked(request.raw_path, request.headers.get("Range"), time.monotonic()))
        handler = self.answers.get(request.path) or self.answers.get(f"/{request.path.split('/')[1]}/*")
        return await handler(request) if handler is not None else self.file(request.path)

    def file(self, path: str) -> web.StreamResponse:
        """A file of the folder, or part of it where that is asked for."""
        found = self.folder / path.lstrip("/")
        return web.FileResponse(found) if found.is_file() else web.Response(status=404)


@contextmanager
def serving(folder: Path) -> Iterator[WebServer]:
    """A web server in a thread of its own."""
    server, loop, listening = WebServer(folder), asyncio.new_event_loop(), threading.Event()
    stop = asyncio.Event()

    async def serve() -> None:
        app = web.Application()
        app.router.add_route("GET", "/{path:.*}", server.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        server.port = runner.addresses[0][1]
        listening.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert listening.wait(10)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
