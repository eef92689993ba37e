"""What one viewer of an RTMP stream has seen, column by column, while it plays."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import polars as pl

from whimbrel.records.series import PACKETS_SCHEMA
from whimbrel.stream.rtmp import Media, RtmpError
from whimbrel.system.child import Readings

# What a hostile server may make us keep (a day of a film has 7 million).
MOST_ROWS = 20_000_000
# So many fit into a line of a reading.
_VIEWERS_PER_READING = 100


class PacketLog:
    """A row per media message."""

    def __init__(self) -> None:
        self._connections: array[int] = array("i")
        self._kinds: array[int] = array("b")
        self._stream_ms: array[int] = array("q")
        self._arrived_ns: array[int] = array("q")
        self._sizes: array[int] = array("q")

    def note(self, connection: int, arrived_ns: int, media: Sequence[Media]) -> None:
        """What came at one moment over one connection; RtmpError when it is more than any film has."""
        if len(self._sizes) + len(media) > MOST_ROWS:
            raise RtmpError(f"the server has sent more than {MOST_ROWS} packets: this is no film")
        for message in media:
            self._connections.append(connection)
            self._kinds.append(message.kind)
            self._stream_ms.append(message.stream_ms)
            self._arrived_ns.append(arrived_ns)
            self._sizes.append(message.size_bytes)

    @property
    def packets(self) -> int:
        """How many have come."""
        return len(self._sizes)

    @property
    def last_ns(self) -> int | None:
        """The moment at which the last one came; None before the first."""
        return self._arrived_ns[-1] if self._arrived_ns else None

    def frame(self, viewer: int) -> pl.DataFrame:
        """The log as a series (``series.PACKETS_SCHEMA``)."""
        return pl.DataFrame(
            {"viewer": [viewer] * len(self._sizes), "connection": self._connections, "kind": self._kinds,
             "stream_ms": self._stream_ms, "arrived_ns": self._arrived_ns, "bytes": self._sizes},
            schema=PACKETS_SCHEMA,
        )  # fmt: skip


def hand_on(logs: Mapping[int, PacketLog], readings: Readings, now_ns: int, lateness_s: Sequence[float]) -> None:
    """Of each viewer how many packets have come, and when the last one did; columns, for many viewers at a time.

    And how late we were ourselves, the last time.
    """
    if not readings.due(now_ns):
        return
    numbers = list(logs)
    for first in range(0, len(numbers), _VIEWERS_PER_READING):
        some = numbers[first : first + _VIEWERS_PER_READING]
        readings.give(
            t_ns=now_ns,
            viewer=some,
            packets=[logs[number].packets for number in some],
            arrived_ns=[logs[number].last_ns for number in some],
            lateness_s=lateness_s[-1] if lateness_s else None,
        )
