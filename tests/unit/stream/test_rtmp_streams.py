"""Streams that RTMP 1.0 and Enhanced RTMP allow and other servers send, each cut at every byte."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from tests.unit.stream.test_rtmp import HANDSHAKE, delta, message, picture
from whimbrel.stream import amf
from whimbrel.stream.flv import AUDIO, VIDEO
from whimbrel.stream.rtmp import Media, Player, RtmpError

SOUND = b"\xaf\x01" + bytes(48)
HEARD = Media(AUDIO, 7, 48)


def tag(kind: int, stamp_ms: int, body: bytes) -> bytes:
    """A message within an aggregate, with its back pointer."""
    time = (stamp_ms & 0xFFFFFF).to_bytes(3, "big") + bytes([stamp_ms >> 24])
    return bytes([kind]) + len(body).to_bytes(3, "big") + time + bytes(3) + body + struct.pack(">I", 11 + len(body))


def control(event: int, value: int) -> bytes:
    return message(2, 4, 0, struct.pack(">HI", event, value))


def abort(number: int) -> bytes:
    return message(2, 2, 0, struct.pack(">I", number))


def enhanced(kind: int, body: bytes, stamp_ms: int = 40) -> bytes:
    return message(6, 9 if kind == VIDEO else 8, stamp_ms, body)


def metadata(body: bytes) -> bytes:
    return message(5, 18, 0, body)


def onstatus(info: bytes) -> bytes:
    return message(5, 20, 0, amf.encode("onStatus", 0.0, None) + info)


def mod_ex(data: bytes, after: int) -> bytes:
    size = bytes([len(data) - 1]) if len(data) < 256 else b"\xff" + struct.pack(">H", len(data) - 1)
    return size + data + bytes([after])


EXTENDED = struct.pack(">I", 0x1000000)
EXTENDED_HEAD = b"\x06\xff\xff\xff" + (200).to_bytes(3, "big") + b"\x09" + (1).to_bytes(4, "little") + EXTENDED

STREAMS: dict[str, tuple[bytes, list[Media]]] = {
    # 5.4.2: what has come of the aborted message is discarded, and the chunk stream goes on with another.
    "an aborted message": (
        message(6, 9, 5, picture(300))[: 12 + 128] + abort(6) + message(6, 9, 45, picture(200)) + message(4, 8, 7, SOUND),
        [Media(VIDEO, 45, 195), Media(AUDIO, 7, 48)],
    ),
    "an abort of a chunk stream that is not there": (abort(77) + message(4, 8, 7, SOUND), [HEARD]),
    "an abort when nothing is under way": (message(6, 9, 5, picture(50)) + abort(6) + delta(6, 2, 40, picture(50)),
                                           [Media(VIDEO, 5, 45), Media(VIDEO, 45, 45)]),
    # 7.1.6: the times of the parts count from the aggregate's own.
    "an aggregate": (
        message(5, 22, 1000, tag(9, 30, picture(60)) + tag(8, 45, SOUND) + tag(9, 70, picture(160))),
        [Media(VIDEO, 1000, 55), Media(AUDIO, 1015, 48), Media(VIDEO, 1040, 155)],
    ),
    "an aggregate with metadata and times past 24 bits": (
        message(5, 22, 0x1000010, tag(18, 0x1000000, b"\x02\0\x01x") + tag(8, 0x1000005, SOUND)),
        [Media(AUDIO, 0x1000015, 48)],
    ),
    "an empty aggregate": (message(5, 22, 5, b"") + message(4, 8, 7, SOUND), [HEARD]),
    # 5.3.1.2.2, as some servers begin.
    "format 1 on a fresh chunk stream": (delta(6, 1, 40, picture(60)) + delta(6, 2, 40, picture(60)),
                                         [Media(VIDEO, 40, 55), Media(VIDEO, 80, 55)]),
    # 5.3.1.2.4: the difference after a message of format 0 is that one's own time.
    "format 3 begins a message after format 0": (message(6, 9, 20, picture(60)) + b"\xc6" + picture(60),
                                                 [Media(VIDEO, 20, 55), Media(VIDEO, 40, 55)]),
    "format 3 begins a message after format 2": (
        message(6, 9, 1000, picture(60)) + delta(6, 2, 20, picture(60)) + b"\xc6" + picture(60),
        [Media(VIDEO, 1000, 55), Media(VIDEO, 1020, 55), Media(VIDEO, 1040, 55)],
    ),
    # 5.3.1.3
    "an extended time in chunks of format 3": (message(6, 9, 0x1000000, picture(200)), [Media(VIDEO, 0x1000000, 195)]),
    "an extended time that chunks of format 3 leave out": (
        EXTENDED_HEAD + picture(200)[:128] + b"\xc6" + picture(200)[128:] + message(4, 8, 0x1000000, SOUND),
        [Media(VIDEO, 0x1000000, 195), Media(AUDIO, 0x1000000, 48)],
    ),
    "an extended difference": (
        message(6, 9, 10, picture(60)) + b"\x86\xff\xff\xff" + EXTENDED + picture(60) + b"\xc6" + EXTENDED + picture(60),
        [Media(VIDEO, 10, 55), Media(VIDEO, 0x100000A, 55), Media(VIDEO, 0x200000A, 55)],
    ),
    # 4: times start again at 0 after 2^32 ms.
    "the wrap of absolute times": (
        message(6, 9, 2**32 - 20, picture(60)) + message(6, 9, 20, picture(60)) + message(4, 8, 2**32 - 5, SOUND),
        [Media(VIDEO, 2**32 - 20, 55), Media(VIDEO, 2**32 + 20, 55), Media(AUDIO, 2**32 - 5, 48)],
    ),
    "the wrap by a difference, then an absolute time": (
        message(6, 9, 2**32 - 20, picture(60)) + delta(6, 2, 40, picture(60)) + message(6, 9, 60, picture(60)),
        [Media(VIDEO, 2**32 - 20, 55), Media(VIDEO, 2**32 + 20, 55), Media(VIDEO, 2**32 + 60, 55)],
    ),
    "chunk stream numbers of two and three bytes": (
        bytes([0, 10]) + message(6, 8, 7, SOUND)[1:] + bytes([1, 1, 1]) + message(6, 8, 7, SOUND)[1:], [HEARD, HEARD],
    ),
    "a chunk size that changes within another's message": (
        message(6, 9, 5, picture(300))[: 12 + 128] + message(2, 1, 0, struct.pack(">I", 200)) + b"\xc6" + picture(300)[128:],
        [Media(VIDEO, 5, 295)],
    ),
    "a message of no bytes": (message(6, 9, 5, b"") + message(4, 8, 7, b"") + message(4, 8, 7, SOUND), [HEARD]),
    "a limit on what we send": (message(2, 6, 0, struct.pack(">IB", 2_500_000, 2)) + message(4, 8, 7, SOUND), [HEARD]),
    "events that are not for us": (
        b"".join(control(event, 1) for event in (0, 2, 4, 31, 32, 26)) + message(4, 8, 7, SOUND), [HEARD],
    ),
    "kinds of messages that are not for us": (
        b"".join(message(5, kind, 0, b"\x02\xff") for kind in (15, 16, 18, 19, 99)) + message(4, 8, 7, SOUND), [HEARD],
    ),
    "metadata that is no AMF": (metadata(b"\xff" * 300) + message(4, 8, 7, SOUND), [HEARD]),
    "a command in the wrapping of AMF3": (
        message(3, 17, 0, b"\0" + amf.encode("onBWDone", 0.0, None)) + message(4, 8, 7, SOUND), [HEARD],
    ),
    # AMF 0, 2.2 to 2.18
    "a strict array": (onstatus(b"\x0a\0\0\0\x02\x05\x02\0\x01x") + message(4, 8, 7, SOUND), [HEARD]),
    "a date": (onstatus(b"\x0b" + struct.pack(">dh", 1e12, 0)) + message(4, 8, 7, SOUND), [HEARD]),
    "a long text": (onstatus(b"\x0c\0\0\0\x03abc") + message(4, 8, 7, SOUND), [HEARD]),
    "XML": (onstatus(b"\x0f\0\0\0\x04<a/>") + message(4, 8, 7, SOUND), [HEARD]),
    "an object of a class": (onstatus(b"\x10\0\x01C\0\x01k\x05\0\0\x09") + message(4, 8, 7, SOUND), [HEARD]),
    "a reference": (onstatus(b"\x03\0\0\x09\x07\0\0") + message(4, 8, 7, SOUND), [HEARD]),
    "something unsupported": (onstatus(b"\x0d") + message(4, 8, 7, SOUND), [HEARD]),
    "a text that is no UTF-8": (onstatus(b"\x02\0\x02\xe9\xe9") + message(4, 8, 7, SOUND), [HEARD]),
    # FLV, E.4.2 and E.4.3
    "LPCM whose first sample is 0": (message(4, 8, 7, b"\x3e\0" + bytes(98)), [Media(AUDIO, 7, 99)]),
    "MP3": (message(4, 8, 7, b"\x2f\xff" + bytes(98)), [Media(AUDIO, 7, 99)]),
    "VP6 without a packet type": (message(6, 9, 5, b"\x14\0" + bytes(98)), [Media(VIDEO, 5, 99)]),
    "a frame that is a command": (message(6, 9, 5, b"\x57\x01") + message(4, 8, 7, SOUND), [HEARD]),
    "the end of a sequence": (message(6, 9, 5, b"\x17\x02\0\0\0") + message(4, 8, 7, SOUND), [HEARD]),
    # Enhanced RTMP
    "HEVC": (
        enhanced(VIDEO, b"\x90hvc1" + bytes(30), 0) + enhanced(VIDEO, b"\x91hvc1\0\0\x28" + bytes(200))
        + enhanced(VIDEO, b"\xa3hvc1" + bytes(90), 80) + enhanced(VIDEO, b"\x92hvc1", 99),
        [Media(VIDEO, 40, 200), Media(VIDEO, 80, 90)],
    ),
    "AV1": (
        enhanced(VIDEO, b"\x90av01" + bytes(4), 0)
        + enhanced(VIDEO, b"\x95av01" + bytes(9), 0) + enhanced(VIDEO, b"\x91av01" + bytes(210)),
        [Media(VIDEO, 40, 210)],
    ),
    "colour information": (enhanced(VIDEO, b"\xd4hvc1" + bytes(60)) + message(4, 8, 7, SOUND), [HEARD]),
    "an enhanced command": (enhanced(VIDEO, b"\xd1\0") + message(4, 8, 7, SOUND), [HEARD]),
    "Opus": (
        enhanced(AUDIO, b"\x90Opus" + bytes(19), 0)
        + enhanced(AUDIO, b"\x94Opus\x01\x02", 0) + enhanced(AUDIO, b"\x91Opus" + bytes(140))
        + enhanced(AUDIO, b"\x92Opus", 60),
        [Media(AUDIO, 40, 140)],
    ),
    "times in nanoseconds": (
        enhanced(VIDEO, b"\x97" + mod_ex(b"\0\0\x09", 0x01) + b"av01" + bytes(50))
        + enhanced(AUDIO, b"\x97" + mod_ex(bytes(300), 0x07) + mod_ex(b"\0\0\x01", 0x01) + b"Opus" + bytes(20)),
        [Media(VIDEO, 40, 50), Media(AUDIO, 40, 20)],
    ),
    "one of several tracks": (enhanced(VIDEO, b"\x96\x01hvc1\x02\0\0\0" + bytes(70)), [Media(VIDEO, 40, 70)]),
    "several tracks of one codec": (
        enhanced(AUDIO, b"\x95\x11Opus\0\0\0\x1e" + bytes(30) + b"\x01\0\0\x28" + bytes(40)),
        [Media(AUDIO, 40, 30), Media(AUDIO, 40, 40)],
    ),
    "several tracks of several codecs": (
        enhanced(VIDEO, b"\x96\x21avc1\0\0\0\x21" + bytes(33) + b"av01\x01\0\0\x28" + bytes(40)),
        [Media(VIDEO, 40, 30), Media(VIDEO, 40, 40)],
    ),
    "several tracks that are configured": (enhanced(VIDEO, b"\x96\x10hvc1\0\0\0\x02xx") + message(4, 8, 7, SOUND), [HEARD]),
}  # fmt: skip


def heard(pieces: list[bytes]) -> list[Media]:
    player = Player("host", "film", "film.flv", 3000)
    player.receive(HANDSHAKE)
    found: list[Media] = []
    for piece in pieces:
        found += player.receive(piece)[0]
    assert player.kept_bytes == 0
    return found


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_heard_however_it_is_cut(name: str) -> None:
    data, media = STREAMS[name]
    assert heard([data]) == media
    assert heard([data[at : at + 1] for at in range(len(data))]) == media
    for cut in range(1, len(data)):
        assert heard([data[:cut], data[cut:]]) == media, cut


def test_metadata_of_any_size_is_passed_over_and_not_kept() -> None:
    assert heard([metadata(bytes((1 << 21) + 5)), message(4, 8, 7, SOUND)]) == [HEARD]


def test_our_greeting_is_answered_as_soon_as_the_server_has_spoken() -> None:
    """Some servers wait for C2 before they send S2."""
    player = Player("host", "film", "film.flv", 3000)
    assert player.receive(HANDSHAKE[:1536]) == ([], b"")
    assert player.receive(HANDSHAKE[1536:1537]) == ([], bytes(1536))
    assert b"connect" in player.receive(HANDSHAKE[1537:])[1]


def test_a_new_limit_is_said_back_once() -> None:
    player = Player("host", "film", "film.flv", 3000)
    player.receive(HANDSHAKE)
    limit = message(2, 6, 0, struct.pack(">IB", 2_500_000, 2))
    assert player.receive(limit)[1] == message(2, 5, 0, struct.pack(">I", 2_500_000), stream=0)
    assert player.receive(limit)[1] == b""


def begin(number: int, kind: int, length: int) -> bytes:
    """A message of which only a first chunk of 128 bytes comes."""
    return bytes([0, number]) + bytes(3) + length.to_bytes(3, "big") + bytes([kind]) + bytes(4) + bytes(128)


def in_two_bytes(number: int) -> bytes:
    return bytes([1]) + (number - 64).to_bytes(2, "little") + bytes(6) + bytes([18]) + bytes(4)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"".join(in_two_bytes(number) for number in range(64, 64 + 1025)), "more than 1024 chunk streams"),
        (begin(1, 9, 300) + begin(1, 9, 400), "in the middle of another"),
        (b"\x86" + bytes(20), "begins in the middle"),
        (message(2, 1, 0, bytes(4)), "chunks of 0 bytes"),
        (message(2, 1, 0, b"\0"), "only 1 bytes"),
        (message(5, 22, 0, tag(8, 0, SOUND)[:-5]), "aggregate message is cut off"),
        (message(5, 22, 0, b"\x08\0\0"), "aggregate message is cut off"),
        (message(6, 9, 0, b"\x91hv"), "enhanced header is cut off"),
        (message(6, 9, 0, b"\x96\x10hvc1\0\0\0\x20xx"), "enhanced header is cut off"),
        (message(3, 20, 0, b"\x02\0\x01x" + b"\x03\0\x01k" * 40), "32 deep"),
        (message(3, 20, 0, b"\x0a\xff\xff\xff\xff\x05"), "too early"),
        (message(3, 20, 0, b"\x07\0\x09"), "damaged"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_hostile_ends_in_an_error(data: bytes, said: str) -> None:
    player = Player("host", "film", "film.flv", 3000)
    player.receive(HANDSHAKE)
    with pytest.raises(RtmpError, match=said):
        player.receive(data)


def begun(number: int) -> bytes:
    """The first MiB of the largest aggregate there can be."""
    return bytes([1]) + (number - 64).to_bytes(2, "little") + bytes(3) + b"\xff\xff\xff" + bytes([22]) + bytes(4) + bytes(1 << 20)


def test_what_a_server_begins_and_never_ends_is_bounded() -> None:
    player = Player("host", "film", "film.flv", 3000)
    player.receive(HANDSHAKE + message(2, 1, 0, struct.pack(">I", 1 << 20)))
    for number in range(64, 64 + 17):
        player.receive(begun(number))
    assert player.kept_bytes == 17 << 20
    with pytest.raises(RtmpError, match="17 MiB"):
        player.receive(begun(64 + 17))


def test_an_answer_that_is_no_rtmp_is_known_by_its_first_byte() -> None:
    with pytest.raises(RtmpError, match="version 72"):
        Player("host", "film", "film.flv", 3000).receive(b"HTTP/1.1 400 Bad Request\r\n")


VALUES: list[tuple[bytes, Callable[[list[amf.Value]], bool]]] = [
    (b"\x0a\0\0\0\x02\x05\x02\0\x01x", lambda found: found == [[None, "x"]]),
    (b"\x0b" + struct.pack(">dh", 1e12, 0) + b"\x01\x01", lambda found: found == [1e12, True]),
    (b"\x10\0\x01C\0\x01k\x06\0\0\x09\x0d", lambda found: found == [{"k": None}, None]),
    (b"\x03\0\x01k\x05\0\0\x09\x07\0\0", lambda found: found[0] is found[1]),
    (amf.encode(["*", 1.0, {"a": ["b"]}]), lambda found: found == [["*", 1.0, {"a": ["b"]}]]),
]


@pytest.mark.parametrize(("data", "right"), VALUES)
def test_values_of_every_kind_are_read(data: bytes, right: Callable[[list[amf.Value]], bool]) -> None:
    assert right(amf.decode(data))
