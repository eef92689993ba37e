"""How many blocks does a question take? Told before the campaign from the spread of a pilot. Pure.

First from normal theory, then held to the test itself on simulated campaigns: with few blocks the test can only reject at some
levels, which no formula knows. The worst case of Holm's adjustment is assumed: each test of a family at alpha / family.

Sources: G. E. Noether, "Sample size determination for some common nonparametric tests", Journal of the American Statistical
Association 82, 1987; 3 / pi is the efficiency of the signed-rank test beside Student's for normal figures (Hollander, Wolfe
and Chicken, chapter 3). Equivalence: S.-C. Chow, J. Shao, H. Wang, "Sample Size Calculations in Clinical Research", 2nd ed.,
2008, section 3.1. R. H. Browne, "On the use of a pilot sample for sample size determination", Statistics in Medicine 14, 1995
(the upper limit of a spread).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import scipy

from whimbrel.analysis.intervals import check_confidence
from whimbrel.analysis.sign_flips import Floats, Yesses, least_count, rejects
from whimbrel.errors import UsageError

# Nobody makes more; above it a plan says that it cannot be done.
MOST_BLOCKS = 1000
# Above this normal theory is exact enough, and simulating is slow.
_SIMULATED_UP_TO = 100
# Power to about half a percent.
_CAMPAIGNS = 8000
_EFFICIENCY = 3 / math.pi


@dataclass(frozen=True)
class PilotSpread:
    """The standard deviation of the log ratio within blocks, as ``blocks`` of a pilot show it, and how large it may well be.

    The truth is below ``upper`` with ``confidence``, for normal log ratios.
    """

    blocks: int
    spread: float
    upper: float
    confidence: float


@dataclass(frozen=True)
class Need:
    """How many blocks one question takes: None when more than ``MOST_BLOCKS``; ``least`` is what the test needs to say anything.

    ``power`` is what they reach in simulated campaigns, None where normal theory alone was asked.
    """

    blocks: int | None
    least: int
    power: float | None


@dataclass(frozen=True)
class BlocksNeeded:
    """To tell ``difference`` apart if it is there, and to show equivalence within ``margin`` if there is none."""

    difference: float
    margin: float
    to_tell: Need
    to_equate: Need


def spread_of(pilot: Sequence[float] | Floats, confidence: float = 0.8) -> PilotSpread | None:
    """The spread that a pilot's log ratios show, with its upper limit (chi-square); None for fewer than two blocks.

    Plan with ``upper``: planning with the spread itself misses the power asked for more often than not, with an
    upper limit at 80 % it reaches it in four of five campaigns (Browne). Worked example: 3 blocks with a spread of 0.05 may
    as well have one of 0.106. UsageError when a log ratio is not finite.
    """
    check_confidence(confidence)
    values = np.asarray(pilot, dtype=np.float64)
    if not np.isfinite(values).all():
        raise UsageError("a log ratio is infinite or no number")
    if len(values) < 2:
        return None
    freedom = len(values) - 1
    spread = float(np.std(values, ddof=1))
    factor = math.sqrt(freedom / float(scipy.stats.chi2.ppf(1 - confidence, freedom)))
    return PilotSpread(len(values), spread, spread * factor, confidence)


def pooled_spread(pilots: Sequence[Sequence[float] | Floats], confidence: float = 0.8) -> PilotSpread | None:
    """One spread for several ratios of a pilot, as if they had the same: their variances, weighted by what each knows of its own.

    For short pilots: three blocks of one ratio bound its spread badly, three blocks of six ratios do not. ``blocks`` is one more
    than the degrees of freedom. Ratios that share an arm are not independent, so the limit is a little too low. None when no
    ratio has two blocks. UsageError when a log ratio is not finite.
    """
    known = [found for pilot in pilots if (found := spread_of(pilot, confidence)) is not None]
    freedom = sum(found.blocks - 1 for found in known)
    if freedom == 0:
        return None
    spread = math.sqrt(sum((found.blocks - 1) * found.spread**2 for found in known) / freedom)
    factor = math.sqrt(freedom / float(scipy.stats.chi2.ppf(1 - confidence, freedom)))
    return PilotSpread(freedom + 1, spread, spread * factor, confidence)


def blocks_needed(
    spread: float, difference: float, power: float = 0.8, alpha: float = 0.05, family: int = 1, margin: float = 0.05
) -> BlocksNeeded:
    """How many blocks a campaign takes whose log ratio has this ``spread`` within blocks.

    ``difference`` and ``margin`` are shares: 0.07 for a ratio of 1.07 (or 1/1.07). ``family`` is how many such comparisons the
    campaign makes. Worked example: spread 0.05, difference 0.07: 7 blocks to tell it apart in four of five campaigns.
    UsageError when a number cannot be.
    """
    if not (difference > 0 and math.isfinite(difference)):
        raise UsageError(f"a difference of {difference:g} cannot be told", resolution="give a share above 0, such as 0.07")
    if family < 1:
        raise UsageError(f"a family of {family} comparisons asks nothing")
    return BlocksNeeded(
        difference,
        margin,
        blocks_to_tell(spread, math.log1p(difference), power, alpha / family),
        blocks_to_equate(spread, 0.0, margin, power, alpha / family),
    )


@lru_cache(maxsize=256)
def blocks_to_tell(spread: float, log_ratio: float, power: float, alpha: float) -> Need:
    """Blocks after which the two-sided sign-flip test finds a true ``log_ratio`` (not 0) with this power."""
    _check(spread, power, alpha)
    least = least_count(alpha)
    ease = math.inf if spread == 0 else abs(log_ratio) / spread
    if ease == math.inf:
        return Need(least, least, 1.0)
    counts = np.arange(least, MOST_BLOCKS + 1)
    normal = scipy.stats.norm
    start = _first(counts, normal.cdf(ease * np.sqrt(counts * _EFFICIENCY) - normal.ppf(1 - alpha / 2)), power)
    return _refined(start, least, power, lambda noise: rejects(noise + ease, alpha))


@lru_cache(maxsize=256)
def blocks_to_equate(spread: float, log_ratio: float, margin: float, power: float, alpha: float) -> Need:
    """Blocks after which two one-sided tests show a true ``log_ratio`` to be within ``margin``, with this power.

    There are none when it is not within: ``blocks`` is None.
    """
    _check(spread, power, alpha)
    if not (margin > 0 and math.isfinite(margin)):
        raise UsageError(f"a margin of {margin:g} is not possible", resolution="give a share above 0, such as 0.05")
    least = least_count(alpha, "greater")
    edge = math.log1p(margin)
    if abs(log_ratio) >= edge:
        return Need(None, least, None)
    if spread == 0:
        return Need(least, least, 1.0)
    counts = np.arange(least, MOST_BLOCKS + 1)
    ways_out = [(edge - log_ratio) / spread, (edge + log_ratio) / spread]
    normal = scipy.stats.norm
    missed = sum(normal.sf(way_out * np.sqrt(counts * _EFFICIENCY) - normal.ppf(1 - alpha)) for way_out in ways_out)

    def shown(noise: Floats) -> Yesses:
        figures = noise + log_ratio / spread
        both: Yesses = rejects(figures, alpha, -edge / spread, "greater") & rejects(figures, alpha, edge / spread, "less")
        return both

    return _refined(_first(counts, 1 - missed, power), least, power, shown)


def _first(counts: npt.NDArray[np.int64], powers: Floats, wanted: float) -> int | None:
    enough = powers >= wanted
    return int(counts[np.argmax(enough)]) if enough.any() else None


def _refined(start: int | None, least: int, wanted: float, decide: Callable[[Floats], Yesses]) -> Need:
    """The count nearest to that of normal theory at which the test itself reaches the power, and at one less does not."""
    if start is None or start > _SIMULATED_UP_TO:
        return Need(start, least, None)

    def power_at(count: int) -> float:
        # The same campaigns whenever a count is asked about: the answer hangs on nothing else.
        return float(np.mean(decide(np.random.default_rng(count).standard_normal((_CAMPAIGNS, count)))))

    count, power = start, power_at(start)
    while power < wanted:
        count += 1
        power = power_at(count)
    while count > least and (fewer := power_at(count - 1)) >= wanted:
        count, power = count - 1, fewer
    return Need(count, least, power)


def _check(spread: float, power: float, alpha: float) -> None:
    if not (spread >= 0 and math.isfinite(spread)):
        raise UsageError(f"a spread of {spread:g} is not possible")
    if not (0 < alpha < 1 and alpha < power < 1):
        raise UsageError(f"a power of {power:g} at level {alpha:g} cannot be planned", resolution="such as 0.8 at 0.05")
