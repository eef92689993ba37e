"""The player's side of RTMP, without a socket: bytes in, media messages and bytes to send out.

Format: Adobe, Real-Time Messaging Protocol 1.0, 2012. Media is not kept: of each message only its kind, its time in the stream
and its size are told, which lets one process play for hundreds of viewers.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass, field

from whimbrel.stream import amf

VIDEO, AUDIO = 0, 1

_HANDSHAKE_BYTES = 1536
_SET_CHUNK_SIZE, _ACKNOWLEDGEMENT, _USER_CONTROL, _WINDOW_SIZE, _AUDIO, _VIDEO, _COMMAND = 1, 3, 4, 5, 8, 9, 20
_STREAM_EOF, _SET_BUFFER_LENGTH, _PING, _PONG = 1, 3, 6, 7
_KINDS = {_VIDEO: VIDEO, _AUDIO: AUDIO}
# What FLV's tags say before the media itself: codec, frame type and composition time; codec and packet type.
_TAG_BYTES = {_VIDEO: 5, _AUDIO: 2}
_EXTENDED = 0xFFFFFF
# Message headers by format: how many bytes follow the basic header.
_HEADER_BYTES = (11, 7, 3, 0)
_LARGEST_CONTROL_BYTES = 1 << 20


class RtmpError(Exception):
    """The server refused, or does not speak RTMP."""


@dataclass(frozen=True)
class Media:
    """One media message: 0 video or 1 audio, its time in the stream, and its size."""

    kind: int
    stream_ms: int
    size_bytes: int


@dataclass
class _ChunkStream:
    """What a chunk stream's last header said, and how far its message has come."""

    timestamp_ms: int = 0
    delta_ms: int = 0
    length: int = 0
    kind: int = 0
    extended: bool = False
    left: int = 0
    head: bytes = b""
    body: bytearray = field(default_factory=bytearray)


