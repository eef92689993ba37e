"""Peering compared in one run: taken in turn, in an order that changes, and summed up as a ratio with an interval."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Ratio:
    """The median ratio of pairs, the interval that holds the true one, and with what certainty (sign test)."""

    middle: float
    least: float
    greatest: float
    certainty: float
    pairs: int

    def __str__(self) -> str:
        return f"{self.middle:.3f} [{self.least:.3f} to {self.greatest:.3f}] ({self.pairs} pairs, {self.certainty:.1%})"


def take_turns(
    ways: Mapping[str, Callable[[], float]], rounds: int, note: Callable[[str], None], seed: int = 1
) -> dict[str, list[float]]:
    """Each way once per round, in an order shuffled anew, so that neither drift nor order favours one; each figure is noted.

    A way returns s.
    """
    dice = random.Random(seed)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        order = list(ways)
        dice.shuffle(order)
        for name in order:
            figure_s = ways[name]()
            note(f"round {number} of {rounds}: {name} {figure_s:.3f} s")
            found[name].append(figure_s)
    return found


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Of pairs: the median of ours over theirs, and the distribution-free interval of a median (order statistics).

    The interval is the narrowest symmetric one of at least 95 %, or the whole range when there are too few pairs for that.
    """
    ratios = sorted(one / other for one, other in zip(ours, theirs, strict=True))
    count = len(ratios)
    cut = 0
    while 2 * (cut + 1) < count and _certainty(count, cut + 1) >= 0.95:
        cut += 1
    return Ratio(median(ratios), ratios[cut], ratios[count - 1 - cut], _certainty(count, cut), count)


def _certainty(count: int, cut: int) -> float:
    """How surely the true median lies between the values left when ``cut`` are taken from either end."""
    return 1.0 - float(sum(math.comb(count, below) for below in range(cut + 1))) / 2.0 ** (count - 1)
