"""How far do the figures of two arms overlap? Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import scipy

from whimbrel.errors import UsageError


def cliffs_delta(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Cliff's delta: how often one of ours is greater than one of theirs, less how often it is smaller. None without figures.

    From -1 (all of ours are smaller) over 0 (neither tends to be greater) to 1. It describes and does not test: it looks past
    blocks, so drift widens the overlap. Source: N. Cliff, "Dominance statistics: ordinal analyses to answer ordinal questions",
    Psychological Bulletin 114, 1993; it is 2 U / (m n) - 1, U being Mann and Whitney's. UsageError when a figure is not a number.
    """
    if not ours or not theirs:
        return None
    if any(map(math.isnan, [*ours, *theirs])):
        raise UsageError("a figure is no number", resolution="leave out what is not known")
    pairs_won = float(scipy.stats.mannwhitneyu(ours, theirs, method="asymptotic").statistic)
    return 2 * pairs_won / (len(ours) * len(theirs)) - 1
