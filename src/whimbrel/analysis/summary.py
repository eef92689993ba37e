"""Arms: the trials of one setting of one scenario, taken together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from whimbrel.analysis.counting import Trialled, by_arm, counting
from whimbrel.analysis.figures import TrialFigures
from whimbrel.analysis.intervals import Interval, SuccessRate, median_of, success_rate


@dataclass(frozen=True)
class Spread:
    """The median of what is known, with the least and the greatest; None of them when nothing is known.

    ``interval`` holds the true median with 95 %, whatever the distribution; None where they are too few, or not independent.
    Of ``unended`` trials only a lower bound is known, the greatest of them ``at_least``. They are none of the known, and may be
    above or below each of these: so there is no interval either.
    """

    known: int
    median: float | None
    least: float | None
    greatest: float | None
    interval: Interval | None = None
    unended: int = 0
    at_least: float | None = None

    @classmethod
    def of(cls, values: Sequence[float | None], independent: bool = True, bounds: Sequence[float | None] = ()) -> Spread:
        """From values of which some may be unknown, and the lower ``bounds`` of these, where they are known.

        Of values that are not ``independent`` nothing is inferred: no interval.
        """
        known = [value for value in values if value is not None]
        least = [bound for bound in bounds if bound is not None]
        unended, at_least = len(least), max(least, default=None)
        if not known:
            return cls(0, None, None, None, None, unended, at_least)
        found = median_of(known)
        interval = found.interval if independent and not unended else None
        return cls(len(known), found.median, min(known), max(known), interval, unended, at_least)


@dataclass(frozen=True)
class ArmSummary:
    """One arm: trials that ended as they should of those made, and the spread of each figure over those that were measured.

    ``particulars`` are what tells the arm from others of its scenario, in words, besides its viewers.
    """

    name: str
    scenario: str
    title: str
    particulars: str
    viewers: int
    hls_viewers: int
    vlc_viewers: int
    trials: int
    moved: int
    measured: int
    success: SuccessRate
    published_total_s: float | None
    total_s: Spread
    qemu_downtime_ms: Spread
    libvirt_downtime_ms: Spread
    blackout_ms: Spread
    reachability_gap_ms: Spread
    service_gap_ms: Spread
    transferred_bytes: Spread
    link_bytes: Spread
    source_cpu_s: Spread
    destination_cpu_s: Spread
    rounds: Spread
    stalls: dict[float, Spread]
    stalled_s: dict[float, Spread]
    startup_s: dict[float, Spread]
    stalling_mos: dict[float, Spread]
    vlc_stalls: Spread
    vlc_longest_stall_s: Spread


def summarise(trials: Sequence[Trialled]) -> list[ArmSummary]:
    """One summary per arm, in the order of the scenario file; of the trials that count."""
    arms = by_arm(counting(trials))
    order = [arm.name for scenario in trials[0].record.spec.scenarios for arm in scenario.every_arm] if trials else []
    return [_arm(arms[name]) for name in order if name in arms]


def _arm(trials: list[Trialled]) -> ArmSummary:
    record = trials[0].record
    scenario, arm = record.spec.find_arm(record.plan.arm)
    measured = [trial.figures for trial in trials if trial.figures.measured]
    ended_well = sum(trial.record.outcome.result in ("moved", "stayed") for trial in trials)

    spread = partial(_spread, measured)
    return ArmSummary(
        name=record.plan.arm,
        scenario=scenario.name,
        title=scenario.title,
        particulars=record.spec.particulars_of(arm),
        viewers=record.plan.viewers,
        hls_viewers=record.plan.hls_viewers,
        vlc_viewers=record.plan.vlc_viewers,
        trials=len(trials),
        moved=ended_well,
        measured=len(measured),
        success=success_rate(ended_well, len(trials)),
        # The paper gives its times for one client, and knows nothing of controls and other settings.
        published_total_s=scenario.published_total_s if record.plan.viewers <= 1 and not arm.particulars else None,
        total_s=spread(lambda figures: figures.total_s),
        qemu_downtime_ms=spread(lambda figures: figures.qemu_downtime_ms),
        libvirt_downtime_ms=spread(lambda figures: figures.libvirt_downtime_ms),
        blackout_ms=spread(lambda figures: figures.blackout_ms),
        reachability_gap_ms=spread(
            lambda figures: figures.reachability_gap_ms, lambda figures: figures.reachability_gap_at_least_ms
        ),
        service_gap_ms=spread(lambda figures: figures.service_gap_ms, lambda figures: figures.service_gap_at_least_ms),
        transferred_bytes=spread(lambda figures: figures.transferred_bytes),
        link_bytes=spread(lambda figures: figures.link_bytes),
        source_cpu_s=spread(lambda figures: figures.source_cpu_s),
        destination_cpu_s=spread(lambda figures: figures.destination_cpu_s),
        rounds=spread(lambda figures: len(figures.rounds) or None),
        **_playback(measured),
        vlc_stalls=spread(lambda figures: _sum([viewer.stalls for viewer in figures.vlc_viewers])),
        vlc_longest_stall_s=spread(
            lambda figures: _greatest([viewer.longest_stall_s for viewer in figures.vlc_viewers]),
            lambda figures: max(
                (viewer.longest_stall_at_least_s or 0.0 for viewer in figures.vlc_viewers if viewer.stalled_at_end), default=None
            ),
        ),
    )


def _playback(measured: Sequence[TrialFigures]) -> dict[str, dict[float, Spread]]:
    """What a player with each buffer would have shown, by the names of an arm's summary."""
    per_buffer = partial(_per_buffer, measured)
    return {
        "stalls": per_buffer(lambda figures, at: _sum([_at(viewer.playbacks, at, "stalls") for viewer in figures.viewers])),
        "stalled_s": per_buffer(
            lambda figures, at: _sum([_at(viewer.playbacks, at, "stalled_s") for viewer in figures.viewers]), _stalled_at_least_s
        ),
        "startup_s": per_buffer(
            lambda figures, at: _greatest([_at(viewer.playbacks, at, "startup_s") for viewer in figures.viewers])
        ),
        "stalling_mos": per_buffer(
            lambda figures, at: _least([_at(viewer.playbacks, at, "stalling_mos") for viewer in figures.viewers])
        ),
    }


