"""What would the figure be, had other blocks or other saved states been drawn? The bootstrap on clusters. Pure.

Trials of one block share the machine's mood, trials from one saved state share a boot; neither are independent of one another. So
blocks, or saved states, are drawn anew with replacement and keep what is in them, then, if asked, saved states within each block.

Sources: A. C. Davison, D. V. Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8 (hierarchical data);
T. C. Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015 (the percentiles, set
further out to make up for few clusters). scipy's ``bootstrap`` draws single figures and knows no clusters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import scipy

from whimbrel.analysis.blocks import TrialFigure
from whimbrel.analysis.intervals import Interval, check_confidence
from whimbrel.analysis.sign_flips import Floats
from whimbrel.errors import UsageError

Level = Literal["block", "state"]
# From the figures of each arm to one figure.
Statistic = Callable[[Mapping[str, Floats]], float]

Positions = npt.NDArray[np.int64]
Drawer = Callable[[np.random.Generator], Positions]

# With fewer clusters the percentiles say what was drawn, not what could have been. The sign-flip test draws the same line.
LEAST_CLUSTERS = 6


@dataclass(frozen=True)
class Resampled:
    """The figure of the trials as they are, and its interval; None with fewer than ``LEAST_CLUSTERS`` clusters.

    ``clusters`` is how many blocks, or saved states, the arm with the fewest has.
    """

    estimate: float
    interval: Interval | None
    clusters: int


def median_in(arm: str) -> Statistic:
    """The median figure of an arm."""
    return lambda figures: float(np.median(figures[arm]))


def ratio_of_medians(ours: str, theirs: str) -> Statistic:
    """One arm's median over another's."""
    return lambda figures: float(np.median(figures[ours]) / np.median(figures[theirs]))


def bootstrap(
    trials: Sequence[TrialFigure],
    statistic: Statistic,
    levels: tuple[Level, ...] = ("block",),
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 1,
) -> Resampled:
    """A statistic of trials with its bootstrap interval, clusters nested as in ``levels``, outermost first.

    ``("block",)`` draws blocks, ``("block", "state")`` also saved states within each, ``("state",)`` saved states whichever
    block they are in. A cluster is drawn for all arms in it at once, so pairs stay pairs, and only in place of one that has the
    same arms, so no arm is ever without trials. The same trials, in any order, and the same seed give the same interval.
    UsageError without trials or levels.
    """
    check_confidence(confidence)
    if not trials or not levels:
        raise UsageError("a bootstrap needs trials, and blocks or saved states to draw")
    kept = sorted(trials, key=lambda trial: (trial.arm, trial.block, trial.state, trial.value))
    clusters = _fewest_clusters(kept, levels[0])
    everything = np.arange(len(kept))
    split = _splitter(kept)
    estimate = statistic(split(everything))
    if clusters < LEAST_CLUSTERS:
        return Resampled(estimate, None, clusters)
    draw = _drawer(kept, everything, levels)
    dice = np.random.default_rng(seed)
    drawn = [statistic(split(draw(dice))) for _ in range(resamples)]
    share = _expanded((1 - confidence) / 2, clusters)
    low, high = np.quantile(drawn, [share, 1 - share])
    return Resampled(estimate, Interval(float(low), float(high), confidence), clusters)


def _expanded(share: float, clusters: int) -> float:
    """The percentile that takes the place of ``share``: as far out as Student's t with the spread of a small sample needs."""
    return float(scipy.stats.norm.cdf(scipy.stats.t.ppf(share, clusters - 1) * math.sqrt(clusters / (clusters - 1))))


def _fewest_clusters(trials: Sequence[TrialFigure], level: Level) -> int:
    labels: dict[str, set[object]] = {}
    for trial in trials:
        labels.setdefault(trial.arm, set()).add(getattr(trial, level))
    return min(map(len, labels.values()))


def _drawer(trials: Sequence[TrialFigure], positions: Positions, levels: tuple[Level, ...]) -> Drawer:
    """Draws positions of trials from these, level by level; below the last level all of a cluster are kept."""
    if not levels:
        return lambda _: positions
    clusters: dict[object, list[int]] = {}
    for position in positions.tolist():
        clusters.setdefault(getattr(trials[position], levels[0]), []).append(position)
    strata: dict[frozenset[str], list[Drawer]] = {}
    for members in clusters.values():
        arms = frozenset(trials[member].arm for member in members)
        strata.setdefault(arms, []).append(_drawer(trials, np.array(members), levels[1:]))

    def draw(dice: np.random.Generator) -> Positions:
        drawn = []
        for drawers in strata.values():
            drawn += [drawers[number](dice) for number in dice.integers(len(drawers), size=len(drawers))]
        return np.concatenate(drawn)

    return draw


def _splitter(trials: Sequence[TrialFigure]) -> Callable[[Positions], dict[str, Floats]]:
    """Gives the figures of each arm among the trials at some positions."""
    values = np.array([trial.value for trial in trials])
    names, owners = np.unique([trial.arm for trial in trials], return_inverse=True)

    def split(positions: Positions) -> dict[str, Floats]:
        return {str(name): values[positions[owners[positions] == owner]] for owner, name in enumerate(names)}

    return split
