"""HLS viewers against a real web server: every kind of playlist that RFC 8216 allows, and whatever may become of one."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.hls import SEGMENT_S, Handler, WebServer, cut, film, serving
from whimbrel.stream import hls_viewer
from whimbrel.stream.hls_viewer import HlsViewer, Row
from whimbrel.stream.segment_tracks import TrackFinder

# A film of four segments.
LENGTH_S = 4 * SEGMENT_S
BOTH, PICTURE, SOUND = 3, 1, 2


class Told:
    """What viewers say."""

    def __init__(self) -> None:
        self.said: list[dict[str, Any]] = []

    def say(self, what: str, **details: Any) -> None:
        self.said.append({"say": what, **details})

    def names(self) -> list[str]:
        return [line["say"] for line in self.said]

    def all(self, what: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["say"] == what]


def watch(url: str, for_s: float, buffer_s: float = 1.0) -> tuple[Told, list[Row]]:
    """A viewer until its film has ended, or so long."""
    return watch_all({"": url}, for_s, buffer_s)[""]


def watch_all(urls: dict[str, str], for_s: float, buffer_s: float = 1.0) -> dict[str, tuple[Told, list[Row]]]:
    """A viewer for each address, all at once."""
    told = {name: Told() for name in urls}
    rows: dict[str, list[Row]] = {}

    async def one(name: str, finder: TrackFinder) -> None:
        viewer = HlsViewer(1, urls[name], buffer_s, told[name], finder)
        rows[name] = viewer.rows
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(viewer.run(), for_s)

    async def everyone() -> None:
        finder = TrackFinder()
        await asyncio.gather(*(one(name, finder) for name in urls))

    asyncio.run(everyone())
    return {name: (told[name], rows[name]) for name in urls}


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What FFmpeg makes of one film: segments of MPEG-TS, fragments of MP4, parts of one file, encrypted ones, each track."""
    folder = tmp_path_factory.mktemp("films")
    film(folder / "film.mp4", LENGTH_S)
    film(folder / "picture.mp4", LENGTH_S, sound=False)
    film(folder / "sound.mp4", LENGTH_S, picture=False)
    cut(folder / "film.mp4", folder / "ts")
    cut(folder / "film.mp4", folder / "one", flags="single_file", segment_filename=str(folder / "one/all.ts"))
    cut(folder / "film.mp4", folder / "mp4", segment_type="fmp4", segment_filename=str(folder / "mp4/%04d.m4s"))
    cut(folder / "film.mp4", folder / "onemp4", segment_type="fmp4", flags="single_file",
        segment_filename=str(folder / "onemp4/all.m4s"))  # fmt: skip
    cut(folder / "film.mp4", folder / "event", playlist_type="event")
    cut(folder / "picture.mp4", folder / "picture")
    cut(folder / "sound.mp4", folder / "sound")
    (folder / "key").write_bytes(bytes(range(16)))
    (folder / "keyinfo").write_text(f"/key\n{folder / 'key'}\n")
    cut(folder / "film.mp4", folder / "encrypted", key_info_file=str(folder / "keyinfo"))
    return folder


@pytest.fixture
def server(films: Path) -> Iterator[WebServer]:
    with serving(films) as web_server:
        yield web_server


def text(body: str, **headers: str) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, headers=headers)

    return answer


def status(code: int) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=code)

    return answer


def redirect(to: str) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": to + request.path.rsplit("/", 1)[1]})

    return answer


def vod(*names: str, before: tuple[str, ...] = (), end: bool = True) -> str:
    """A playlist of the film's segments under these names."""
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:1", *before]
    for name in names:
        lines += [name] if name.startswith("#") else [f"#EXTINF:{SEGMENT_S},", name]
    return "\n".join(lines + ["#EXT-X-ENDLIST"] * end) + "\n"


FOUR = ("0000.ts", "0001.ts", "0002.ts", "0003.ts")


