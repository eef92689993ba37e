"""The player's side of RTMP against a server that is written out here, fed in pieces of any size."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as some

from whimbrel.stream import amf
from whimbrel.stream.flv import AUDIO, VIDEO
from whimbrel.stream.rtmp import Media, Player, RtmpError

HANDSHAKE = b"\x03" + bytes(1536) + bytes(1536)


def message(number: int, kind: int, stamp_ms: int, body: bytes, chunk: int = 128, stream: int = 1) -> bytes:
    """A message in chunks, with a full header."""
    extended = struct.pack(">I", stamp_ms) if stamp_ms >= 0xFFFFFF else b""
    field = min(stamp_ms, 0xFFFFFF).to_bytes(3, "big")
    out = bytes([number]) + field + len(body).to_bytes(3, "big") + bytes([kind]) + stream.to_bytes(4, "little") + extended
    out += body[:chunk]
    for begin in range(chunk, len(body), chunk):
        out += bytes([0xC0 | number]) + extended + body[begin : begin + chunk]
    return out


def delta(number: int, form: int, delta_ms: int, body: bytes, kind: int = 9, chunk: int = 128) -> bytes:
    """A message whose time counts from the one before it: format 1 (with length and kind) or 2 (as before)."""
    header = bytes([form << 6 | number]) + delta_ms.to_bytes(3, "big")
    if form == 1:
        header += len(body).to_bytes(3, "big") + bytes([kind])
    out = header + body[:chunk]
    for begin in range(chunk, len(body), chunk):
        out += bytes([0xC0 | number]) + body[begin : begin + chunk]
    return out


def picture(size: int) -> bytes:
    return b"\x27\x01" + bytes(size - 2)


def in_pieces(data: bytes, sizes: list[int]) -> tuple[list[Media], bytes, Player]:
    player = Player("host", "film", "film.flv", 3000)
    found: list[Media] = []
    sent = player.greet()
    position = turn = 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        turn += 1
        media, answer = player.receive(data[position : position + size])
        found += media
        sent += answer
        position += size
    return found, sent, player


STREAM = (
    HANDSHAKE
    + message(2, 5, 0, struct.pack(">I", 5_000_000))
    + message(2, 1, 0, struct.pack(">I", 200))
    + message(3, 20, 0, amf.encode("_result", 1.0, {"fmsVer": "x"}, {"level": "status"}), 200)
    + message(3, 20, 0, amf.encode("_result", 2.0, None, 1.0), 200)
    + message(5, 20, 0, amf.encode("onStatus", 0.0, None, {"level": "status", "code": "NetStream.Play.Start"}), 200)
    + message(6, 9, 0, b"\x17\x00" + bytes(40), 200)  # configures the decoder
    + message(6, 9, 10, picture(500), 200)
    + message(4, 8, 12, b"\xaf\x01" + bytes(98), 200)
    + delta(6, 1, 40, picture(700), chunk=200)
    + delta(6, 2, 40, picture(700), chunk=200)
    + message(6, 9, 0x1000000, picture(450), 200)
    + message(2, 4, 0, struct.pack(">HI", 6, 77))
)
MEDIA = [Media(VIDEO, 10, 495), Media(AUDIO, 12, 98), Media(VIDEO, 50, 695), Media(VIDEO, 90, 695), Media(VIDEO, 0x1000000, 445)]


@given(some.lists(some.integers(1, 700), min_size=1, max_size=20))
def test_whatever_the_pieces_the_media_is_the_same(sizes: list[int]) -> None:
    found, sent, _ = in_pieces(STREAM, sizes)
    assert found == MEDIA
    assert b"connect" in sent
    assert b"createStream" in sent
    assert b"film.flv" in sent
    assert struct.pack(">HII", 3, 1, 3000) in sent  # the buffer's length
    assert struct.pack(">HI", 7, 77) in sent  # the ping's answer


def test_chunks_of_two_streams_may_alternate() -> None:
    video, audio = picture(300), b"\xaf\x01" + bytes(198)
    mixed = HANDSHAKE
    mixed += message(6, 9, 5, video)[: 12 + 128] + message(4, 8, 6, audio)[: 12 + 128]
    mixed += bytes([0xC0 | 6]) + video[128:256] + bytes([0xC0 | 4]) + audio[128:] + bytes([0xC0 | 6]) + video[256:]
    found, _, _ = in_pieces(mixed, [64])
    assert found == [Media(AUDIO, 6, 198), Media(VIDEO, 5, 295)]


def test_received_bytes_are_acknowledged() -> None:
    _, sent, _ = in_pieces(HANDSHAKE + message(2, 5, 0, struct.pack(">I", 1000)) + message(6, 9, 0, picture(3000)), [100])
    assert sent.count(bytes([2, 0, 0, 0, 0, 0, 4, 3])) >= 1


@pytest.mark.parametrize("code", ["NetStream.Play.Stop", "NetStream.Play.Complete"])
def test_the_end_is_seen(code: str) -> None:
    over = amf.encode("onStatus", 0.0, None, {"level": "status", "code": code})
    assert in_pieces(HANDSHAKE + message(5, 20, 0, over), [4096])[2].ended
    assert in_pieces(HANDSHAKE + message(2, 4, 0, struct.pack(">HI", 1, 1)), [4096])[2].ended


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x06" + bytes(3072), "version 6"),
        (b"H" + bytes(3072), "version 72"),
        (HANDSHAKE + b"\xc3" + bytes(20), "begins in the middle"),
        (HANDSHAKE + message(3, 20, 0, amf.encode("_error", 1.0, None, {"code": "no"})), "the server refused: no$"),
        (HANDSHAKE + message(5, 20, 0, amf.encode("onStatus", 0.0, None, {"level": "error", "code": "gone"})), "gone"),
        (HANDSHAKE + message(3, 20, 0, b"\x02\x00\xff"), "damaged"),
        (HANDSHAKE + message(3, 20, 0, b"\x11"), "kind 17"),
        (HANDSHAKE + bytes([3]) + bytes(3) + b"\xff\xff\xff" + bytes([20]) + bytes(8), "no RTMP"),
    ],
)
def test_what_is_no_stream_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(RtmpError, match=said):
        in_pieces(data, [4096])


@given(some.binary(max_size=400))
def test_rubbish_is_refused_or_waited_for_and_nothing_else(rubbish: bytes) -> None:
    player = Player("host", "film", "film.flv", 3000)
    try:
        player.receive(HANDSHAKE + rubbish)
    except RtmpError:
        return
    # What has not come whole is waited for: nothing more has come, so there is nothing to play or to answer.
    assert player.receive(b"") == ([], b"")


def test_values_come_back_as_they_were() -> None:
    values: list[amf.Value] = ["connect", 1.5, None, True, {"a": "b", "c": {"d": 2.0}}, ""]
    assert amf.decode(amf.encode(*values)) == values
