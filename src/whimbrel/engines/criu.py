"""What CRIU says of a dump or a restore: its statistics files. Pure.

Format: two little-endian magic numbers and a size, then protobuf's ``stats_entry`` (criu/images/stats.proto, criu/magic.h);
all its fields are plain numbers, so no library is needed to read them. Times are microseconds of the wall clock.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from whimbrel.errors import EngineError

_MAGIC = (0x55105940, 0x57093306)
_HEAD = struct.Struct("<III")
_DUMP, _RESTORE = 1, 2
# Field numbers within the two messages.
_DUMP_FIELDS = {"freezing_us": 1, "frozen_us": 2, "memory_dump_us": 3, "memory_write_us": 4, "pages_scanned": 5,
                "pages_skipped": 6, "pages_written": 7}  # fmt: skip
_RESTORE_FIELDS = {"restore_us": 4, "pages_restored": 5}


@dataclass(frozen=True)
class DumpStats:
    """One dump or pre-dump: how long it froze and held the container, and how many pages it saw, left out and wrote."""

    freezing_us: int
    frozen_us: int
    memory_dump_us: int
    memory_write_us: int
    pages_scanned: int
    pages_skipped: int
    pages_written: int


@dataclass(frozen=True)
class RestoreStats:
    """What CRIU counted while it restored a container once."""

    restore_us: int
    pages_restored: int


def dump_stats(content: bytes) -> DumpStats:
    """The file ``stats-dump`` of a work folder; EngineError when it is not one. Of a lazy dump it holds nonsense (CRIU 4.1)."""
    found = _message(content, _DUMP)
    return DumpStats(**{name: found.get(number, 0) for name, number in _DUMP_FIELDS.items()})


def restore_stats(content: bytes) -> RestoreStats:
    """The file ``stats-restore`` of a work folder; EngineError when it is not one."""
    found = _message(content, _RESTORE)
    return RestoreStats(**{name: found.get(number, 0) for name, number in _RESTORE_FIELDS.items()})


def _message(content: bytes, number: int) -> dict[int, int]:
    try:
        *magic, size = _HEAD.unpack_from(content)
        if tuple(magic) != _MAGIC or len(content) < _HEAD.size + size:
            raise ValueError("cut off, or of another kind")
        outer = _fields(content[_HEAD.size : _HEAD.size + size])
        inner = outer[number]
        if not isinstance(inner, bytes):
            raise ValueError("not a message")
        return {key: value for key, value in _fields(inner).items() if isinstance(value, int)}
    except (struct.error, ValueError, KeyError, IndexError) as error:
        raise EngineError("CRIU's statistics cannot be read", details=str(error)) from error


def _fields(message: bytes) -> dict[int, int | bytes]:
    """Protobuf's wire format: variable-length numbers, and bytes with their length in front."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        key, at = _number(message, at)
        value, at = _number(message, at)
        if key & 7 == 2:
            found[key >> 3] = message[at : at + value]
            at += value
        elif key & 7 == 0:
            found[key >> 3] = value
        else:
            raise ValueError(f"a field of kind {key & 7}")
    return found


def _number(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at