def allowed(server: WebServer) -> dict[str, list[tuple[int, int | None]]]:
    """Sets up playlists by name, each at ``/NAME/film.m3u8``; with status and tracks of every request that is right for it."""
    whole: list[tuple[int, int | None]] = [(200, BOTH)] * 4
    parts: list[tuple[int, int | None]] = [(206, BOTH)] * 4
    at = server.answers
    there = [f"/ts/{name}" for name in FOUR]
    at["/path/film.m3u8"] = text(vod(*there))
    at["/up/film.m3u8"] = text(vod(*(f"../ts/{name}" for name in FOUR)))
    at["/address/film.m3u8"] = text(vod(*(server.url(f"/ts/{name}") for name in FOUR)))
    at["/host/film.m3u8"] = text(vod(*(f"//127.0.0.1:{server.port}/ts/{name}" for name in FOUR)))
    at["/query/film.m3u8"] = text(vod(*(f"../ts/{name}?sig=a%2Bb%2F&n=1/2" for name in FOUR)))
    at["/moved/film.m3u8"] = redirect("/ts/")
    at["/movedsegments/film.m3u8"] = text(vod(*FOUR))
    at["/movedsegments/*"] = redirect("/ts/")
    at["/multivariant/film.m3u8"] = text(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\nnone.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2000,RESOLUTION=64x64\n../ts/film.m3u8\n"
    )
    at["/apart/film.m3u8"] = text(
        '#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="x",DEFAULT=YES,URI="/sound/film.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=1000,AUDIO="a"\n/picture/film.m3u8\n'
    )
    at["/noend/film.m3u8"] = text(vod(*there, before=("#EXT-X-PLAYLIST-TYPE:VOD",), end=False))
    at["/cut/film.m3u8"] = text(vod("/ts/0000.ts", "/ts/0001.ts", "#EXT-X-DISCONTINUITY", "/ts/0002.ts", "/ts/0003.ts"))
    at["/lines/film.m3u8"] = text(vod("#", "#EXT-X-NEW", *there, "# end").replace("\n", "\r\n"))
    at["/dates/film.m3u8"] = text(vod("#EXT-X-PROGRAM-DATE-TIME:when?", *there))
    at["/lowlatency/film.m3u8"] = text(
        vod(
            "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.0",
            "#EXT-X-PART-INF:PART-TARGET=0.25",
            *(line for name in FOUR for line in (f'#EXT-X-PART:DURATION=0.25,URI="/p/{name}"', f"/ts/{name}")),
            '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="/p/0004.ts"',
        )
    )
    at["/odd/film.m3u8"] = text(vod("ein film 1.ts", "12:00.ts", "影.ts", "a+b'(c).ts"))
    at["/odd/*"] = lambda _: asyncio.sleep(0, server.file("/ts/0001.ts"))
    zipped = gzip.compress(vod(*there).encode())
    at["/zipped/film.m3u8"] = lambda _: asyncio.sleep(0, web.Response(body=zipped, headers={"Content-Encoding": "gzip"}))
    # Knows nothing of ranges, and sends the whole file for each.
    at["/noranges/film.m3u8"] = lambda _: asyncio.sleep(0, server.file("/one/film.m3u8"))
    at["/noranges/all.ts"] = lambda _: asyncio.sleep(0, web.Response(body=(server.folder / "one/all.ts").read_bytes()))
    at["/gap/film.m3u8"] = text(vod("/ts/0000.ts", "#EXT-X-GAP", "/gap/none.ts", "/ts/0002.ts", "/ts/0003.ts"))
    picture: list[tuple[int, int | None]] = [(200, PICTURE)] * 4
    sound = len(list(server.folder.glob("sound/*.ts")))
    return {
        "ts": whole, "one": parts, "mp4": whole, "onemp4": parts, "event": whole, "path": whole, "up": whole, "address": whole,
        "host": whole, "query": whole, "moved": whole, "movedsegments": whole, "multivariant": whole, "noend": whole,
        "cut": whole, "lines": whole, "dates": whole, "lowlatency": whole, "odd": whole, "zipped": whole,
        "noranges": whole, "encrypted": [(200, None)] * 4, "apart": picture + [(200, SOUND)] * sound,
        "picture": picture, "gap": [(200, BOTH), (0, 0), (200, BOTH), (200, BOTH)],
    }  # fmt: skip


