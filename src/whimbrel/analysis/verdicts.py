"""Do two arms differ, are they alike, or does nobody know yet? Verdicts on all comparisons of a campaign, together. Pure.

"Not shown to be different" is not "alike". So two questions are put to each comparison: is the ratio 1 (the two-sided
sign-flip test)? And is it outside a margin (two one-sided tests, both of which have to deny it)? Where neither is denied, the
verdict is undecided.

Of many comparisons some look different by chance, so the p-values of a campaign are adjusted together (Holm), the tests for a
difference as one family and those for equivalence as another. The two cannot both be wrong about one comparison: a
wrong "different" needs a true ratio of 1, a wrong "equivalent" one outside the margin. So one family of twice the size would
pay for errors that cannot be made; with two, each kind of wrong word, anywhere in a campaign, has a chance of at most alpha.

Sources: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979; D. J.
Schuirmann, "A comparison of the two one-sided tests procedure and the power approach for assessing the equivalence of average
bioavailability", Journal of Pharmacokinetics and Biopharmaceutics 15, 1987.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from whimbrel.analysis.planning import MOST_BLOCKS, blocks_to_equate, blocks_to_tell
from whimbrel.analysis.ratios import Ratio, p_ratio, ratio_of
from whimbrel.errors import UsageError

# The power that "about n more blocks" is meant for.
_POWER = 0.8


@dataclass(frozen=True)
class Comparison:
    """What is asked, said before the campaign: by what factor do ``ours`` differ from ``theirs``?

    One figure per block on either side, None where it is not known; above 0, in the same unit.
    """

    name: str
    ours: Sequence[float | None]
    theirs: Sequence[float | None]


@dataclass(frozen=True)
class Verdict:
    """What a campaign says about one comparison out of a ``family`` of so many.

    ``p_different`` and ``p_equivalent`` are adjusted by Holm, the ``_alone`` ones are not; None without a block. The ratio's
    interval is that of this comparison alone, at 1 - ``alpha``: it may leave out 1 though no difference is claimed, and may
    reach beyond the margin though equivalence is, as two one-sided tests go with an interval at 1 - 2 ``alpha``. ``margin``
    is a share: 0.05 means from 1/1.05 to 1.05.
    """

    name: str
    ratio: Ratio
    p_different_alone: float | None
    p_different: float | None
    p_equivalent_alone: float | None
    p_equivalent: float | None
    alpha: float
    margin: float
    family: int

    @property
    def different(self) -> bool:
        """Whether the two arms differ: the ratio is not 1."""
        return self.p_different is not None and self.p_different <= self.alpha

    @property
    def equivalent(self) -> bool:
        """The ratio is within the margin. It may be different as well: known so exactly that even a small difference shows."""
        return self.p_equivalent is not None and self.p_equivalent <= self.alpha

    @property
    def undecided(self) -> bool:
        """Whether the trials show neither a difference nor equivalence."""
        return not self.different and not self.equivalent

    @cached_property
    def more_blocks(self) -> int | None:
        """About how many more blocks decide it in four of five campaigns, if ratio and spread are what they look like now.

        Whichever is nearer counts, to tell the difference or to show equivalence. None when decided, when fewer than two
        blocks say nothing of the spread, or when it takes more than ``planning.MOST_BLOCKS``. A rough figure: it rests on
        this campaign's own estimates, and may come out larger after the next blocks.
        """
        if not self.undecided or self.ratio.ratio is None or self.ratio.spread is None:
            return None
        log_ratio, spread, level = math.log(self.ratio.ratio), self.ratio.spread, self.alpha / self.family
        needs = [blocks_to_equate(spread, log_ratio, self.margin, _POWER, level).blocks]
        needs += [blocks_to_tell(spread, log_ratio, _POWER, level).blocks] if log_ratio else []
        known = [need for need in needs if need is not None]
        return max(1, min(known) - self.ratio.blocks) if known else None

    @property
    def words(self) -> str:
        """One sentence: the verdict, the ratio, its interval and the blocks."""
        if self.ratio.ratio is None:
            return f"{self.name}: undecided, as no block has both figures."
        interval = self.ratio.interval
        found = f"{self.ratio.ratio:.3f} [{interval.low:.3f} to {interval.high:.3f}]" if interval else f"{self.ratio.ratio:.3f}"
        return f"{self.name}: {self._finding}; ratio {found} from {_blocks(self.ratio.blocks)}{self._remark}."

    @property
    def _finding(self) -> str:
        within = f"within {self.margin * 100:g} %"
        if self.different:
            return f"different, but {within}" if self.equivalent else "different"
        return f"equivalent {within}" if self.equivalent else f"undecided ({self._outlook})"

    @property
    def _outlook(self) -> str:
        if self.ratio.spread is None:
            return "one block says nothing of the spread"
        if self.more_blocks is None:
            return f"more than {MOST_BLOCKS} blocks needed"
        return f"about {self.more_blocks} more {'block' if self.more_blocks == 1 else 'blocks'}"

    @property
    def _remark(self) -> str:
        if self.ratio.interval is None:
            return ", too few for an interval"
        # It leaves out 1 and yet no difference is claimed: say why.
        if not self.different and not self.ratio.interval.holds(1.0):
            return f" (an interval for this one of {self.family} comparisons alone)"
        return ""


def judge(comparisons: Sequence[Comparison], margin: float = 0.05, alpha: float = 0.05) -> list[Verdict]:
    """A verdict on each of the comparisons that a campaign was made for, in their order.

    All that were planned belong in: one that has no blocks counts in the family as well, and is undecided. UsageError when a
    figure is not above 0, or margin or alpha cannot be.
    """
    if not (margin > 0 and math.isfinite(margin) and 0 < alpha < 1):
        raise UsageError(f"a margin of {margin:g} at level {alpha:g} is not possible", resolution="such as 0.05 at 0.05")
    ratios = [ratio_of(each.ours, each.theirs, 1 - alpha) for each in comparisons]
    different = [ratio.p_same for ratio in ratios]
    equivalent = [equivalence_p(each.ours, each.theirs, margin) for each in comparisons]
    different_in_family, equivalent_in_family = holm(different), holm(equivalent)
    return [
        Verdict(
            name=comparison.name,
            ratio=ratios[at],
            p_different_alone=different[at],
            p_different=different_in_family[at],
            p_equivalent_alone=equivalent[at],
            p_equivalent=equivalent_in_family[at],
            alpha=alpha,
            margin=margin,
            family=len(comparisons),
        )
        for at, comparison in enumerate(comparisons)
    ]


def equivalence_p(ours: Sequence[float | None], theirs: Sequence[float | None], margin: float) -> float | None:
    """How likely figures at least as near to a ratio of 1 are when the true one is outside ``margin``; None without a block.

    The larger p of two one-sided sign-flip tests: that the ratio is above 1 / (1 + margin), and below 1 + margin.
    """
    above = p_ratio(ours, theirs, 1 / (1 + margin), "greater")
    below = p_ratio(ours, theirs, 1 + margin, "less")
    return max(above, below) if above is not None and below is not None else None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusts the p-values of a family. An unknown one counts as one that rejects nothing, and stays unknown."""
    if len(p_values) < 2:
        return list(p_values)
    # Slow to import (a second), and needed only here.
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests([1.0 if p is None else p for p in p_values], method="holm")[1]
    return [None if p is None else float(value) for p, value in zip(p_values, adjusted, strict=True)]


def _blocks(count: int) -> str:
    return f"{count} {'block' if count == 1 else 'blocks'}"
