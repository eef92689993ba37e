"""One figure per trial, and trials that belong together: those of one block, and those from one saved state. Pure.

A trial is what is independent of other trials, not a viewer or a packet in it: all viewers of a trial saw the same move. So
whatever a trial has many of is first made one figure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from whimbrel.errors import UsageError

Reduction = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class TrialFigure:
    """One figure of one trial, in any unit; ``state`` is unlike for unlike saved states, whichever arms start from them."""

    arm: str
    block: int
    state: str
    value: float


def one_figure(of_viewers: Sequence[float | None], reduction: Reduction = max) -> float | None:
    """A trial's one figure from those of its viewers; unknown for one is unknown for the trial, and so is none at all."""
    known = [value for value in of_viewers if value is not None]
    return reduction(known) if known and len(known) == len(of_viewers) else None


def by_block(trials: Sequence[TrialFigure], arms: Sequence[str], reduction: Reduction = median) -> list[list[float | None]]:
    """For each of ``arms`` a row with its figure in each block, blocks ascending; None where a block has no trial of an arm.

    Several trials of an arm in a block become one figure: shape (arms, blocks). UsageError when an arm is named twice.
    """
    if len(set(arms)) < len(arms):
        raise UsageError("an arm cannot be compared with itself", details=f"arms: {', '.join(arms)}")
    cells: dict[tuple[str, int], list[float]] = {}
    for trial in trials:
        cells.setdefault((trial.arm, trial.block), []).append(trial.value)
    blocks = sorted({trial.block for trial in trials})
    return [[reduction(cells[arm, block]) if (arm, block) in cells else None for block in blocks] for arm in arms]
