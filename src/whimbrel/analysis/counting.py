"""Which trials count. One rule for whatever is said of a campaign: verdicts, medians, limits, charts, comparisons. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.analysis.figures import TrialFigures
from whimbrel.records.trial import TrialRecord


@dataclass(frozen=True)
class Trialled:
    """A trial's record and what was derived from it."""

    record: TrialRecord
    figures: TrialFigures


def spoilt_blocks(trials: Sequence[Trialled]) -> dict[int, list[str]]:
    """The blocks that are left out as a whole, and why: one of their trials was spoilt before its move began.

    Only a campaign that says what it is to show makes such blocks again; in others a spoilt trial is flagged, and counts.
    """
    found: dict[int, list[str]] = {}
    for trial in trials:
        plan = trial.record.plan
        if trial.figures.spoilt and plan.counts and trial.record.spec.evidence is not None:
            found.setdefault(plan.block, []).extend(f"trial {plan.order} ({plan.arm}): {why}" for why in trial.figures.spoilt)
    return found


def counting(trials: Sequence[Trialled]) -> list[Trialled]:
    """Every trial but those that warm the machine up, and those of blocks that are left out."""
    left_out = spoilt_blocks(trials)
    return [trial for trial in trials if trial.record.plan.counts and trial.record.plan.block not in left_out]


def by_arm(trials: Sequence[Trialled]) -> dict[str, list[Trialled]]:
    """The trials of each arm, in their order; arms in the order in which they come first."""
    found: dict[str, list[Trialled]] = {}
    for trial in trials:
        found.setdefault(trial.record.plan.arm, []).append(trial)
    return found
