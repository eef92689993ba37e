"""Wall-clock stamps brought onto the monotonic clock, with the error that this brings."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conversion:
    """Wall to monotonic: linear between a reading before and one after."""

    first_realtime_ns: int
    first_offset_ns: int
    last_realtime_ns: int
    last_offset_ns: int
    reading_error_ns: int

    def to_monotonic_ns(self, realtime_ns: int) -> int:
        """The monotonic time of a wall-clock stamp; outside the two readings the nearer offset holds."""
        span_ns = self.last_realtime_ns - self.first_realtime_ns
        if span_ns <= 0:
            return realtime_ns - self.first_offset_ns
        share = min(1.0, max(0.0, (realtime_ns - self.first_realtime_ns) / span_ns))
        return realtime_ns - round(self.first_offset_ns + share * (self.last_offset_ns - self.first_offset_ns))

    @property
    def error_ns(self) -> int:
        """Reading error, and all that the two clocks drifted apart meanwhile: a step may fall anywhere."""
        return self.reading_error_ns + abs(self.last_offset_ns - self.first_offset_ns)
