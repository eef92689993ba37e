"""What VLC says of itself, as VLC 3.0.24 said it over its remote control."""

from __future__ import annotations

import pytest

from whimbrel.stream.vlc_remote import Answers, Look

PLAYING = (
    b"status change: ( new input: rtmp://192.0.2.1/film/film.flv )\r\nstatus change: ( audio volume: 0 )\r\n"
    b"status change: ( play state: 3 )\r\nstatus: returned 0 (no error)\r\n1\r\n+----[ begin of statistical info ]\r\n"
    b"+-[Incoming]\r\n| input bytes read :      419 KiB\r\n| input bitrate    :     2711 kb/s\r\n"
    b"| demux bytes read :      380 KiB\r\n| demux bitrate    :     2546 kb/s\r\n| demux corrupted  :        0\r\n"
    b"| discontinuities  :        0\r\n|\r\n+-[Video Decoding]\r\n| video decoded    :      134\r\n"
    b"| frames displayed :       39\r\n| frames lost      :        2\r\n|\r\n+-[Audio Decoding]\r\n"
    b"| audio decoded    :      233\r\n| buffers played   :      116\r\n| buffers lost     :        3\r\n|\r\n"
    b"+----[ end of statistical info ]\r\nstats: returned 0 (no error)\r\n"
)
IDLE = (
    b"> status change: ( stop state: 0 )\r\nstatus change: ( audio volume: 0 )\r\nstatus change: ( stop state: 5 )\r\n"
    b"status: returned 0 (no error)\r\n> 0\r\nstats: returned 0 (no error)\r\n"
)
SHOWN = Look(idle=False, time_s=1, pictures=39, pictures_lost=2, sounds=116, sounds_lost=3)
NOTHING = Look(idle=True, time_s=0, pictures=0, pictures_lost=0, sounds=0, sounds_lost=0)


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_looks_are_read_from_pieces_of_any_size(size: int) -> None:
    said, answers = PLAYING + IDLE, Answers()
    found = [look for at in range(0, len(said), size) for look in answers.hear(said[at : at + size])]
    assert found == [SHOWN, NOTHING]


def test_a_stream_that_ended_between_two_looks_is_known_to_have_ended() -> None:
    answers = Answers()
    assert answers.hear(PLAYING) == [SHOWN]
    assert answers.hear(b"status change: ( stop state: 5 )\r\n") == []
    assert [look.idle for look in answers.hear(IDLE)] == [True]


def test_rubbish_is_no_look_and_is_not_kept() -> None:
    answers = Answers()
    assert answers.hear(b"\xff" * (1 << 20)) == []
    assert answers.hear(b"\n| frames displayed : many\r\n") == []
    assert answers.hear(PLAYING) == [SHOWN]
