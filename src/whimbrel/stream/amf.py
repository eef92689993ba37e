"""AMF0, the encoding of RTMP's commands: what a player says and hears. Format: Adobe, AMF 0 Specification, 2007."""

from __future__ import annotations

import struct

Value = None | bool | float | str | dict[str, "Value"]

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED, _ARRAY = 0, 1, 2, 3, 5, 6, 8
_END_OF_OBJECT = b"\0\0\x09"


def encode(*values: Value) -> bytes:
    """The values one after the other."""
    return b"".join(_encode(value) for value in values)


def _encode(value: Value) -> bytes:
    if value is None:
        return bytes([_NULL])
    if isinstance(value, bool):
        return bytes([_BOOLEAN, value])
    if isinstance(value, (int, float)):
        return bytes([_NUMBER]) + struct.pack(">d", value)
    if isinstance(value, str):
        return bytes([_STRING]) + _text(value)
    return bytes([_OBJECT]) + b"".join(_text(key) + _encode(inner) for key, inner in value.items()) + _END_OF_OBJECT


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def decode(data: bytes) -> list[Value]:
    """Every value that ``data`` holds; ValueError when it is not AMF0, or a kind that no server sends to a player."""
    found: list[Value] = []
    position = 0
    try:
        while position < len(data):
            value, position = _decode(data, position)
            found.append(value)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"AMF0 that ends too early or is damaged: {error}") from error
    return found


def _decode(data: bytes, position: int) -> tuple[Value, int]:
    kind = data[position]
    position += 1
    if kind == _NUMBER:
        return struct.unpack_from(">d", data, position)[0], position + 8
    if kind == _BOOLEAN:
        return bool(data[position]), position + 1
    if kind == _STRING:
        return _read_text(data, position)
    if kind in (_NULL, _UNDEFINED):
        return None, position
    if kind in (_OBJECT, _ARRAY):
        return _read_object(data, position + (4 if kind == _ARRAY else 0))
    raise ValueError(f"AMF0 of kind {kind}, which is not known here")


def _read_text(data: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">H", data, position)
    position += 2
    if position + length > len(data):
        raise IndexError("a text is cut off")
    return data[position : position + length].decode(), position + length


def _read_object(data: bytes, position: int) -> tuple[dict[str, Value], int]:
    found: dict[str, Value] = {}
    while data[position : position + 3] != _END_OF_OBJECT:
        key, position = _read_text(data, position)
        found[key], position = _decode(data, position)
    return found, position + 3
