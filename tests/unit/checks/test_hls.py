"""HLS as a check: segments that come are answers, and a stream that ends or is lost is a failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.hls import WebServer, cut, film, serving
from whimbrel.checks.check import Failed, Tools
from whimbrel.checks.hls import HlsListener
from whimbrel.checks.names import Names
from whimbrel.checks.registry import open_check
from whimbrel.checks.url import parse_check

LENGTH_S = 4.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    folder = tmp_path_factory.mktemp("film")
    film(folder / "film.mp4", LENGTH_S)
    cut(folder / "film.mp4", folder / "ts")
    with serving(folder) as web_server:
        yield web_server


def listen(url: str, for_s: float = 30.0) -> tuple[list[int], Failed, HlsListener]:
    """When segments came, what ended it, and who listened."""
    heard: list[int] = []
    listener = open_check(parse_check(url), Tools(Names(), lambda: None))
    assert isinstance(listener, HlsListener)

    async def go() -> Failed:
        async with asyncio.timeout(for_s):
            try:
                await listener.listen(heard.append)
            except Failed as failed:
                return failed
        raise AssertionError("it ended without a word")

    return heard, asyncio.run(go()), listener


def test_each_segment_is_an_answer_until_the_film_ends(server: WebServer) -> None:
    began_ns = time.monotonic_ns()
    heard, failed, listener = listen(f"hls:{server.url('/ts/film.m3u8')}")
    ended_ns = time.monotonic_ns()
    segments = len(list((server.folder / "ts").glob("*.ts")))
    assert (len(heard), failed.words) == (segments, "the stream has ended")
    assert began_ns < heard[0] < heard[-1] < ended_ns
    film = listener.film(3)
    assert film.select("viewer", "connection", "position", "status", "tracks", "missing").rows() == [
        (3, 1, position, 200, 3, False) for position in range(segments)
    ]
    assert film.get_column("arrived_ns").to_list() == heard
    assert film.get_column("length_s").sum() == pytest.approx(LENGTH_S, abs=0.2)
    # No faster than it is played: the last one comes when little of those before is left.
    assert heard[-1] - heard[0] > (LENGTH_S / segments) * (segments - 2) * 1e9


def test_what_is_no_playlist_fails_with_what_the_server_answered(server: WebServer) -> None:
    heard, failed, _ = listen(f"hls:{server.url('/nothing.m3u8')}")
    assert (heard, failed.failure) == ([], "wrong-answer")
    assert "HTTP 404" in failed.words