def test_every_kind_of_playlist_is_played_to_its_end(server: WebServer) -> None:
    wanted = allowed(server)
    began_s = time.monotonic()
    seen = watch_all({name: server.url(f"/{name}/film.m3u8") for name in wanted}, 20.0)
    asked = [each.path for each in server.asked]
    rows = {name: sorted(rows, key=lambda row: (row.playlist, row.position)) for name, (_, rows) in seen.items()}
    assert {name: [(row.status, row.tracks) for row in of_one] for name, of_one in rows.items()} == wanted
    plain = {"connecting", "variant", "encryption", "missing"}
    said = {name: [each for each in told.names() if each not in plain] for name, (told, _) in seen.items()}
    assert said == {name: ["playing", "all came", "film ended"] for name in wanted}
    # Played out, not only fetched; each segment was asked for once.
    assert all(told.all("film ended")[0]["t_ns"] / 1e9 - began_s > LENGTH_S for told, _ in seen.values())
    assert [row.missing for row in rows["gap"]] == [False, True, False, False]
    assert not any(path.startswith(("/gap/none", "/p/")) for path in asked)
    assert asked.count("/ts/0002.ts?sig=a%2Bb%2F&n=1/2") == asked.count("/odd/%E5%BD%B1.ts") == asked.count("/odd/12:00.ts") == 1
    assert asked.count("/key") == 1
    assert asked.count("/mp4/init.mp4") == 1
    assert [line["method"] for line in seen["encrypted"][0].all("encryption")] == ["AES-128"]
    [variant] = seen["multivariant"][0].all("variant")
    assert (variant["url"], variant["offered"], variant["bandwidth_bits_per_s"]) == (server.url("/ts/film.m3u8"), 2, 2000)


def test_a_segment_that_is_not_there_is_missing_after_three_tries(server: WebServer) -> None:
    server.answers["/x/film.m3u8"] = text(vod("/ts/0000.ts", "/x/none.ts", "/ts/0002.ts", "/ts/0003.ts"))
    told, rows = watch(server.url("/x/film.m3u8"), 20.0)
    assert [(row.position, row.status, row.missing) for row in rows] == [
        (0, 200, False), (1, 404, False), (1, 404, False), (1, 404, False), (1, 0, True), (2, 200, False), (3, 200, False),
    ]  # fmt: skip
    [missing] = told.all("missing")
    assert missing["reason"] == f"HTTP 404 Not Found ({server.url('/x/none.ts')})"
    assert (missing["position"], missing["length_s"]) == (1, SEGMENT_S)
    assert told.names()[-1] == "film ended"


def test_a_page_instead_of_a_segment_is_no_media(server: WebServer) -> None:
    server.answers["/x/film.m3u8"] = text(vod("/ts/0000.ts", "/x/page.ts", "/ts/0002.ts"))
    server.answers["/x/page.ts"] = text("<html>Please log in</html>")
    told, rows = watch(server.url("/x/film.m3u8"), 20.0)
    assert [(row.status, row.tracks, row.missing) for row in rows if row.position == 1] == [(200, 0, False)] * 3 + [(0, 0, True)]
    assert "no media: it begins with b'<html>Please log in</html>'" in told.all("missing")[0]["reason"]


def test_a_server_that_cannot_just_now_is_asked_until_it_can(server: WebServer) -> None:
    server.answers["/x/film.m3u8"] = text(vod(*FOUR))
    until_s = time.monotonic() + 2.3

    async def later(request: web.Request) -> web.StreamResponse:
        busy = request.path.endswith("0001.ts") and time.monotonic() < until_s
        return web.Response(status=503) if busy else server.file(request.path.replace("/x/", "/ts/"))

    server.answers["/x/*"] = later
    told, rows = watch(server.url("/x/film.m3u8"), 20.0)
    assert len([row for row in rows if row.status == 503]) >= 4
    assert [row.position for row in rows if row.status == 200] == [0, 1, 2, 3]
    assert told.all("missing") == []
    # Said once, for as long as it was the same.
    assert [line["reason"] for line in told.all("failed")] == [f"HTTP 503 Service Unavailable ({server.url('/x/0001.ts')})"]


def test_a_viewer_that_cannot_begin_says_what_the_server_answered(server: WebServer) -> None:
    answers: dict[str, tuple[Handler, str]] = {
        "none": (status(404), "HTTP 404 Not Found"),
        "forbidden": (status(403), "HTTP 403 Forbidden"),
        "broken": (status(500), "HTTP 500 Internal Server Error"),
        "page": (text("<html>welcome</html>"), "it is no playlist: it begins with '<html>welcome</html>' instead of #EXTM3U"),
        "nothing": (text(""), "it is no playlist: it begins with '' instead of #EXTM3U"),
        "empty": (text(vod()), "the playlist has ended without any segment"),
        "round": (redirect("/round/"), "more than 10 redirects"),
        "file": (redirect("file:///etc/"), "it leads to file:///etc/film.m3u8, which is not an address of HTTP"),
    }
    urls = {name: server.url(f"/{name}/film.m3u8") for name in answers}
    for name, (answer, _) in answers.items():
        server.answers[f"/{name}/film.m3u8"] = answer
    for name, (told, rows) in watch_all(urls, 2.5).items():
        assert told.names()[:4] == ["connecting", "lost"] * 2
        assert set(told.names()) == {"connecting", "lost"}
        assert {line["reason"] for line in told.all("lost")} == {f"{answers[name][1]} ({urls[name]})"}
        assert rows == []


