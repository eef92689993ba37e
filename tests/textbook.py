"""The statistics of a page by other means: definitions written out, for few figures. Nothing here is from the program itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import median

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]

# Of more figures scipy takes too long to go through all 2^n ways.
_MOST_PERMUTED = 14


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Range | None:
    """Conover: the k-th figure from either end, k the greatest that a fair coin's heads stay below often enough."""
    count, chance, k = len(values), 0.0, 0
    while (chance := chance + math.comb(count, k) / 2**count) <= (1 - confidence) / 2:
        k += 1
    ordered = sorted(values)
    return (ordered[k - 1], ordered[count - k]) if k else None


def quantile_type_8(values: Sequence[float], share: float) -> float:
    """Hyndman and Fan's eighth: between the figures around position n p + (p + 1) / 3, no further out than the outermost."""
    ordered = sorted(values)
    position = min(max(len(ordered) * share + (share + 1) / 3, 1.0), float(len(ordered)))
    below = math.floor(position)
    above = min(below, len(ordered) - 1)
    return ordered[below - 1] + (position - below) * (ordered[above] - ordered[below - 1])


def clopper_pearson(succeeded: int, tried: int, confidence: float = 0.95) -> Range:
    """From quantiles of the beta distribution."""
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, succeeded, tried - succeeded + 1)) if succeeded else 0.0
    high = float(stats.beta.ppf(1 - tail, succeeded + 1, tried - succeeded)) if succeeded < tried else 1.0
    return low, high


def walsh_averages(values: Sequence[float]) -> list[float]:
    """Means of two figures, or of one with itself."""
    return [(one + other) / 2 for one, other in itertools.combinations_with_replacement(values, 2)]


def hodges_lehmann(values: Sequence[float]) -> float:
    """The median of the Walsh averages."""
    return median(walsh_averages(values))


def sign_flips(values: Sequence[float], centre: float = 0.0) -> tuple[float, float, float]:
    """p for "not above", "not below" and "not there": how many of all ways to choose the signs have a rank sum as great.

    A difference of 0 counts on neither side, whatever is asked.
    """
    moved = np.round(np.asarray(values) - centre, 11)
    ranks = stats.rankdata(np.abs(moved))
    sums = _sums_of_all_ways(tuple(sorted(ranks.tolist())))
    greater, less = (float(np.mean(sums >= ranks[side].sum() - 1e-9)) for side in (moved > 0, moved < 0))
    return greater, less, min(1.0, 2 * min(greater, less))


@lru_cache(maxsize=64)
def _sums_of_all_ways(ranks: tuple[float, ...]) -> Floats:
    sums = np.zeros(1)
    for rank in ranks:
        sums = np.concatenate([sums, sums + rank])
    return sums


def permuted_p(values: Sequence[float]) -> float:
    """The last of these by scipy, for a centre of 0: no figure is 0, and of many none are tied."""
    if len(values) > _MOST_PERMUTED:
        return float(stats.wilcoxon(values, method="exact").pvalue)

    def signed_ranks(sample: Floats, axis: int = -1) -> Floats:
        found: Floats = np.sum(np.sign(sample) * stats.rankdata(np.abs(sample), axis=axis), axis=axis)
        return found

    found = stats.permutation_test((np.asarray(values),), signed_ranks, permutation_type="samples", n_resamples=np.inf)
    return float(found.pvalue)


def centres_not_rejected(values: Sequence[float], error: float) -> Range | None:
    """The least and the greatest centre that stands, of all at and between Walsh averages."""
    if 2 / 2 ** len(values) > error:
        return None
    averages = sorted(walsh_averages(values))
    centres = averages + [(one + other) / 2 for one, other in itertools.pairwise(averages)]
    standing = [centre for centre in sorted(centres) if sign_flips(values, centre)[2] > error + 1e-12]
    # A centre that stands between two averages stands for all there.
    return max(a for a in averages if a <= standing[0] + 1e-12), min(a for a in averages if a >= standing[-1] - 1e-12)


def not_equivalent_p(values: Sequence[float], margin: float) -> float:
    """The larger p of two: not above the lower edge of the margin, and not below the upper one."""
    edge = math.log(1 + margin)
    return max(sign_flips(values, -edge)[0], sign_flips(values, edge)[1])


def holm(p_values: Sequence[float]) -> list[float]:
    """The least p times how many there are, the next times one fewer, and so on; none smaller than the one before."""
    order = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted: dict[int, float] = {}
    worst = 0.0
    for place, at in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - place) * p_values[at]))
        adjusted[at] = worst
    return [adjusted[at] for at in range(len(p_values))]


def stalling_mos(stalls: int, stalled_s: float) -> float:
    """Hossfeld's: from the number of stalls and their mean length."""
    return 1.5 + 3.5 / math.exp(0.15 * stalled_s + 0.19 * stalls)


def redrawn(
    values: Sequence[float], ours: Sequence[bool], clusters: Sequence[object], strata: Sequence[object], draws: int = 20_000
) -> Floats:
    """Ratios of medians with clusters drawn anew in place of one of their stratum: how often each is drawn weighs its figures."""
    dice = np.random.default_rng(97)
    weights = np.zeros((draws, len(values)), dtype=np.int64)
    for stratum in dict.fromkeys(strata):
        members = list(dict.fromkeys(c for c, s in zip(clusters, strata, strict=True) if s == stratum))
        counts = dice.multinomial(len(members), [1 / len(members)] * len(members), size=draws)
        for at, cluster in enumerate(clusters):
            if cluster in members:
                weights[:, at] = counts[:, members.index(cluster)]
    side = np.array(ours)
    figures = np.asarray(values)
    found: Floats = _weighted_medians(figures[side], weights[:, side]) / _weighted_medians(figures[~side], weights[:, ~side])
    return found


def _weighted_medians(values: Floats, weights: npt.NDArray[np.int64]) -> Floats:
    order = np.argsort(values)
    reached = np.cumsum(weights[:, order], axis=1)
    half = reached[:, -1:] / 2
    lower, upper = values[order][np.argmax(reached >= half, axis=1)], values[order][np.argmax(reached > half, axis=1)]
    found: Floats = (lower + upper) / 2
    return found


def tail_share(clusters: int) -> float:
    """Hesterberg: the percentile that stands for 2.5 % with so few clusters."""
    return float(stats.norm.cdf(stats.t.ppf(0.025, clusters - 1) * math.sqrt(clusters / (clusters - 1))))


def power_to_decide(log_ratio: float, spread: float, blocks: int, margin: float, error: float, campaigns: int = 2000) -> Range:
    """How many of simulated campaigns tell the ratio from 1, and how many from what is beyond the margin."""
    rows = np.random.default_rng(5).normal(log_ratio, spread, (campaigns, blocks))
    edge = math.log(1 + margin)
    told = _signed_rank_p(rows, "two-sided") <= error
    within = (_signed_rank_p(rows + edge, "greater") <= error) & (_signed_rank_p(rows - edge, "less") <= error)
    return float(np.mean(told)), float(np.mean(within))


def _signed_rank_p(rows: Floats, alternative: str) -> Floats:
    method = "exact" if rows.shape[1] <= 50 else "asymptotic"
    found: Floats = stats.wilcoxon(rows, alternative=alternative, axis=1, method=method).pvalue
    return found
