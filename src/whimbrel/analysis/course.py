"""The course of a move as figures: its phases, and its rounds of pre-copy."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from whimbrel.analysis.phases import (
    Moment,
    Phase,
    Round,
    container_phases,
    container_rounds,
    find,
    pre_copy_phases,
    rounds,
    storage_phase,
)
from whimbrel.analysis.viewers import Derived
from whimbrel.records.trial import TrialRecord


class PhaseFigure(Derived):
    """A phase: its ends on the monotonic clock and its length; None for what was not seen."""

    name: str
    from_ns: int | None
    to_ns: int | None
    length_s: float | None


class RoundFigure(Derived):
    """A round of pre-copy."""

    number: int
    from_ns: int
    length_s: float | None
    transferred_bytes: int | None


def phases_of(
    record: TrialRecord, moments: Sequence[Moment], probe: pl.DataFrame | None, packets: pl.DataFrame | None
) -> list[Phase]:
    """What the move went through, as whatever moved marks it; with the disk's phase when that was moved along."""
    source, destination = record.plan.source, record.plan.destination
    container = record.spec.migration.moves == "container"
    resume_ns = find(moments, "carrier", destination, "restored") if container else find(moments, "qemu", destination, "RESUME")
    find_phases = container_phases if container else pre_copy_phases
    phases = find_phases(moments, source, destination, _activated_ns(resume_ns, probe, packets))
    if record.spec.migration.storage != "shared":
        phases.insert(1, storage_phase(moments, source))
    return phases


def _rounds(record: TrialRecord, moments: Sequence[Moment], job: pl.DataFrame | None) -> list[Round]:
    if record.spec.migration.moves == "container":
        return container_rounds(moments, record.plan.source)
    return rounds(moments, record.plan.source, _samples(job))


def _samples(job: pl.DataFrame | None) -> list[tuple[int, int | None]]:
    return list(job.select("t_ns", "transferred_bytes").iter_rows()) if job is not None else []


def round_figures(record: TrialRecord, moments: Sequence[Moment], job: pl.DataFrame | None) -> list[RoundFigure]:
    """The rounds of pre-copy, with what was sent in each."""
    return [
        RoundFigure(
            number=each.number,
            from_ns=each.from_ns,
            length_s=(each.to_ns - each.from_ns) / 1e9 if each.to_ns is not None else None,
            transferred_bytes=each.transferred_bytes,
        )
        for each in _rounds(record, moments, job)
    ]


def phase_figure(phase: Phase) -> PhaseFigure:
    """The phase as it is kept."""
    return PhaseFigure(name=phase.name, from_ns=phase.from_ns, to_ns=phase.to_ns, length_s=phase.length_s)


def _activated_ns(resume_ns: int | None, probe: pl.DataFrame | None, packets: pl.DataFrame | None) -> int | None:
    """When, after RESUME on the destination, the first echo was answered and the first media packet had come."""
    if resume_ns is None:
        return None
    firsts = []
    for frame, column in ((probe, "received_ns"), (packets, "arrived_ns")):
        if frame is not None:
            first = frame.filter(pl.col(column) >= resume_ns).get_column(column).min()
            firsts.append(first)
    if not firsts or None in firsts:
        return None
    return max(int(str(first)) for first in firsts)
