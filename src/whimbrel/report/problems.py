"""What is to be read with care: a line per trial that failed or was spoilt, then one for what an arm's trials have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from whimbrel.analysis.exclusion import MOST_LATENESS_MS
from whimbrel.errors import CAUSE, RESOLUTION
from whimbrel.report.load import ReportedTrial

# Above this a machine was busy with something else, or with the trial itself, and the trial is marked.
MOST_VCPU_WAIT_SHARE = 0.15
# Of an instrument's own loop, at its 99th percentile. The probe asks every few ms; a viewer's packets are ms apart.
MOST_JITTER_MS = {"probe": 20.0, "player": 20.0, "migration events": 100.0}


@dataclass(frozen=True)
class Remark:
    """Something about a trial, in words with ``{}`` where the figure stands, so that alike ones can be said together."""

    words: str
    figure: float
    shown_as: str = ".0f"


def problems_of(trials: Sequence[ReportedTrial]) -> list[str]:
    """Trials that failed or do not count, each on a line of its own; then what many may have in common, a line per arm."""
    lines = []
    alike: dict[tuple[str, str], list[tuple[ReportedTrial, Remark]]] = {}
    for trial in trials:
        outcome = trial.stored.record.outcome
        if not outcome.succeeded:
            done = outcome.result in ("moved", "stayed")
            what = f"{outcome.result}, but was not measured" if done else outcome.result
            lines.append(f"{_named([trial])} {what}: {shorten(outcome.error)}")
        lines += [f"{_named([trial])} was spoilt: {reason}" for reason in trial.figures.spoilt]
        for remark in [*_lost(trial), *_failed(trial), *_unseen(trial), *_crowded(trial)]:
            alike.setdefault((trial.stored.record.plan.arm, remark.words), []).append((trial, remark))
    return lines + [_together(found) for found in alike.values()]


def failures_of(trials: Sequence[ReportedTrial]) -> list[tuple[str, str]]:
    """Each trial that failed, and all that was said of it: what failed, why, the evidence, and what to do."""
    outcomes = [(trial, trial.stored.record.outcome) for trial in trials]
    return [(_named([trial]), outcome.error or "") for trial, outcome in outcomes if not outcome.succeeded]


def shorten(error: str | None) -> str:
    """What failed and why; where that is not known, the last line of the evidence: with most programs that is the one to read."""
    first, *rest = (error or "no reason known").splitlines()
    causes = [line.removeprefix(CAUSE) for line in rest if line.startswith(CAUSE)]
    told = causes or [line.strip() for line in rest if not line.startswith(RESOLUTION)] or [line.strip() for line in rest]
    return f"{first} ({told[0] if causes else told[-1]})" if told else first


def _lost(trial: ReportedTrial) -> Iterator[Remark]:
    """How many viewers' streams were lost, for a while or for good."""
    viewers = trial.figures.viewers if trial.figures.measured else []
    for_good = sum(viewer.service_gap_ms is None for viewer in viewers)
    silent_ms = trial.figures.reachability_gap_at_least_ms
    if silent_ms is not None:
        yield Remark("the guest did not answer at the end of the recording: the reachability gap is at least {} ms", silent_ms)
    for_a_while = sum(viewer.service_gap_ms is not None and viewer.connections_lost > 0 for viewer in viewers)
    if for_good:
        yield Remark(f"the stream of {{}} of {len(viewers)} viewers did not come back", for_good)
        if trial.figures.service_gap_at_least_ms is not None:
            yield Remark(
                "the service gap is at least {} ms: it had not ended with the recording", trial.figures.service_gap_at_least_ms
            )
    if for_a_while:
        yield Remark(f"{{}} of {len(viewers)} viewers lost their connection, and connected again", for_a_while)


def _failed(trial: ReportedTrial) -> Iterator[Remark]:
    """What checks were not answered, and how."""
    for check in trial.figures.checks:
        if check.failed:
            how = ", ".join(sorted(check.failures))
            yield Remark(f"check {check.name}: {{}} of its questions failed ({how})", check.failed)


def _unseen(trial: ReportedTrial) -> Iterator[Remark]:
    """What no instrument saw for a while during the move."""
    for hole in trial.figures.holes:
        yield Remark(
            f"{hole.what} was not seen for {{}} s of the move: figures that rest on that are not known", hole.length_s, ".2f"
        )


def _crowded(trial: ReportedTrial) -> Iterator[Remark]:
    """Why a trial's figures may be distorted by the machine it ran on."""
    machine = trial.figures.machine
    wait = machine.vcpu_wait_share_during
    if wait is not None and wait > MOST_VCPU_WAIT_SHARE:
        yield Remark("crowded machine: the guest's processors waited for a CPU {} of the time during the move", wait, ".0%")
    late_ms = machine.sampler_lateness_p99_ms
    if late_ms is not None and late_ms > MOST_LATENESS_MS:
        yield Remark("crowded machine: samples came up to {} ms late", late_ms)
    for cost in trial.stored.record.instruments:
        limit_ms = MOST_JITTER_MS.get(cost.name)
        if cost.jitter_p99_ms is not None and limit_ms is not None and cost.jitter_p99_ms > limit_ms:
            yield Remark(f"crowded machine: the {cost.name} was up to {{}} ms late itself", cost.jitter_p99_ms)


def _together(found: Sequence[tuple[ReportedTrial, Remark]]) -> str:
    """One line about every trial of an arm of which the same is to be said, with the least and the greatest figure."""
    remarks = [remark for _, remark in found]
    low, high = (format(end(each.figure for each in remarks), remarks[0].shown_as) for end in (min, max))
    span = low if low == high else f"{low} to {high}"
    return f"{_named([trial for trial, _ in found])}: {remarks[0].words.format(span)}"


def _named(trials: Sequence[ReportedTrial]) -> str:
    """Trials of one arm, by their number; those that warm up do not count and are marked."""
    plans = [trial.stored.record.plan for trial in trials]
    numbers = [f"{plan.order}{'' if plan.counts else ' (warm-up)'}" for plan in plans]
    return f"Trial{'s' if len(plans) > 1 else ''} {', '.join(numbers)} of {plans[0].arm}"
