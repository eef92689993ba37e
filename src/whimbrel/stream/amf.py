"""AMF0, the encoding of RTMP's commands: what a player says and hears. Format: Adobe, AMF 0 Specification, 2007."""

from __future__ import annotations

import struct

Value = None | bool | float | str | dict[str, "Value"] | list["Value"]

_NUMBER, _BOOLEAN, _STRING, _OBJECT, _NULL, _UNDEFINED, _REFERENCE, _ARRAY = 0, 1, 2, 3, 5, 6, 7, 8
_STRICT_ARRAY, _DATE, _LONG_STRING, _UNSUPPORTED, _XML, _TYPED_OBJECT = 10, 11, 12, 13, 15, 16
_END_OF_OBJECT = b"\0\0\x09"
# Deeper than any command goes; without a limit a server could exhaust our stack.
_DEEPEST = 32


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
    if isinstance(value, list):
        return bytes([_STRICT_ARRAY]) + struct.pack(">I", len(value)) + encode(*value)
    return bytes([_OBJECT]) + b"".join(_text(key) + _encode(inner) for key, inner in value.items()) + _END_OF_OBJECT


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack(">H", len(raw)) + raw


def decode(data: bytes) -> list[Value]:
    """Every value that ``data`` holds; ValueError when it is not AMF0. A date is its milliseconds since 1970."""
    reader = _Reader(data)
    found: list[Value] = []
    try:
        while reader.position < len(data):
            found.append(reader.value())
    except (struct.error, IndexError) as error:
        raise ValueError(f"AMF0 that ends too early or is damaged: {error}") from error
    return found


class _Reader:
    """Reads values one after the other; objects and arrays are remembered, as later values may refer to them."""

    def __init__(self, data: bytes) -> None:
        self.position = 0
        self._data = data
        self._depth = 0
        self._complex: list[Value] = []

    def value(self) -> Value:
        kind = self._data[self.position]
        self.position += 1
        if kind == _NUMBER:
            return float(self._number(">d"))
        if kind == _BOOLEAN:
            return bool(self._number(">B"))
        if kind in (_STRING, _LONG_STRING, _XML):
            return self._text(">H" if kind == _STRING else ">I")
        if kind in (_NULL, _UNDEFINED, _UNSUPPORTED):
            return None
        if kind == _REFERENCE:
            return self._complex[int(self._number(">H"))]
        if kind == _DATE:
            moment = float(self._number(">d"))
            self._number(">h")  # a time zone, which the format reserves
            return moment
        return self._inner(kind)

    def _inner(self, kind: int) -> Value:
        """A value that holds others."""
        if self._depth == _DEEPEST:
            raise ValueError(f"AMF0 that is more than {_DEEPEST} deep")
        self._depth += 1
        if kind == _STRICT_ARRAY:
            found: Value = self._list()
        elif kind in (_OBJECT, _ARRAY, _TYPED_OBJECT):
            if kind == _ARRAY:
                self._number(">I")  # how many there are: a hint only
            elif kind == _TYPED_OBJECT:
                self._text(">H")
            found = self._object()
        else:
            raise ValueError(f"AMF0 of kind {kind}, which no server may send to a player")
        self._depth -= 1
        return found

    def _list(self) -> list[Value]:
        found: list[Value] = []
        self._complex.append(found)
        for _ in range(int(self._number(">I"))):
            found.append(self.value())
        return found

    def _object(self) -> dict[str, Value]:
        found: dict[str, Value] = {}
        self._complex.append(found)
        while self._data[self.position : self.position + 3] != _END_OF_OBJECT:
            key = self._text(">H")
            found[key] = self.value()
        self.position += 3
        return found

    def _number(self, form: str) -> float:
        found: float = struct.unpack_from(form, self._data, self.position)[0]
        self.position += struct.calcsize(form)
        return found

    def _text(self, form: str) -> str:
        length = int(self._number(form))
        begin = self.position
        self.position += length
        if self.position > len(self._data):
            raise IndexError("a text is cut off")
        return self._data[begin : self.position].decode(errors="replace")