def _spread(
    measured: Sequence[TrialFigures],
    read: Callable[[TrialFigures], float | None],
    bound: Callable[[TrialFigures], float | None] = lambda _: None,
) -> Spread:
    return Spread.of([read(figures) for figures in measured], bounds=[bound(figures) for figures in measured])


def _per_buffer(
    measured: Sequence[TrialFigures],
    read: Callable[[TrialFigures, int], float | None],
    bound: Callable[[TrialFigures, int], float | None] = lambda *_: None,
) -> dict[float, Spread]:
    viewers = next((figures.viewers for figures in measured if figures.viewers), [])
    buffers = [playback.buffer_s for playback in viewers[0].playbacks] if viewers else []
    return {
        buffer_s: Spread.of([read(figures, at) for figures in measured], bounds=[bound(figures, at) for figures in measured])
        for at, buffer_s in enumerate(buffers)
    }


def _stalled_at_least_s(figures: TrialFigures, position: int) -> float | None:
    """What was seen of all viewers' stalls, where one of them had not ended with the recording; else None."""
    played = [viewer.playbacks[position] for viewer in figures.viewers if position < len(viewer.playbacks)]
    if not any(each.stalled_at_end for each in played):
        return None
    return sum(each.stalled_s or each.stalled_at_least_s or 0.0 for each in played)


def _at(playbacks: Sequence[object], position: int, name: str) -> float | None:
    return getattr(playbacks[position], name) if position < len(playbacks) else None


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if values and len(known) == len(values) else None


def _greatest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if values and len(known) == len(values) else None


def _least(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if values and len(known) == len(values) else None


def baseline_of(arms: Sequence[ArmSummary], first_scenario: str) -> ArmSummary | None:
    """The arm that ratios are taken to: the first that was made of the file's first scenario; None when none was."""
    return next((arm for arm in arms if arm.scenario == first_scenario), None)


def ratio_to(base: ArmSummary | None, arm: ArmSummary) -> float | None:
    """This arm's median total time over the baseline's; None when either is unknown."""
    if base is None or not base.total_s.median or arm.total_s.median is None:
        return None
    return arm.total_s.median / base.total_s.median


def published_ratio(base: ArmSummary | None, arm: ArmSummary) -> float | None:
    """The paper's total time for this scenario over its baseline's; None where it gives none."""
    if base is None or not base.published_total_s or arm.published_total_s is None:
        return None
    return arm.published_total_s / base.published_total_s
