"""The dirty curve U(t): how many different pages a guest dirties in a window of length t.

Never a single rate: a guest that writes 10 pages a hundred times a second has a dirty rate of 1,000 pages/s and a curve that
stays at 10. Source of the method: A. Gudkov, qemu-devel, 27 April 2023, "Migration time prediction using calc-dirty-rate".
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property

from whimbrel.spec.curve import CurveSpec

# What QEMU's migration stream spends on each page besides its content (docs/devel/migration: offset and flags).
HEADER_BYTES = 8


@dataclass(frozen=True)
class Segment:
    """U(t) = ``at_0`` + ``slope`` t, in pages and pages/s, for t from ``from_s`` to ``to_s``."""

    from_s: float
    to_s: float
    at_0: float
    slope: float

    def at(self, t_s: float) -> float:
        """U(t) on the line."""
        return self.at_0 + self.slope * t_s


class DirtyCurve:
    """U(t) of one guest, piecewise linear.

    Between the measured windows it is a straight line. Left of the first it is the line through the first two, never below 0;
    right of the last, the line through the last two up to the pages that are not zero, then flat.
    """

    def __init__(self, spec: CurveSpec) -> None:
        self.spec = spec
        self._points = [(window.window_s, window.dirty_pages) for window in spec.windows]

    @property
    def page_cost_bytes(self) -> int:
        """What sending one dirty page takes: its content and its header."""
        return self.spec.page_bytes + HEADER_BYTES

    @property
    def first_round_bytes(self) -> float:
        """S0: every page that is not zero, and a header for each that is."""
        return (self.spec.pages_total - self.spec.pages_zero) * self.page_cost_bytes + self.spec.pages_zero * HEADER_BYTES

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The curve's pieces from 0 to infinity, without gaps."""
        points = self._points
        lines = [_line(*left, *right) for left, right in itertools.pairwise(points)]
        most = max(self.spec.pages_total - self.spec.pages_zero, points[-1][1])
        pieces: list[Segment] = []
        at_0, slope = lines[0]
        # Where the first line, followed to the left, meets 0.
        meets_0_s = max(0.0, -at_0 / slope) if slope > 0 else 0.0
        if meets_0_s > 0:
            pieces.append(Segment(0.0, meets_0_s, 0.0, 0.0))
        pieces.append(Segment(meets_0_s, points[1][0], at_0, slope))
        pieces += [
            Segment(points[number][0], points[number + 1][0], *line) for number, line in enumerate(lines[1:], 1)
        ]  # fmt: skip
        at_0, slope = lines[-1]
        meets_most_s = max(points[-1][0], (most - at_0) / slope) if slope > 0 else points[-1][0]
        if meets_most_s > points[-1][0]:
            pieces.append(Segment(points[-1][0], meets_most_s, at_0, slope))
        pieces.append(Segment(meets_most_s, float("inf"), most if slope > 0 else points[-1][1], 0.0))
        return tuple(pieces)

    @cached_property
    def _starts(self) -> list[float]:
        return [segment.from_s for segment in self.segments]

    def pages(self, window_s: float) -> float:
        """U(t): unique pages dirtied in a window of this length, in seconds."""
        return self.segments[bisect_right(self._starts, window_s) - 1].at(window_s)

    def bytes(self, window_s: float) -> float:
        """What it takes to send what was dirtied in a window of this length."""
        return self.pages(window_s) * self.page_cost_bytes


def _line(left_s: float, left_pages: float, right_s: float, right_pages: float) -> tuple[float, float]:
    slope = (right_pages - left_pages) / (right_s - left_s)
    return left_pages - slope * left_s, slope
