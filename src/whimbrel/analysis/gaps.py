"""Silences in a row of moments. Pure; computed from timestamps, never from counts of what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

# Gaps belong to the move when they touch it or begin soon after: the guest's first seconds on the destination.
AFTER_MOVE_NS = 3_000_000_000
# Nothing for this long at the end of a recording: what was lost did not come back, whenever that began.
LOST_NS = 2_000_000_000

Moments = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Silence:
    """An interval in which nothing came."""

    from_ns: int
    to_ns: int

    @property
    def length_ms(self) -> float:
        """Its length in milliseconds."""
        return (self.to_ns - self.from_ns) / 1e6


@dataclass(frozen=True)
class Gap:
    """The longest silence around a move, in milliseconds.

    ``length_ms`` is None when it is not known: the recording ended before the silence did, or before the move. ``at_least_ms``
    then says how long it was at least, where that is known. ``silence`` is when it was, where its length is known.
    """

    length_ms: float | None
    at_least_ms: float | None = None
    silence: Silence | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Recording:
    """When something was heard, and when the recording ended: later than the last moment when nothing more came."""

    moments_ns: Moments
    end_ns: int

    def usual_ms(self, called_ns: int) -> float | None:
        """The longest silence before the move was called, in milliseconds; None with fewer than two moments."""
        usual = longest_silence(self.moments_ns[self.moments_ns < called_ns], 0, called_ns)
        return usual.length_ms if usual else None

    def gap(self, called_ns: int, returned_ns: int, usual_ms: float | None) -> Gap:
        """The longest silence that touches the move, or the seconds after it.

        A silence that is still open when the recording ends is longer than what was seen of it. It counts when it is longer than
        what was usual before the move (or, where that is not known, than every other): then the gap is known from below only.
        Worked example: answers every 5 ms, the last one 1.8 s before the end: at least 1,800 ms.
        """
        window = (called_ns, returned_ns + AFTER_MOVE_NS)
        closed = longest_silence(self.moments_ns, *window)
        closed_ms = closed.length_ms if closed else None
        open_ms = self._open_ms(*window)
        ordinary_ms = usual_ms if usual_ms is not None else closed_ms
        if self.end_ns < returned_ns or (open_ms is not None and (ordinary_ms is None or open_ms > ordinary_ms)):
            return Gap(None, max((known for known in (closed_ms, open_ms) if known is not None), default=None))
        return Gap(closed_ms, silence=closed)

    def _open_ms(self, from_ns: int, to_ns: int) -> float | None:
        """What was seen of the silence at the end; None when it does not touch the window, unless all was lost."""
        if not len(self.moments_ns):
            return None
        last_ns = int(self.moments_ns.max())
        length_ns = self.end_ns - last_ns
        touches = last_ns <= to_ns and self.end_ns >= from_ns
        return length_ns / 1e6 if length_ns > 0 and (touches or length_ns > LOST_NS) else None


def longest_silence(moments_ns: Moments, from_ns: int, to_ns: int) -> Silence | None:
    """The longest interval between neighbouring moments that touches the window ``[from_ns, to_ns]``.

    None when no such interval is known: fewer than two moments, or none at or after ``from_ns``. A silence that had not
    ended when the recording did has no known length, so it is not one.
    """
    moments = np.sort(moments_ns)
    if len(moments) < 2:
        return None
    starts, ends = moments[:-1], moments[1:]
    touching = (ends >= from_ns) & (starts <= to_ns)
    if not touching.any():
        return None
    lengths = np.where(touching, ends - starts, -1)
    longest = int(np.argmax(lengths))
    return Silence(int(starts[longest]), int(ends[longest]))
