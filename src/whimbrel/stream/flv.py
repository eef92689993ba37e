"""What an audio or video message of RTMP holds besides its media. Pure.

Formats: Adobe, Video File Format Specification 10.1, annex E.4, 2010; Veovera, Enhanced RTMP 2, 2026.
"""

from __future__ import annotations

from collections.abc import Sequence

VIDEO, AUDIO = 0, 1

# The audio format that says: an enhanced header follows.
_ENHANCED_AUDIO = 9
_AAC = 10
# Video codecs (7, and 12 and 13 as some servers number HEVC and AV1) with a packet type and a composition time.
_WITH_PACKET_TYPE = (7, 12, 13)
_COMMAND_FRAME = 5
_CODED_FRAMES, _CODED_FRAMES_X, _METADATA, _MOD_EX = 1, 3, 4, 7
_MULTITRACK = {VIDEO: 6, AUDIO: 5}
_ONE_TRACK, _MANY_CODECS = 0, 2
_WITH_COMPOSITION_TIME = (b"avc1", b"hvc1", b"vvc1")
# What of a message that is not enhanced has to be known.
HEAD_BYTES = 2


def _header_bytes(kind: int, first: int) -> int:
    """How many bytes stand before the media, by a message's first byte; all of them, 0, where an enhanced header says it."""
    if kind == AUDIO:
        return {_ENHANCED_AUDIO: 0, _AAC: 2}.get(first >> 4, 1)
    return 0 if first & 0x80 else 5 if first & 15 in _WITH_PACKET_TYPE else 1


# Looked up for every message, so worked out once.
_HEADERS = {kind: [_header_bytes(kind, first) for first in range(256)] for kind in (VIDEO, AUDIO)}


def is_enhanced(kind: int, first: int) -> bool:
    """Whether the first byte of a message says that an enhanced header follows."""
    return not _HEADERS[kind][first]


def media_sizes(kind: int, body: bytes | bytearray, length: int) -> Sequence[int]:
    """How many bytes of media a message of ``length`` bytes holds, for each track; none where it only configures.

    ``body`` is its first two bytes, or all of an enhanced one. ValueError when an enhanced one is damaged.
    """
    if not body:
        return ()
    header = _HEADERS[kind][body[0]]
    if not header:
        try:
            return [size for size in _enhanced(kind, body) if size > 0]
        except IndexError as error:
            raise ValueError("an enhanced header is cut off") from error
    # With a packet type, a second byte of 0 says that the message configures the decoder: there is nothing in it to play.
    if length <= header or (header > 1 and not body[1]) or (kind == VIDEO and body[0] >> 4 == _COMMAND_FRAME):
        return ()
    return (length - header,)


def _enhanced(kind: int, body: bytes | bytearray) -> list[int]:
    packet, position = body[0] & 15, 1
    while packet == _MOD_EX:
        size, position = body[position] + 1, position + 1
        if size == 256:
            size, position = int.from_bytes(_part(body, position, 2), "big") + 1, position + 2
        packet, position = body[position + size] & 15, position + size + 1
    if kind == VIDEO and packet != _METADATA and body[0] >> 4 & 7 == _COMMAND_FRAME:
        return []
    if packet != _MULTITRACK[kind]:
        return [_coded(kind, packet, bytes(_part(body, position, 4)), len(body) - position - 4)]
    tracks, packet, position = body[position] >> 4, body[position] & 15, position + 1
    codec = b""
    if tracks != _MANY_CODECS:
        codec, position = bytes(_part(body, position, 4)), position + 4
    found = []
    while position < len(body):
        if tracks == _MANY_CODECS:
            codec, position = bytes(_part(body, position, 4)), position + 4
        position += 1  # the track's number
        if tracks == _ONE_TRACK:
            size = len(body) - position
        else:
            size, position = int.from_bytes(_part(body, position, 3), "big"), position + 3
        _part(body, position, size)
        found.append(_coded(kind, packet, codec, size))
        position += size
    return found


def _part(body: bytes | bytearray, position: int, size: int) -> bytes | bytearray:
    if position + size > len(body):
        raise IndexError(position)
    return body[position : position + size]


def _coded(kind: int, packet: int, codec: bytes, size: int) -> int:
    """Bytes of media in a track's part; 0 where it is something else."""
    if packet == _CODED_FRAMES:
        return size - (3 if kind == VIDEO and codec in _WITH_COMPOSITION_TIME else 0)
    return size if packet == _CODED_FRAMES_X and kind == VIDEO else 0
