"""Is the centre of paired differences where somebody says? The sign-flip test on signed ranks, and what inverts it. Pure.

One difference per block. When two arms do not differ and a coin decides which of them goes first in a block, each difference
is as likely to have the other sign, whatever the machine did meanwhile. So all 2^n ways to choose the signs are equally
likely, and the test asks how rare the signs seen are among them. Its statistic is Wilcoxon's: the ranks of the absolute
differences, each with the sign of its difference, summed up. The sum is also the number of Walsh averages (means of two
differences, or of one with itself) above the centre less the number below. So the estimate that belongs to it is their median
(Hodges and Lehmann), and the interval runs between two of them. The three can only disagree where there are ties.

Sources: F. Wilcoxon, "Individual comparisons by ranking methods", Biometrics Bulletin 1, 1945; J. L. Hodges and E. L.
Lehmann, "Estimates of location based on rank tests", Annals of Mathematical Statistics 34, 1963; M. Hollander, D. A. Wolfe,
E. Chicken, "Nonparametric Statistical Methods", 3rd ed., 2014, sections 3.1 to 3.3. For a centre other than 0 the test needs
differences that are symmetric about it.

Ties: equal absolute differences share the mean of their ranks, and the signs are flipped over those very ranks. A difference of 0
keeps its rank and counts against whatever is claimed, as if it had fallen on the other side: so a zero only makes the test more
cautious, and the interval ends where the test says it does.

scipy's ``wilcoxon`` counts ties exactly only as long as it can go through all 2^n ways. Summing rank by rank gives the same exact
figure for any n, so nothing here is drawn at random and nothing needs a seed.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from whimbrel.analysis.intervals import check_confidence
from whimbrel.errors import UsageError

Floats = npt.NDArray[np.float64]
Yesses = npt.NDArray[np.bool_]
Alternative = Literal["two-sided", "greater", "less"]

# Up to so many differences the interval's ends are looked for one by one. They have n (n + 1) / 2 averages to look at.
FEW_DIFFERENCES = 30
# So many doublings of a chance stay far from the largest number there is.
_FACTORS = 500
# Differences closer than this are tied: logarithms of equal ratios may differ in their last digits.
_DECIMALS = 12


def least_count(alpha: float, alternative: Alternative = "two-sided") -> int:
    """How many differences there must be before the test can reject at level ``alpha`` at all: the rarest signs have p <= alpha.

    Worked example: 6 at 0.05, as 2/2^6 is 0.031 and 2/2^5 is 0.063; one-sided 5.
    """
    ends = 2 if alternative == "two-sided" else 1
    return max(1, math.ceil(math.log2(ends / alpha)))


def sign_flip_p(differences: Sequence[float] | Floats, centre: float = 0.0, alternative: Alternative = "two-sided") -> float:
    """How likely signs at least as one-sided as these are when the centre is ``centre``: an exact p-value, for any number.

    ``greater`` asks whether the true centre is above ``centre``. UsageError when there are no differences, or not finite ones.
    """
    return _p(_checked(differences), centre, alternative)


def centre_of(differences: Sequence[float] | Floats) -> float:
    """The Hodges-Lehmann estimate: the median of all Walsh averages. UsageError as for ``sign_flip_p``."""
    return float(np.median(_walsh_averages(_checked(differences))))


def interval_of(differences: Sequence[float] | Floats, confidence: float) -> tuple[float, float] | None:
    """From the least to the greatest centre that the two-sided test does not reject at 1 - ``confidence``; None for too few.

    Without ties these are the two Walsh averages of the textbook. The estimate always belongs to it.
    UsageError as for ``sign_flip_p``.
    """
    values = _checked(differences)
    check_confidence(confidence)
    alpha = round(1 - confidence, _DECIMALS)
    if len(values) < least_count(alpha):
        return None
    every = _walsh_averages(values)
    averages = np.unique(every)
    # With ties the textbook's count does not hold: look from the very end.
    start = _rejected_at_each_end(len(values), alpha) if len(averages) == len(every) else 0
    centre = float(np.median(every))
    low = _first_not_rejected(values, averages, centre, alpha, start)
    high = _first_not_rejected(-values, -averages[::-1], -centre, alpha, start)
    return min(centre, low), max(centre, -high)


def rejects(rows: Floats, alpha: float, centre: float = 0.0, alternative: Alternative = "two-sided") -> Yesses:
    """The same test for many campaigns at once: whether each row of ``rows``, shape (campaigns, blocks), is rejected.

    For simulated figures only: it takes them to be without ties.
    """
    moved = rows - centre
    count = rows.shape[1]
    doubled_ranks = np.arange(2, 2 * count + 1, 2)
    tail = _upper_tail(tuple(doubled_ranks.tolist()))
    level = alpha / 2 if alternative == "two-sided" else alpha
    # The least sum that is rare enough; past the end when none is.
    least = int(np.argmax(tail <= level)) if tail[-1] <= level else len(tail)
    positive = np.take_along_axis(moved > 0, np.argsort(np.abs(moved), axis=1), axis=1)
    sums = positive @ doubled_ranks
    above, below = sums >= least, doubled_ranks.sum() - sums >= least
    found: Yesses = {"two-sided": above | below, "greater": above, "less": below}[alternative]
    return found


def _p(values: Floats, centre: float, alternative: Alternative) -> float:
    moved = np.round(values - centre, _DECIMALS)
    doubled = np.rint(2 * scipy.stats.rankdata(np.abs(moved))).astype(np.int64)
    tail = _upper_tail(tuple(sorted(doubled.tolist())))
    greater = float(tail[int(doubled[moved > 0].sum())])
    less = float(tail[int(doubled[moved < 0].sum())])
    return {"two-sided": min(1.0, 2 * min(greater, less)), "greater": greater, "less": less}[alternative]


@lru_cache(maxsize=64)
def _upper_tail(doubled_ranks: tuple[int, ...]) -> Floats:
    """For each s: how likely the positive ones of these (doubled) ranks sum to s or more, each being so by a fair coin."""
    chances = np.zeros(sum(doubled_ranks) + 1)
    chances[0] = 1.0
    end = 1
    for number, rank in enumerate(doubled_ranks, 1):
        chances[rank : end + rank] += chances[:end]
        end += rank
        if number % _FACTORS == 0:
            chances *= 0.5**_FACTORS
    chances *= 0.5 ** (len(doubled_ranks) % _FACTORS)
    return np.cumsum(chances[::-1])[::-1]


def _first_not_rejected(values: Floats, averages: Floats, centre: float, alpha: float, start: int) -> float:
    """The first of the Walsh averages, ascending from an end to the centre, at or right behind which the test does not reject.

    Only there does the statistic change, so looking at each and between each two is looking everywhere.
    """

    def kept(position: int) -> bool:
        at, following = averages[position], averages[min(position + 1, len(averages) - 1)]
        return _p(values, at, "two-sided") > alpha or _p(values, (at + following) / 2, "two-sided") > alpha

    positions = range(start, min(len(averages), int(np.searchsorted(averages, centre, "right")) + 1))
    # The nearer to the centre, the less is rejected; only of a few differences ties make steps that may go back.
    if len(values) <= FEW_DIFFERENCES:
        first = next((position for position in positions if kept(position)), None)
    else:
        found = bisect_left(positions, True, key=kept)
        first = positions[found] if found < len(positions) else None
    return math.inf if first is None else float(averages[first])


def _rejected_at_each_end(count: int, alpha: float) -> int:
    """How many Walsh averages of ``count`` differences the textbook leaves out at each end when there are no ties."""
    # Doubled ranks make every other sum impossible. Each possible one stands for one average more on the other side.
    sums_rejected = int((_upper_tail(tuple(range(2, 2 * count + 1, 2)))[::2] <= alpha / 2).sum())
    return sums_rejected - 1


def _walsh_averages(values: Floats) -> Floats:
    first, second = np.triu_indices(len(values))
    return np.round((values[first] + values[second]) / 2, _DECIMALS)


def _checked(differences: Sequence[float] | Floats) -> Floats:
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise UsageError("a sign-flip test needs a row of finite differences", details=f"given: {values!r}")
    return np.round(values, _DECIMALS)
