"""Of very many trials those that a page shows one by one: what it says of all of them is worked out from all of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from whimbrel.report.load import ReportedTrial

# More dots than these make a chart slow to draw, and no eye tells them apart.
MOST_DOTS = 400
T = TypeVar("T")


def evenly(things: Sequence[T], most: int) -> list[T]:
    """At most so many of them, every so many, in their order."""
    if len(things) <= most:
        return list(things)
    return [things[each * len(things) // most] for each in range(most)]


def sampled(trials: Sequence[ReportedTrial], most: int) -> list[ReportedTrial]:
    """At most so many trials, in their order: those that failed or were spoilt first of all, and of the others every so many."""
    odd = [trial for trial in trials if is_odd(trial)][:most]
    usual = [trial for trial in trials if not is_odd(trial)]
    return sorted([*odd, *evenly(usual, most - len(odd))], key=lambda trial: trial.stored.record.plan.order)


def is_odd(trial: ReportedTrial) -> bool:
    """Whether it failed, or was spoilt."""
    return not trial.stored.record.outcome.succeeded or bool(trial.figures.spoilt)


def of_all(shown: int, there_are: int) -> str:
    """What a caption says where not every trial has a dot; nothing where each has."""
    words = f" Of {there_are:,} trials {shown:,} have a dot, every so many; all else here is of all of them."
    return words if shown < there_are else ""