def test_nobody_there_is_said() -> None:
    told, _ = watch("http://127.0.0.1:9/film.m3u8", 0.3)
    assert [line["reason"] for line in told.all("lost")] == ["Connection refused (http://127.0.0.1:9/film.m3u8)"]


def test_the_base_of_a_moved_playlist_is_where_it_was_found(server: WebServer) -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": server.url("/ts/film.m3u8?token=a%2Fb")})

    server.answers["/x/film.m3u8"] = away
    watch(server.url("/x/film.m3u8"), 20.0)
    assert "/ts/film.m3u8?token=a%2Fb" in [each.path for each in server.asked]
    assert "/ts/0003.ts" in [each.path for each in server.asked]


def test_a_variant_that_fails_gives_way_to_the_next(server: WebServer) -> None:
    server.answers["/x/film.m3u8"] = text(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000\n/ts/film.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=9000\nnone.m3u8\n"
    )
    told, rows = watch(server.url("/x/film.m3u8"), 20.0)
    assert [line["url"] for line in told.all("variant")] == [server.url("/x/none.m3u8"), server.url("/ts/film.m3u8")]
    assert [line["reason"] for line in told.all("lost")] == [f"HTTP 404 Not Found ({server.url('/x/none.m3u8')})"]
    assert [row.connection for row in rows] == [1] * 4
    assert told.names()[-1] == "film ended"


class Live:
    """A live stream: a segment every ``SEGMENT_S``, of which the newest ``window`` are in the playlist."""

    def __init__(self, server: WebServer, window: int, first: int = 0) -> None:
        self._server = server
        self._window = window
        self._began_s = time.monotonic() - window * SEGMENT_S
        self.first = first
        self.ended = self.broken = self.stuck = False
        self._last = 0
        server.answers["/live/film.m3u8"] = self.playlist
        server.answers["/live/*"] = self.segment

    async def playlist(self, _: web.Request) -> web.Response:
        if self.broken:
            return web.Response(status=502)
        if not self.stuck:
            self._last = int((time.monotonic() - self._began_s) / SEGMENT_S)
        first = self._last - self._window
        names = [f"{number}.ts" for number in range(self.first + first, self.first + self._last)]
        before = (f"#EXT-X-MEDIA-SEQUENCE:{self.first + first}",)
        return web.Response(text=vod(*names, before=before, end=self.ended))

    async def segment(self, request: web.Request) -> web.StreamResponse:
        number = int(request.path.rsplit("/", 1)[1].split(".")[0])
        return web.Response(status=502) if self.broken else self._server.file(f"/ts/{number % 4:04d}.ts")


def during(
    url: str, for_s: float, *moments: tuple[float, Any], buffer_s: float = 1.0, until: str = "film ended"
) -> tuple[Told, list[Row]]:
    """A viewer of a live stream, and what happens to that meanwhile; no longer than until it says something."""
    told = Told()

    async def both() -> list[Row]:
        viewer = HlsViewer(1, url, buffer_s, told, TrackFinder())
        loop = asyncio.get_running_loop()
        for at_s, what in moments:
            loop.call_later(at_s, what)
        playing = asyncio.create_task(viewer.run())
        deadline_s = time.monotonic() + for_s
        while until not in told.names() and time.monotonic() < deadline_s and not playing.done():
            await asyncio.sleep(0.05)
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        return viewer.rows

    return told, asyncio.run(both())


def numbers(server: WebServer) -> list[int]:
    return [int(each.path.rsplit("/", 1)[1][:-3]) for each in server.asked if each.path.endswith(".ts")]


def test_a_live_stream_is_followed_and_ends_only_when_its_playlist_says_so(server: WebServer) -> None:
    live = Live(server, 8, first=1000)
    told, rows = during(server.url("/live/film.m3u8"), 20.0, (2.5, lambda: setattr(live, "ended", True)))
    asked = numbers(server)
    assert asked == list(range(1002, asked[-1] + 1)), "three target durations from its end, and then each in turn"
    assert len(asked) > 8
    assert [row.position for row in rows] == list(range(len(asked)))
    assert not any(row.missing for row in rows)
    assert told.names() == ["connecting", "playing", "all came", "film ended"]
    loads = [each.at_s for each in server.asked if each.path.endswith(".m3u8")]
    assert min(later - earlier for earlier, later in itertools.pairwise(loads)) > 0.45