class Player:
    """One connection that plays one stream; ``ended`` says that the server has come to the film's end."""

    def __init__(self, host: str, app: str, name: str, buffer_ms: int) -> None:
        self._host, self._app, self._name, self._buffer_ms = host, app, name, buffer_ms
        self._rest = b""
        self._shaken = False
        self._chunk_bytes = 128
        self._streams: dict[int, _ChunkStream] = {}
        self._current: _ChunkStream | None = None
        self._in_chunk = 0
        self._window_bytes = 0
        self._received = self._acknowledged = 0
        self._media: list[Media] = []
        self._answer = bytearray()
        self.ended = False

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
            if len(data) < 1 + 2 * _HANDSHAKE_BYTES:
                self._rest = data
                return [], b""
            position = self._shake(data)
        self._read_chunks(data, position)
        if self._window_bytes and self._received - self._acknowledged >= self._window_bytes // 2:
            self._acknowledged = self._received
            self._send(2, _ACKNOWLEDGEMENT, 0, struct.pack(">I", self._received & 0xFFFFFFFF))
        return self._media, bytes(self._answer)

    def _shake(self, data: bytes) -> int:
        if data[0] != 3:
            raise RtmpError(f"the server speaks version {data[0]}, not 3")
        self._shaken = True
        self._answer += data[1 : 1 + _HANDSHAKE_BYTES]
        about: dict[str, amf.Value] = {
            "app": self._app, "flashVer": "LNX 9,0,124,2", "tcUrl": f"rtmp://{self._host}/{self._app}", "fpad": False,
            "capabilities": 15.0, "audioCodecs": 4071.0, "videoCodecs": 252.0, "videoFunction": 1.0,
        }  # fmt: skip
        self._send(3, _COMMAND, 0, amf.encode("connect", 1.0, about))
        return 1 + 2 * _HANDSHAKE_BYTES

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
            if stream.kind not in _KINDS:
                stream.body += data[position : position + taken]
            position += taken
            self._in_chunk -= taken
            stream.left -= taken
            if self._in_chunk == 0:
                self._current = None
                if stream.left == 0:
                    self._complete(stream)

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
            if form != 0:
                raise RtmpError(f"chunk stream {number} begins in the middle")
            stream = self._streams.setdefault(number, _ChunkStream())
        field_ms = int.from_bytes(data[header : header + 3], "big") if form < 3 else 0
        extended = field_ms == _EXTENDED if form < 3 else stream.extended
        if extended:
            if position + 4 > end:
                return None
            field_ms = int.from_bytes(data[position : position + 4], "big")
            position += 4
        length = int.from_bytes(data[header + 3 : header + 6], "big") if form < 2 else stream.length
        begins = stream.left == 0
        if begins and position + min(2, length) > end:
            return None
        stream.extended = extended
        if form < 2:
            stream.length, stream.kind = length, data[header + 6]
        if begins:
            self._begin_message(stream, form, field_ms, data[position : position + 2])
        self._current = stream
        self._in_chunk = min(stream.left, self._chunk_bytes)
        if stream.left == 0:
            self._current = None
            self._complete(stream)
        return position

    @staticmethod
    def _begin_message(stream: _ChunkStream, form: int, field_ms: int, head: bytes) -> None:
        if form == 0:
            stream.timestamp_ms, stream.delta_ms = field_ms, 0
        else:
            if form < 3:
                stream.delta_ms = field_ms
            stream.timestamp_ms += stream.delta_ms
        if stream.kind not in _KINDS and stream.length > _LARGEST_CONTROL_BYTES:
            raise RtmpError(f"a message of kind {stream.kind} and {stream.length} bytes: this is no RTMP")
        stream.left, stream.head = stream.length, head
        stream.body = bytearray()

    def _complete(self, stream: _ChunkStream) -> None:
        kind = _KINDS.get(stream.kind)
        if kind is not None:
            # The first message of each kind configures the decoder: its second byte is 0, and there is nothing in it to play.
            size_bytes = stream.length - _TAG_BYTES[stream.kind]
            if size_bytes > 0 and stream.head[1:2] != b"\0":
                self._media.append(Media(kind, stream.timestamp_ms, size_bytes))
        elif stream.kind == _SET_CHUNK_SIZE:
            self._chunk_bytes = max(1, int.from_bytes(stream.body[:4], "big") & 0x7FFFFFFF)
        elif stream.kind == _WINDOW_SIZE:
            self._window_bytes = int.from_bytes(stream.body[:4], "big")
        elif stream.kind == _USER_CONTROL:
            self._control(bytes(stream.body))
        elif stream.kind == _COMMAND:
            self._command(bytes(stream.body))

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
            raise RtmpError(f"the server refused: {said[1:]}")
        if name == "_result" and said[1:2] == [1.0]:
            self._send(3, _COMMAND, 0, amf.encode("createStream", 2.0, None))
        elif name == "_result" and said[1:2] == [2.0]:
            number = int(said[3]) if len(said) > 3 and isinstance(said[3], float) else 1
            self._send(2, _USER_CONTROL, 0, struct.pack(">HII", _SET_BUFFER_LENGTH, number, self._buffer_ms))
            self._send(8, _COMMAND, number, amf.encode("play", 3.0, None, self._name, -2000.0))
        elif name == "onStatus":
            self._status(said[-1])

    def _status(self, status: amf.Value) -> None:
        code = status.get("code") if isinstance(status, dict) else None
        if isinstance(status, dict) and status.get("level") == "error":
            raise RtmpError(f"the server refused to play: {code}")
        if code in ("NetStream.Play.Stop", "NetStream.Play.Complete", "NetStream.Play.UnpublishNotify"):
            self.ended = True

    def _send(self, number: int, kind: int, stream: int, body: bytes) -> None:
        """A message in chunks of 128 bytes, the size that both sides begin with."""
        header = bytes([number]) + bytes(3) + len(body).to_bytes(3, "big") + bytes([kind]) + stream.to_bytes(4, "little")
        self._answer += header + body[:128]
        for begin in range(128, len(body), 128):
            self._answer += bytes([0xC0 | number]) + body[begin : begin + 128]
