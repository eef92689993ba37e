"""By what factor do two arms differ? From the ratios within blocks, as a block's trials met the same machine. Pure.

A ratio, as a migration that takes 7 % longer takes 7 % longer whether the machine is slow or fast today. Its logarithm, as
then swapping the arms only changes the sign. Drift that is slower than a block cancels within it; what remains is even on
both sides when a coin decides the order in each block, which is all that the test of ``sign_flips`` asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whimbrel.analysis.intervals import Interval
from whimbrel.analysis.sign_flips import Alternative, Floats, centre_of, interval_of, sign_flip_p
from whimbrel.errors import UsageError


@dataclass(frozen=True)
class Ratio:
    """Ours over theirs: the Hodges-Lehmann estimate, its interval, and p for "there is no difference" (1).

    ``blocks`` had both figures, ``left_out`` did not. Without a block all is None; with too few the interval is.
    ``spread`` is the standard deviation of the log ratios, None for fewer than two blocks.
    """

    blocks: int
    left_out: int
    ratio: float | None
    interval: Interval | None
    p_same: float | None
    spread: float | None


def log_ratios(ours: Sequence[float | None], theirs: Sequence[float | None]) -> Floats:
    """Natural logarithms of ours over theirs, one per block in which both are known, in the order of the blocks.

    UsageError when the two are not equally long, or a figure is not positive and finite: 0 has no ratio.
    """
    if len(ours) != len(theirs):
        raise UsageError(f"{len(ours)} blocks on one side, {len(theirs)} on the other")
    pairs = [(one, other) for one, other in zip(ours, theirs, strict=True) if one is not None and other is not None]
    for figure in (figure for pair in pairs for figure in pair):
        if not (figure > 0 and math.isfinite(figure)):
            raise UsageError(f"a figure of {figure:g} has no ratio", resolution="compare figures that are above 0")
    # The ratio first: equal ratios then have equal logarithms, to the last digit.
    return np.log(np.array([one / other for one, other in pairs], dtype=np.float64))


def ratio_of(ours: Sequence[float | None], theirs: Sequence[float | None], confidence: float = 0.95) -> Ratio:
    """The ratio between two arms from one figure of each per block, None where a block lacks it.

    The interval holds every ratio that ``p_ratio`` does not find too unlikely. Below 6 blocks there is none at 95 %.
    Worked example: twice as long in each of 6 blocks is a ratio of 2, [2 to 2], p 0.031. UsageError as for ``log_ratios``.
    """
    logs = log_ratios(ours, theirs)
    left_out = len(ours) - len(logs)
    if len(logs) == 0:
        return Ratio(0, left_out, None, None, None, None)
    bounds = interval_of(logs, confidence)
    return Ratio(
        blocks=len(logs),
        left_out=left_out,
        ratio=math.exp(centre_of(logs)),
        interval=Interval(math.exp(bounds[0]), math.exp(bounds[1]), confidence) if bounds else None,
        p_same=sign_flip_p(logs),
        spread=float(np.std(logs, ddof=1)) if len(logs) > 1 else None,
    )


def p_ratio(
    ours: Sequence[float | None], theirs: Sequence[float | None], ratio: float = 1.0, alternative: Alternative = "two-sided"
) -> float | None:
    """The exact p-value of the sign-flip test that the true ratio is ``ratio``; None without a block that has both figures.

    ``greater`` asks whether the true one is above it. UsageError as for ``log_ratios``.
    """
    if not (ratio > 0 and math.isfinite(ratio)):
        raise UsageError(f"a ratio of {ratio:g} is not possible", resolution="give one above 0")
    logs = log_ratios(ours, theirs)
    return sign_flip_p(logs, math.log(ratio), alternative) if len(logs) else None