def test_what_left_the_window_while_the_server_was_away_is_missing(server: WebServer) -> None:
    live = Live(server, 4)
    url = server.url("/live/film.m3u8")
    told, rows = during(
        url,
        20.0,
        (1.0, lambda: setattr(live, "broken", True)),
        (4.5, lambda: setattr(live, "broken", False)),
        (6.0, lambda: setattr(live, "ended", True)),
    )
    missing = [row for row in rows if row.missing]
    assert len(missing) >= 3
    came = numbers(server)
    assert len({row.position for row in rows if row.status == 200}) + len(missing) == came[-1] - came[0] + 1
    assert {line["reason"] for line in told.all("missing")} == {"it left the playlist before it came"}
    assert any("HTTP 502" in line["reason"] for line in told.all("failed"))
    assert told.names()[-1] == "film ended"


def test_a_stream_that_begins_anew_is_said(server: WebServer) -> None:
    live = Live(server, 8, first=100_000)
    told, rows = during(
        server.url("/live/film.m3u8"), 20.0, (1.5, lambda: setattr(live, "first", 0)), (4.0, lambda: setattr(live, "ended", True))
    )
    [said] = told.all("began anew")
    assert said["reason"].startswith("the playlist went back from segment 1000")
    assert numbers(server)[-1] < 100
    assert not any(row.missing for row in rows)


def test_a_live_stream_that_stands_still_is_late_then_lost_and_never_ended(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hls_viewer, "LOST_S", 1.5)
    live = Live(server, 8)
    told, _ = during(server.url("/live/film.m3u8"), 20.0, (0.5, lambda: setattr(live, "stuck", True)), until="lost")
    assert told.names() == ["connecting", "playing", "playlist late", "lost"]
    assert told.all("lost")[0]["reason"] == "nothing to play for 2 s"
    assert told.all("playlist late")[0]["unchanged_s"] > 1.5


def test_a_large_buffer_that_fills_slowly_is_no_loss(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls_viewer, "LOST_S", 1.5)
    Live(server, 6)
    told, _ = during(server.url("/live/film.m3u8"), 4.0, buffer_s=30.0)
    assert told.names() == ["connecting", "playing"]


def test_a_film_goes_on_where_it_was_lost(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls_viewer, "LOST_S", 1.0)
    server.answers["/x/film.m3u8"] = text(vod(*FOUR))
    until_s = time.monotonic() + 3.0

    async def later(request: web.Request) -> web.StreamResponse:
        busy = request.path.endswith("0002.ts") and time.monotonic() < until_s
        return web.Response(status=503) if busy else server.file(request.path.replace("/x/", "/ts/"))

    server.answers["/x/*"] = later
    told, rows = watch(server.url("/x/film.m3u8"), 20.0)
    reason = f"nothing to play for 1 s: HTTP 503 Service Unavailable ({server.url('/x/0002.ts')})"
    assert {line["reason"] for line in told.all("lost")} == {reason}
    lost = len(told.all("lost"))
    assert [(row.connection, row.position) for row in rows if row.status == 200] == [(0, 0), (0, 1), (lost, 0), (lost, 1)]
    assert told.names()[-1] == "film ended"


def test_an_answer_that_never_ends_shows_nothing(server: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hls_viewer, "LOST_S", 1.0)
    server.answers["/x/film.m3u8"] = text(vod("0000.ts"))

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"G")
            await asyncio.sleep(0.05)

    server.answers["/x/0000.ts"] = drip
    told, rows = watch(server.url("/x/film.m3u8"), 2.0)
    assert told.names()[:3] == ["connecting", "lost", "connecting"]
    assert rows == []


def test_a_segment_that_broke_off_or_is_not_the_part_asked_for_did_not_come(server: WebServer) -> None:
    server.answers["/x/film.m3u8"] = text(vod("#EXT-X-BYTERANGE:9000@0", "short.ts", "broken.ts"))
    server.answers["/x/short.ts"] = lambda _: asyncio.sleep(0, web.Response(body=b"G" * 188, status=206))

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b"G" * 1880)
        assert request.transport is not None
        request.transport.close()
        return response

    server.answers["/x/broken.ts"] = broken
    told, rows = watch(server.url("/x/film.m3u8"), 3.0)
    assert {row.status for row in rows} == {0}
    assert told.all("failed")[0]["reason"] == f"188 bytes instead of the 9000 from 0 on ({server.url('/x/short.ts')})"
