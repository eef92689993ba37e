from __future__ import annotations

import struct

import pytest

from whimbrel.engines.criu import DumpStats, dump_stats, restore_stats
from whimbrel.errors import EngineError


def varint(value: int) -> bytes:
    found = b""
    while value > 127:
        found += bytes([value & 127 | 128])
        value >>= 7
    return found + bytes([value])


def stats(kind: int, fields: dict[int, int]) -> bytes:
    inner = b"".join(varint(number << 3) + varint(value) for number, value in fields.items())
    outer = varint(kind << 3 | 2) + varint(len(inner)) + inner
    return struct.pack("<III", 0x55105940, 0x57093306, len(outer)) + outer


def test_a_dump() -> None:
    found = dump_stats(stats(1, {1: 100_123, 2: 770_000, 3: 400, 4: 300, 5: 1256, 6: 1247, 7: 9}))
    assert found == DumpStats(100_123, 770_000, 400, 300, 1256, 1247, 9)


def test_a_restore() -> None:
    found = restore_stats(stats(2, {3: 5, 4: 1_520_000, 5: 1200}))
    assert (found.restore_us, found.pages_restored) == (1_520_000, 1200)


@pytest.mark.parametrize(
    "content",
    [b"", b"nonsense" * 4, stats(1, {7: 9})[:-1], stats(2, {4: 1}), struct.pack("<III", 0x55105940, 0x57093306, 1) + b"\x80"],
)
def test_what_is_no_dump(content: bytes) -> None:
    with pytest.raises(EngineError, match="cannot be read"):
        dump_stats(content)
