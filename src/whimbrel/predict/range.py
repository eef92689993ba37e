"""A figure that is not known exactly. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """What is expected, at least and at most."""

    middle: float
    least: float
    most: float

    def plus(self, other: Range) -> Range:
        """Both, one after the other."""
        return Range(self.middle + other.middle, self.least + other.least, self.most + other.most)

    def over(self, size: float) -> Range:
        """So much at this rate: the higher the rate, the less."""
        return Range(size / self.middle, size / self.most, size / self.least)
