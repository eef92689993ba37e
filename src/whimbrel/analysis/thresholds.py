"""Does a campaign keep the limits that its file sets? Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from whimbrel.analysis.counting import Trialled, by_arm, counting
from whimbrel.analysis.intervals import least_for_quantile, quantile_or_none
from whimbrel.spec.evidence import Limit, check_in, limits_of


@dataclass(frozen=True)
class Tick:
    """One limit in one arm: the value that was held to it, and whether it was kept. ``reason`` says why there is no value."""

    arm: str
    limit: Limit
    value: float | None
    kept: bool
    reason: str | None

    @property
    def words(self) -> str:
        """One line, with its tick or cross."""
        found = self.reason if self.value is None else f"it is {self.value:.6g}"
        return f"{'✓' if self.kept else '✗'} {self.arm}: {self.limit.words} ({found})"


def ticks_of(trials: Sequence[Trialled]) -> list[Tick]:
    """Every limit of the campaign and of its scenarios, arm by arm in the order of the file. What cannot be said is not kept."""
    ticks: list[Tick] = []
    made = by_arm(counting(trials))
    spec = trials[0].record.spec if trials else None
    for scenario in spec.scenarios if spec else ():
        assert spec is not None
        limits = [*limits_of(spec.thresholds), *limits_of(scenario.thresholds)]
        for arm in scenario.every_arm:
            of_arm = made.get(str(arm.name), [])
            ticks += [_tick(str(arm.name), limit, of_arm) for limit in limits if of_arm and _asked(limit, of_arm)]
    return ticks


def _asked(limit: Limit, trials: Sequence[Trialled]) -> bool:
    """A limit says nothing of an arm that cannot have the figure: without viewers, without the probe, without a move."""
    record = trials[0].record
    if check_in(limit.figure) is not None:
        return record.spec.service is not None
    if record.spec.watched:
        return limit.figure in ("total_s", "service_gap_ms")
    if limit.figure == "service_gap_ms":
        return record.plan.viewers > 0 or record.spec.service is not None
    if limit.figure == "reachability_gap_ms":
        return record.spec.observe.probe_every_s is not None
    return record.plan.moves


def _tick(arm: str, limit: Limit, trials: Sequence[Trialled]) -> Tick:
    values = [trial.figures.value(limit.figure) for trial in trials]
    known = [float(value) for value in values if value is not None]
    if len(known) < len(values) or not known:
        return Tick(arm, limit, None, False, _unknown(limit, trials, len(values) - len(known)))
    if limit.statistic in ("min", "max"):
        value = min(known) if limit.statistic == "min" else max(known)
        return Tick(arm, limit, value, limit.keeps(value), None)
    share = int(limit.statistic[1:]) / 100
    if share <= 0.5:
        value = float(np.quantile(known, share, method="median_unbiased"))
        return Tick(arm, limit, value, limit.keeps(value), None)
    tail = quantile_or_none(known, share)
    if tail is None:
        return Tick(arm, limit, None, False, f"takes {least_for_quantile(share)} trials, there are {len(known)}")
    return Tick(arm, limit, tail.value, limit.keeps(tail.value), None)


def _unknown(limit: Limit, trials: Sequence[Trialled], unknown: int) -> str:
    """Why there is no value. A figure that is known from below only is no value: it may yet be told how long it was at least."""
    said = f"{unknown} of {len(trials)} trials have no such figure"
    bounds = [bound for trial in trials if (bound := trial.figures.at_least(limit.figure)) is not None]
    return f"{said}; it is at least {max(bounds):.6g} in {len(bounds)} of them" if bounds else said
