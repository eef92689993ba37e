"""Silences in a row of moments. Pure; computed from timestamps, never from counts of what is missing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Nothing for this long at the end of a recording: what was lost did not come back.
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


def ends_in_silence(moments_ns: Moments, recording_end_ns: int, patience_ns: int) -> bool:
    """Whether nothing came in the last ``patience_ns`` of a recording: what was lost did not come back."""
    return len(moments_ns) == 0 or int(moments_ns.max()) < recording_end_ns - patience_ns
