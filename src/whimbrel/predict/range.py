"""A figure that is not known exactly. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """What is expected, at least and at most."""

    middle: float
    least: float
    most: float

    @staticmethod
    def exactly(figure: float) -> Range:
        """A figure that is known."""
        return Range(figure, figure, figure)

    @staticmethod
    def hull(ranges: Sequence[Range]) -> Range:
        """The middle of the first, and as far as any of them reaches."""
        return Range(ranges[0].middle, min(each.least for each in ranges), max(each.most for each in ranges))

    def plus(self, other: Range) -> Range:
        """The sum of both, as when one follows the other."""
        return Range(self.middle + other.middle, self.least + other.least, self.most + other.most)

    def over(self, rate: Range) -> Range:
        """How long so much takes at this rate: the higher the rate, the shorter."""
        return Range(self.middle / rate.middle, self.least / rate.most, self.most / rate.least)

    def at_most(self, most: float) -> Range:
        """The same, but never more than this."""
        return Range(min(self.middle, most), min(self.least, most), min(self.most, most))

    def times(self, factor: float) -> Range:
        """The range multiplied by a factor."""
        return Range(self.middle * factor, self.least * factor, self.most * factor)
