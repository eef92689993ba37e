"""What figures of one arm say, and how surely: medians, tails and success rates with intervals that assume no distribution. Pure.

Sources: W. J. Conover, "Practical Nonparametric Statistics", 3rd ed., 1999, section 3.2 (intervals for quantiles);
S. S. Wilks, "Determination of sample sizes for setting tolerance limits", Annals of Mathematical Statistics 12, 1941;
C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26, 1934.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

# Its parts are loaded when they are first used: only commands that need statistics wait for them (tests/repo/test_start.py).
import scipy

from whimbrel.errors import UsageError


@dataclass(frozen=True)
class Interval:
    """Both ends, in the unit of the figure; in ``confidence`` of all campaigns or more it holds the truth."""

    low: float
    high: float
    confidence: float

    def holds(self, value: float) -> bool:
        """Whether it holds a value; its ends belong to it."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"[{self.low:.4g} to {self.high:.4g}]"


@dataclass(frozen=True)
class Median:
    """The median of the ``known`` figures; no interval when they are too few for the confidence asked, no median of none."""

    known: int
    median: float | None
    interval: Interval | None


@dataclass(frozen=True)
class Tail:
    """A high quantile of ``known`` figures, and the figure above which it lies with no more than 1 - ``confidence``."""

    known: int
    quantile: float
    value: float
    upper: float
    confidence: float


@dataclass(frozen=True)
class SuccessRate:
    """``succeeded`` of ``tried``; the share is None when nothing was tried, and so is its interval."""

    succeeded: int
    tried: int
    share: float | None
    interval: Interval | None


def median_of(values: Sequence[float | None], confidence: float = 0.95) -> Median:
    """The median, and the interval between the two order statistics that hold the true one with ``confidence``.

    Figures that are not known are left out. Worked example: of 10 figures the interval runs from the second to the ninth
    (97.9 %); of 6 from the least to the greatest (96.9 %); of 5 there is none at 95 %. UsageError when a figure is not
    finite.
    """
    known = _known(values)
    check_confidence(confidence)
    if not known:
        return Median(0, None, None)
    ranks = _ranks_around_median(len(known), confidence)
    ordered = sorted(known)
    interval = Interval(float(ordered[ranks[0]]), float(ordered[ranks[1]]), confidence) if ranks else None
    return Median(len(known), float(np.median(known)), interval)


@lru_cache(maxsize=4096)
def _ranks_around_median(count: int, confidence: float) -> tuple[int, int] | None:
    """Which of so many figures in order, counted from 0, are the interval's ends: the same whatever the figures are."""
    bounds = scipy.stats.quantile_test(range(count), p=0.5).confidence_interval(confidence_level=confidence)
    # scipy says "not a number" where there is no order statistic far enough out.
    borne = math.isfinite(bounds.low) and math.isfinite(bounds.high)
    return (int(bounds.low), int(bounds.high)) if borne else None


def quantile_or_none(values: Sequence[float | None], quantile: float, confidence: float = 0.95) -> Tail | None:
    """A high quantile (0.5 or more), with its upper bound; None when there are too few figures to bound it.

    The greatest of n figures is below the quantile with probability q^n. So there is an upper bound that assumes no distribution
    when 1 - q^n is ``confidence`` or more (Wilks): at 95 % that takes 59 figures for p95 and 299 for p99.
    The value is Hyndman and Fan's median-unbiased one (The American Statistician 50, 1996, type 8). UsageError for a quantile
    outside 0.5 to 1, or a figure that is not finite.
    """
    known = _known(values)
    check_confidence(confidence)
    if not 0.5 <= quantile < 1:
        raise UsageError(f"{quantile:g} is no high quantile", resolution="give one from 0.5 to below 1, such as 0.95")
    if len(known) < least_for_quantile(quantile, confidence):
        return None
    value = float(np.quantile(known, quantile, method="median_unbiased"))
    # scipy's names follow the claim: "less" is the claim that the quantile is below something, and bounds it above.
    tested = scipy.stats.quantile_test(known, p=quantile, alternative="less")
    upper = tested.confidence_interval(confidence_level=confidence).high
    return Tail(len(known), quantile, value, float(upper), confidence)


def least_for_quantile(quantile: float, confidence: float = 0.95) -> int:
    """How many figures a high quantile takes: the least n with 1 - q^n >= ``confidence``."""
    count = max(1, math.ceil(math.log(1 - confidence) / math.log(quantile)))
    # A logarithm may land on either side of a whole number.
    return count - 1 if count > 1 and 1 - quantile ** (count - 1) >= confidence else count


@lru_cache(maxsize=4096)
def success_rate(succeeded: int, tried: int, confidence: float = 0.95) -> SuccessRate:
    """The share that succeeded, with the interval of Clopper and Pearson: never less sure than it says, at any share and count.

    Worked example: 10 of 10 is a share of 1 with [0.69 to 1]. UsageError when the counts cannot be.
    """
    check_confidence(confidence)
    if not 0 <= succeeded <= tried:
        raise UsageError(f"{succeeded} of {tried} cannot have succeeded")
    if tried == 0:
        return SuccessRate(0, 0, None, None)
    bounds = scipy.stats.binomtest(succeeded, tried).proportion_ci(confidence_level=confidence, method="exact")
    return SuccessRate(succeeded, tried, succeeded / tried, Interval(float(bounds.low), float(bounds.high), confidence))


def check_confidence(confidence: float) -> None:
    """UsageError for a confidence that is not between 0 and 1."""
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence of {confidence:g} is not possible", resolution="give one between 0 and 1, such as 0.95")


def _known(values: Sequence[float | None]) -> list[float]:
    known = [value for value in values if value is not None]
    if not all(map(math.isfinite, known)):
        raise UsageError("a figure is infinite or no number", resolution="leave out what is not known, as None")
    return known
