"""A viewer that never plays says what the server answered: a real nginx whose workers may not read the film."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from benchmarks.origin import URL, native_origin

from whimbrel.errors import InstrumentError
from whimbrel.images.store import ImageStore
from whimbrel.moves import instruments
from whimbrel.moves.instruments import play
from whimbrel.system.instrument import Instrument

HLS = "http://127.0.0.1/hls/film.m3u8"
RATE_BYTES_PER_S, LENGTH_S = 125e3, 60.0


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A copy of the film that tests may change; nginx's user may enter its folder."""
    folder = tmp_path / "film"
    shutil.copytree(ImageStore().film(RATE_BYTES_PER_S, LENGTH_S), folder, ignore=shutil.ignore_patterns("disk.raw"))
    for each in (folder, folder / "hls"):
        each.chmod(0o755)
    for each in folder.rglob("*.*"):
        each.chmod(0o644)
    return folder


def told(folder: Path, film: Path, module: str, configuration: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of two viewers that do not play."""
    monkeypatch.setattr(instruments, "PLAYING_S", 4.0)
    asked = {**configuration, "viewers": 2}
    with native_origin(folder, RATE_BYTES_PER_S, LENGTH_S, film) as origin, ExitStack() as holding:
        player = Instrument("player", module, asked, output=folder / "s.parquet", log_file=folder / "log", wrap=origin.inside)
        with pytest.raises(InstrumentError) as caught:
            play(player, 2, holding)
    assert "waited 4 s for the player to play with all viewers" in str(caught.value)
    return str(caught.value)


def rtmp(url: str = URL) -> dict[str, Any]:
    return {"url": url, "read_ahead_s": 3.0, "length_s": LENGTH_S}


def test_a_film_that_nginx_may_not_read(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (film / "film.flv").chmod(0o600)
    said = told(tmp_path, film, "whimbrel.stream.player", rtmp(), monkeypatch)
    assert (
        "2 of 2 viewers never played: the server refused to play film/film.flv: NetStream.Play.StreamNotFound,"
        " Video on demand stream not found"
    ) in said


def test_a_playlist_that_nginx_may_not_read(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (film / "hls/film.m3u8").chmod(0o600)
    said = told(tmp_path, film, "whimbrel.stream.hls_player", {"url": HLS, "buffer_s": 6.0}, monkeypatch)
    assert f"2 of 2 viewers never played: HTTP 403 Forbidden ({HLS})" in said


def test_segments_that_nginx_may_not_read(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for segment in film.glob("hls/*.ts"):
        segment.chmod(0o600)
    said = told(tmp_path, film, "whimbrel.stream.hls_player", {"url": HLS, "buffer_s": 6.0}, monkeypatch)
    # Each has tried some, one after the other.
    assert re.search(r"of 2 viewers never played: HTTP 403 Forbidden \(http://127\.0\.0\.1/hls/\d{4}\.ts\)", said), said


def test_a_page_instead_of_a_playlist(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # nginx answers so for all that is not below /hls.
    said = told(tmp_path, film, "whimbrel.stream.hls_player", {"url": "http://127.0.0.1/film.m3u8", "buffer_s": 6.0}, monkeypatch)
    assert "it is no playlist: it begins with 'origin\\n' instead of #EXTM3U (http://127.0.0.1/film.m3u8)" in said


def test_an_application_that_nginx_does_not_have(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(tmp_path, film, "whimbrel.stream.player", rtmp("rtmp://127.0.0.1:1935/other/film.flv"), monkeypatch)
    assert re.search("2 of 2 viewers never played: .* when asked for application other", said), said


def test_nobody_at_the_port(tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(tmp_path, film, "whimbrel.stream.player", rtmp("rtmp://127.0.0.1:1999/film/film.flv"), monkeypatch)
    assert "2 of 2 viewers never played: Connection refused" in said
