"""Which tracks a segment holds, of FFmpeg's own segments, and that nothing a server sends makes FFmpeg open anything else."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from tests.hls import cut, film
from whimbrel.stream import segment_tracks
from whimbrel.stream.segment_tracks import OTHER, PICTURE, SOUND, TrackFinder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    for name, picture, sound in (("both", True, True), ("picture", True, False), ("sound", False, True)):
        film(folder / f"{name}.mp4", 1.0, picture, sound)
        cut(folder / f"{name}.mp4", folder / name)
    cut(folder / "both.mp4", folder / "mp4", segment_type="fmp4", segment_filename=str(folder / "mp4/%04d.m4s"))
    film(folder / "packed.aac", 1.0, picture=False)
    return folder


@pytest.mark.parametrize(
    ("initialization", "segment", "tracks"),
    [
        ("", "both/0000.ts", PICTURE | SOUND),
        ("", "picture/0000.ts", PICTURE),
        ("", "sound/0000.ts", SOUND),
        ("mp4/init.mp4", "mp4/0001.m4s", PICTURE | SOUND),
        ("", "packed.aac", SOUND),
    ],
)
def test_tracks_of_what_ffmpeg_made(films: Path, initialization: str, segment: str, tracks: int) -> None:
    before = (films / initialization).read_bytes() if initialization else b""
    assert TrackFinder().tracks(before, (films / segment).read_bytes()) == tracks


def test_half_a_segment_shows_what_is_in_it(films: Path) -> None:
    whole = (films / "both/0000.ts").read_bytes()
    assert TrackFinder().tracks(b"", whole[: len(whole) // 2]) == PICTURE | SOUND


def test_text_is_neither_picture_nor_sound() -> None:
    assert TrackFinder().tracks(b"", b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello\n\n") == OTHER


@pytest.mark.parametrize(
    "text", ["<html>no</html>", "", "ffconcat version 1.0\nfile 0000.ts\n", "#EXTM3U\n#EXTINF:1,\n0000.ts\n"]
)
def test_what_is_no_segment_holds_nothing_and_leads_nowhere(films: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films / "both")
    assert TrackFinder().tracks(b"", text.encode()) == 0


def test_the_same_segment_is_looked_into_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def look(content: io.BytesIO, *_: object, **__: object) -> None:
        looks.append(len(content.getvalue()))
        raise av.error.InvalidDataError(1, "no media")

    monkeypatch.setattr(av, "open", look)
    monkeypatch.setattr(segment_tracks, "MOST_REMEMBERED", 2)
    finder = TrackFinder()
    assert [finder.tracks(b"", segment) for segment in (b"1", b"1", b"22", b"333", b"1")] == [0] * 5
    assert looks == [1, 2, 3, 1]
