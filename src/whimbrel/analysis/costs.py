"""What forms cost at rest, and what the instruments cost: over all trials, whether they count or not. Pure.

Several arms start from one saved state, so these trials are not independent of one another: medians and ranges, no intervals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whimbrel.analysis.counting import Trialled
from whimbrel.analysis.rest import RestFigure
from whimbrel.analysis.summary import Spread
from whimbrel.records.trial import InstrumentCost


@dataclass(frozen=True)
class RestCost:
    """A scenario before anybody watches, with what else is in its guest named in ``title``."""

    title: str
    guest_memory_used_bytes: Spread
    guest_cached_bytes: Spread
    qemu_memory_bytes: Spread
    state_memory_bytes: Spread
    disk_used_bytes: Spread
    cpu_cores: Spread


@dataclass(frozen=True)
class InstrumentCosts:
    """What an instrument took of the machine in a trial, and how late it was."""

    instrument: str
    cpu_s: Spread
    jitter_p50_ms: Spread
    jitter_p99_ms: Spread
    largest_hole_ms: Spread


def rest_costs(trials: Sequence[Trialled]) -> list[RestCost]:
    """One per scenario and engine beside it, by title."""
    groups: dict[str, list[RestFigure]] = {}
    for trial in trials:
        if trial.figures.rest is not None:
            scenario, arm = trial.record.spec.find_arm(trial.record.plan.arm)
            at_rest = arm.model_copy(update={"moves": True, "settings": {}}).particulars
            groups.setdefault(scenario.title + (f" ({at_rest})" if at_rest else ""), []).append(trial.figures.rest)
    return [
        RestCost(
            title=title,
            guest_memory_used_bytes=_spread([rest.guest_memory_used_bytes for rest in rests]),
            guest_cached_bytes=_spread([rest.guest_cached_bytes for rest in rests]),
            qemu_memory_bytes=_spread([rest.qemu_memory_bytes for rest in rests]),
            state_memory_bytes=_spread([rest.state_memory_bytes for rest in rests]),
            disk_used_bytes=_spread([rest.disk_used_bytes for rest in rests]),
            cpu_cores=_spread([rest.cpu_cores for rest in rests]),
        )
        for title, rests in sorted(groups.items())
    ]


def instrument_costs(trials: Sequence[Trialled]) -> list[InstrumentCosts]:
    """What each instrument cost, by its name."""
    groups: dict[str, list[InstrumentCost]] = {}
    for trial in trials:
        for cost in trial.record.instruments:
            groups.setdefault(cost.name, []).append(cost)
    return [
        InstrumentCosts(
            instrument=name,
            cpu_s=_spread([cost.cpu_s for cost in costs]),
            jitter_p50_ms=_spread([cost.jitter_p50_ms for cost in costs]),
            jitter_p99_ms=_spread([cost.jitter_p99_ms for cost in costs]),
            largest_hole_ms=_spread([cost.largest_hole_ms for cost in costs]),
        )
        for name, costs in sorted(groups.items())
    ]


def _spread(values: Sequence[float | None]) -> Spread:
    return Spread.of(values, independent=False)
