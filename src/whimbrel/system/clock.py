"""One clock for everything: monotonic nanoseconds, and how other clocks are brought onto it.

QEMU stamps its events with the wall clock, which may be stepped. A pair of readings before a trial and one
after it convert such stamps, and bound the error.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

_TRIES = 9
# Two processors' counters differ by tens of nanoseconds, and each clock is rounded on its own: the bracket does not bound that.
_COUNTERS_NS = 1_000
# The wall clock may be stepped or slewed, so how far it is from the monotonic one is read anew every second.
_OFFSET_GOOD_FOR_NS = 1_000_000_000
# Python has no name for it (asm-generic/socket.h).
SO_TIMESTAMPNS = 35


@dataclass(frozen=True)
class ClockPair:
    """The wall clock and the monotonic clock read at one moment, known to ``error_ns`` either way."""

    realtime_ns: int
    monotonic_ns: int
    error_ns: int

    @property
    def offset_ns(self) -> int:
        """What to take from a wall-clock stamp to get a monotonic one."""
        return self.realtime_ns - self.monotonic_ns


def read_pair() -> ClockPair:
    """Reads monotonic, wall, monotonic several times and keeps the tightest triple."""
    best: ClockPair | None = None
    for _ in range(_TRIES):
        before_ns = time.monotonic_ns()
        wall_ns = time.time_ns()
        after_ns = time.monotonic_ns()
        pair = ClockPair(wall_ns, (before_ns + after_ns) // 2, (after_ns - before_ns + 1) // 2 + _COUNTERS_NS)
        if best is None or pair.error_ns < best.error_ns:
            best = pair
    assert best is not None
    return best


class KernelClock:
    """The kernel's receive times (socket(7), SO_TIMESTAMPNS), which are of the wall clock, on the monotonic clock.

    They tell when something came, however late the process that takes it wakes up.
    """

    def __init__(self) -> None:
        self._offset_ns = 0
        self._read_ns = -_OFFSET_GOOD_FOR_NS

    def arrival_ns(self, extras: list[tuple[int, int, bytes]], now_ns: int) -> int:
        """Reads from recvmsg's ancillary data when it came; it is now where the kernel did not say."""
        if now_ns - self._read_ns > _OFFSET_GOOD_FOR_NS:
            self._offset_ns, self._read_ns = read_pair().offset_ns, now_ns
        for level, kind, data in extras:
            if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
                seconds, nanoseconds = struct.unpack_from("qq", data)
                stamp_ns: int = seconds * 1_000_000_000 + nanoseconds - self._offset_ns
                return min(stamp_ns, now_ns)
        return now_ns


def clock_id() -> str:
    """Names this kernel's monotonic clock: it starts anew with each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
