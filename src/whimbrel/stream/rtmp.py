"""The player's side of RTMP, without a socket: bytes in, media messages and bytes to send out.

Formats: Adobe, Real-Time Messaging Protocol 1.0, 2012; Veovera, Enhanced RTMP 2, 2026. Media is not kept: of each message only
its kind, its time in the stream and its size are told, which lets one process play for hundreds of viewers.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from whimbrel.stream import amf
from whimbrel.stream.flv import AUDIO, HEAD_BYTES, VIDEO, is_enhanced, media_sizes

_HANDSHAKE_BYTES = 1536
_SET_CHUNK_SIZE, _ABORT, _ACKNOWLEDGEMENT, _USER_CONTROL, _WINDOW_SIZE, _PEER_BANDWIDTH = 1, 2, 3, 4, 5, 6
_AUDIO, _VIDEO, _COMMAND_AMF3, _COMMAND, _AGGREGATE = 8, 9, 17, 20, 22
_STREAM_EOF, _SET_BUFFER_LENGTH, _PING, _PONG = 1, 3, 6, 7
_KINDS = {_VIDEO: VIDEO, _AUDIO: AUDIO}
# Messages of which all is read; of the others, such as metadata, nothing is.
_READ = (_SET_CHUNK_SIZE, _ABORT, _USER_CONTROL, _WINDOW_SIZE, _PEER_BANDWIDTH, _COMMAND_AMF3, _COMMAND, _AGGREGATE)
# What a message holds at least, where less would leave a number out.
_LEAST_BYTES = {_SET_CHUNK_SIZE: 4, _ABORT: 4, _USER_CONTROL: 2, _WINDOW_SIZE: 4, _PEER_BANDWIDTH: 5}
_EXTENDED = 0xFFFFFF
# Message headers by format: how many bytes follow the basic header.
_HEADER_BYTES = (11, 7, 3, 0)
# An aggregate's own tags: kind, size, time, stream; and after each its size once more.
_TAG_HEADER_BYTES, _BACK_POINTER_BYTES = 11, 4
# What a server may make us keep: control messages are small, and one whole aggregate is as large as a message can be.
_LARGEST_CONTROL_BYTES = 1 << 20
_MOST_KEPT_BYTES = (1 << 24) + (1 << 20)
_MOST_CHUNK_STREAMS = 1024
_WRAP_MS = 1 << 32
_HALF_MS = _WRAP_MS >> 1


class RtmpError(Exception):
    """The server refused, or does not speak RTMP."""


class Media(NamedTuple):
    """One media message: 0 video or 1 audio, its time in the stream, and its size."""

    kind: int
    stream_ms: int
    size_bytes: int


@dataclass
class _ChunkStream:
    """What a chunk stream's last header said, and how far its message has come.

    ``keep`` is how many bytes of the message are kept in ``body``.
    """

    timestamp_ms: int = 0
    delta_ms: int = 0
    length: int = 0
    kind: int = 0
    extended_field: bytes = b""
    left: int = 0
    keep: int = 0
    body: bytearray = field(default_factory=bytearray)


class Player:
    """One connection that plays one stream; ``ended`` says that the server has come to the film's end."""

    def __init__(self, host: str, app: str, name: str, buffer_ms: int) -> None:
        self._host, self._app, self._name, self._buffer_ms = host, app, name, buffer_ms
        self._rest = b""
        self._answered = self._shaken = False
        self._chunk_bytes = 128
        self._streams: dict[int, _ChunkStream] = {}
        self._current: _ChunkStream | None = None
        self._in_chunk = 0
        self.kept_bytes = 0
        self._newest_ms: int | None = None
        self._window_bytes = 0
        self._sending_window_bytes = 0
        self._received = self._acknowledged = 0
        self._media: list[Media] = []
        self._answer = bytearray()
        self.ended = False
        # What the server was asked last, for people.
        self.asked = "to shake hands"

    def greet(self) -> bytes:
        """What to send first: C0 and C1."""
        return b"\x03" + bytes(8) + os.urandom(_HANDSHAKE_BYTES - 8)

    def receive(self, data: bytes) -> tuple[list[Media], bytes]:
        """The media that ``data`` completes, and what to send now; RtmpError when the server refuses or speaks something else."""
        self._media, self._answer = [], bytearray()
        self._received += len(data)
        data = self._rest + data if self._rest else data
        self._rest = b""
        position = 0
        if not self._shaken:
            self._shake(data)
            if not self._shaken:
                self._rest = data
                return [], bytes(self._answer)
            position = 1 + 2 * _HANDSHAKE_BYTES
        self._read_chunks(data, position)
        if self._window_bytes and self._received - self._acknowledged >= self._window_bytes // 2:
            self._acknowledged = self._received
            self._send(2, _ACKNOWLEDGEMENT, 0, struct.pack(">I", self._received & 0xFFFFFFFF))
        return self._media, bytes(self._answer)

    def _shake(self, data: bytes) -> None:
        """C2 follows S1, which some servers wait for before they send S2; what comes after S2 is for ``_read_chunks``."""
        if data and data[0] != 3:
            raise RtmpError(f"the server speaks version {data[0]}, not 3")
        if not self._answered and len(data) >= 1 + _HANDSHAKE_BYTES:
            self._answered = True
            self._answer += data[1 : 1 + _HANDSHAKE_BYTES]
        if len(data) < 1 + 2 * _HANDSHAKE_BYTES:
            return
        self._shaken = True
        about: dict[str, amf.Value] = {
            "app": self._app, "flashVer": "LNX 9,0,124,2", "tcUrl": f"rtmp://{self._host}/{self._app}", "fpad": False,
            "capabilities": 15.0, "audioCodecs": 4071.0, "videoCodecs": 252.0, "videoFunction": 1.0, "fourCcList": ["*"],
        }  # fmt: skip
        self.asked = f"for application {self._app}"
        self._send(3, _COMMAND, 0, amf.encode("connect", 1.0, about))

    def _read_chunks(self, data: bytes, position: int) -> None:
        end = len(data)
        while position < end:
            stream = self._current
            if stream is None:
                begun = self._begin_chunk(data, position, end)
                if begun is None:
                    self._rest = data[position:]
                    return
                position = begun
                continue
            taken = min(self._in_chunk, end - position)
            if len(stream.body) < stream.keep:
                self._keep(stream, data, position, taken)
            position += taken
            self._in_chunk -= taken
            stream.left -= taken
            if self._in_chunk == 0:
                self._current = None
                if stream.left == 0:
                    self._complete(stream)

    def _keep(self, stream: _ChunkStream, data: bytes, position: int, taken: int) -> None:
        """Keeps what is to be read of a message; where it is media with an enhanced header that is all of it."""
        if not stream.body and stream.kind in _KINDS and is_enhanced(_KINDS[stream.kind], data[position]):
            stream.keep = stream.length
        kept = min(taken, stream.keep - len(stream.body))
        self.kept_bytes += kept
        if self.kept_bytes > _MOST_KEPT_BYTES:
            raise RtmpError(f"the server has begun more messages at once than {_MOST_KEPT_BYTES >> 20} MiB hold")
        stream.body += data[position : position + kept]

    def _forget(self, stream: _ChunkStream) -> bytearray:
        """Lets go of what was kept of a message, and returns it."""
        body, stream.body, stream.left = stream.body, bytearray(), 0
        self.kept_bytes -= len(body)
        return body

    def _begin_chunk(self, data: bytes, position: int, end: int) -> int | None:
        """Reads a chunk's header; where its payload begins, or None when not all of it is there (nothing has changed then)."""
        basic = data[position]
        form, number = basic >> 6, basic & 63
        position += 1
        if number < 2:
            extra = number + 1
            if position + extra > end:
                return None
            number = 64 + int.from_bytes(data[position : position + extra], "little")
            position += extra
        header = position
        position += _HEADER_BYTES[form]
        if position > end:
            return None
        stream = self._streams.get(number)
        if stream is None:
            stream = self._open(number, form)
        field_ms = int.from_bytes(data[header : header + 3], "big") if form < 3 else 0
        begins, extended = stream.left == 0, b""
        if field_ms == _EXTENDED or (form == 3 and stream.extended_field):
            if position + 4 > end:
                return None
            extended = data[position : position + 4]
            # The standard repeats the field in chunks of format 3. Some servers do not within a message: then this is payload.
            if form < 3 or begins or extended == stream.extended_field:
                position += 4
                field_ms = int.from_bytes(extended, "big")
        if form < 3 or begins:
            stream.extended_field = extended
        if form < 2:
            length, kind = int.from_bytes(data[header + 3 : header + 6], "big"), data[header + 6]
            if not begins and (length, kind) != (stream.length, stream.kind):
                raise RtmpError(f"a message begins in the middle of another on chunk stream {number}")
            stream.length, stream.kind = length, kind
        if begins:
            self._begin_message(stream, form, field_ms)
        self._in_chunk = min(stream.left, self._chunk_bytes)
        if stream.left:
            self._current = stream
        else:
            self._complete(stream)
        return position

    def _open(self, number: int, form: int) -> _ChunkStream:
        """A chunk stream of which nothing is known; some servers open one with format 1, whose time counts from 0 then."""
        if form > 1:
            raise RtmpError(f"chunk stream {number} begins in the middle")
        if len(self._streams) == _MOST_CHUNK_STREAMS:
            raise RtmpError(f"the server uses more than {_MOST_CHUNK_STREAMS} chunk streams")
        return self._streams.setdefault(number, _ChunkStream())

    @staticmethod
    def _begin_message(stream: _ChunkStream, form: int, field_ms: int) -> None:
        # A message of format 3 after one of format 0 comes as much later as that one's time says (5.3.1.2.4).
        if form < 3 or stream.extended_field:
            stream.delta_ms = field_ms
        stream.timestamp_ms = field_ms if form == 0 else (stream.timestamp_ms + stream.delta_ms) % _WRAP_MS
        if stream.kind in _KINDS:
            stream.keep = min(HEAD_BYTES, stream.length)
        else:
            stream.keep = stream.length if stream.kind in _READ else 0
            if stream.keep > _LARGEST_CONTROL_BYTES and stream.kind != _AGGREGATE:
                raise RtmpError(f"a message of kind {stream.kind} and {stream.length} bytes: this is no RTMP")
        stream.left = stream.length

    def _complete(self, stream: _ChunkStream) -> None:
        body = self._forget(stream)
        kind = _KINDS.get(stream.kind)
        if kind is not None:
            self._hear(kind, stream.timestamp_ms, body, stream.length)
        elif len(body) < _LEAST_BYTES.get(stream.kind, 0):
            raise RtmpError(f"a message of kind {stream.kind} has only {len(body)} bytes")
        elif stream.kind == _SET_CHUNK_SIZE:
            self._chunk_bytes = int.from_bytes(body[:4], "big") & 0x7FFFFFFF
            if not self._chunk_bytes:
                raise RtmpError("the server wants chunks of 0 bytes")
        elif stream.kind == _ABORT:
            aborted = self._streams.get(int.from_bytes(body[:4], "big"))
            if aborted is not None:
                self._forget(aborted)
        elif stream.kind == _WINDOW_SIZE:
            self._window_bytes = int.from_bytes(body[:4], "big")
        elif stream.kind == _PEER_BANDWIDTH:
            self._limit_sending(int.from_bytes(body[:4], "big"))
        elif stream.kind == _USER_CONTROL:
            self._control(bytes(body))
        elif stream.kind in (_COMMAND, _COMMAND_AMF3):
            # The other kind of command begins with a byte that says in which encoding it goes on.
            self._command(bytes(body[1:] if stream.kind == _COMMAND_AMF3 else body))
        elif stream.kind == _AGGREGATE:
            self._take_apart(stream.timestamp_ms, body)

    def _hear(self, kind: int, timestamp_ms: int, body: bytes | bytearray, length: int) -> None:
        """Notes media at its time in the stream: that of the message, which starts again at 0 after 2^32 ms (49.7 days)."""
        try:
            sizes = media_sizes(kind, body, length)
        except ValueError as error:
            raise RtmpError(str(error)) from error
        if sizes:
            newest_ms = self._newest_ms
            if newest_ms is not None:
                timestamp_ms = newest_ms + (timestamp_ms - newest_ms + _HALF_MS) % _WRAP_MS - _HALF_MS
            self._newest_ms = timestamp_ms
            for size_bytes in sizes:
                self._media.append(Media(kind, timestamp_ms, size_bytes))

    def _take_apart(self, timestamp_ms: int, body: bytearray) -> None:
        """An aggregate holds messages as a file does; the first one's time is that of the aggregate."""
        position, first_ms = 0, None
        while position < len(body):
            data = position + _TAG_HEADER_BYTES
            kind, size = body[position], int.from_bytes(body[position + 1 : position + 4], "big")
            if data > len(body):
                raise RtmpError("an aggregate message is cut off")
            # The upper byte of a time comes last.
            stamp_ms = body[position + 7] << 24 | int.from_bytes(body[position + 4 : position + 7], "big")
            position = data + size + _BACK_POINTER_BYTES
            if position > len(body):
                raise RtmpError("an aggregate message is cut off")
            first_ms = stamp_ms if first_ms is None else first_ms
            if kind in _KINDS:
                self._hear(_KINDS[kind], (timestamp_ms + stamp_ms - first_ms) % _WRAP_MS, body[data : data + size], size)
            elif kind in (_COMMAND, _COMMAND_AMF3):
                self._command(bytes(body[data + (kind == _COMMAND_AMF3) : data + size]))

    def _limit_sending(self, window_bytes: int) -> None:
        """Says the limit back when it is a new one, as is asked of us; we never send as much."""
        if window_bytes != self._sending_window_bytes:
            self._sending_window_bytes = window_bytes
            self._send(2, _WINDOW_SIZE, 0, struct.pack(">I", window_bytes))

    def _control(self, body: bytes) -> None:
        event = int.from_bytes(body[:2], "big")
        if event == _STREAM_EOF:
            self.ended = True
        elif event == _PING:
            self._send(2, _USER_CONTROL, 0, struct.pack(">H", _PONG) + body[2:6])

    def _command(self, body: bytes) -> None:
        try:
            said = amf.decode(body)
        except ValueError as error:
            raise RtmpError(str(error)) from error
        name = said[0] if said else None
        if name == "_error":
            raise RtmpError(f"the server refused: {_words(said[-1])}")
        if name == "_result" and said[1:2] == [1.0]:
            self.asked = "for a stream"
            self._send(3, _COMMAND, 0, amf.encode("createStream", 2.0, None))
        elif name == "_result" and said[1:2] == [2.0]:
            number = int(said[3]) if len(said) > 3 and isinstance(said[3], float) else 1
            self._send(2, _USER_CONTROL, 0, struct.pack(">HII", _SET_BUFFER_LENGTH, number, self._buffer_ms))
            self.asked = f"to play {self._app}/{self._name}"
            self._send(8, _COMMAND, number, amf.encode("play", 3.0, None, self._name, -2000.0))
        elif name == "onStatus":
            self._status(said[-1])

    def _status(self, status: amf.Value) -> None:
        code = status.get("code") if isinstance(status, dict) else None
        if isinstance(status, dict) and status.get("level") == "error":
            raise RtmpError(f"the server refused to play {self._app}/{self._name}: {_words(status)}")
        if code in ("NetStream.Play.Stop", "NetStream.Play.Complete", "NetStream.Play.UnpublishNotify"):
            self.ended = True

    def _send(self, number: int, kind: int, stream: int, body: bytes) -> None:
        """A message in chunks of 128 bytes, the size that both sides begin with."""
        header = bytes([number]) + bytes(3) + len(body).to_bytes(3, "big") + bytes([kind]) + stream.to_bytes(4, "little")
        self._answer += header + body[:128]
        for begin in range(128, len(body), 128):
            self._answer += bytes([0xC0 | number]) + body[begin : begin + 128]


def _words(status: amf.Value) -> str:
    """What a server gave as its reason: a code and a description, as it should, or whatever it sent."""
    if not isinstance(status, dict):
        return "no reason given" if status is None else str(status)
    return ", ".join(str(status[key]) for key in ("code", "description") if status.get(key)) or "no reason given"
