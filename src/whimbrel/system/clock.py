"""One clock for everything: monotonic nanoseconds, and how other clocks are brought onto it.

QEMU stamps its events with the wall clock, which may be stepped. A pair of readings before a trial and one
after it convert such stamps, and bound the error.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_TRIES = 9


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
        pair = ClockPair(wall_ns, (before_ns + after_ns) // 2, (after_ns - before_ns + 1) // 2)
        if best is None or pair.error_ns < best.error_ns:
            best = pair
    assert best is not None
    return best


def clock_id() -> str:
    """Names this kernel's monotonic clock: it starts anew with each boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
