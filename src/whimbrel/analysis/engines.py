"""What libvirt and QEMU said of a move that somebody else made, as figures. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from whimbrel.analysis.clocks import Conversion
from whimbrel.analysis.counters import counter_growth
from whimbrel.analysis.phases import Moment, Phase, Round, find, pre_copy_phases, rounds, storage_phase
from whimbrel.records.trial import ClockReading, Event


@dataclass(frozen=True)
class Seen:
    """What was seen of one move: events of both hosts, the job (``JOB_SCHEMA``), the hosts (``HOSTS_SCHEMA``).

    ``source`` is where the guest was before, None when nowhere; ``destination`` is where else it was afterwards. ``completed`` is
    libvirt's account of the job. ``round_trips_ns`` is how long an answer takes of each host whose clock is not ours.
    """

    source: str | None
    destination: str | None
    events: list[Event]
    job: pl.DataFrame
    hosts: pl.DataFrame
    completed: Mapping[str, int] | None
    clock_before: ClockReading
    clock_after: ClockReading
    round_trips_ns: Mapping[str, int]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class EngineFigures:
    """A move as the engines saw it; None for what was not seen. CPU is of the whole host, from the command's start to its end.

    ``clock_error_ms`` is how far off an interval may be that has one end on either host.
    """

    source: str | None
    destination: str | None
    phases: list[Phase]
    rounds: list[Round]
    blackout_ms: float | None
    clock_error_ms: float
    libvirt_downtime_ms: int | None
    transferred_bytes: int | None
    source_cpu_s: float | None
    destination_cpu_s: float | None


def engine_figures(seen: Seen, move: tuple[int, int], answers_ns: Sequence[Sequence[int]]) -> EngineFigures:
    """The figures of a move from ``move[0]`` to ``move[1]``; ``answers_ns`` are the good answers of each check, in order.

    The guest is active on the destination when after its RESUME every check has had an answer.
    """
    conversion = _conversion(seen)
    offsets = {host: _offset_ns(seen, conversion, host, trip_ns) for host, trip_ns in seen.round_trips_ns.items()}
    moments = sorted((_moment(event, conversion, offsets) for event in seen.events), key=lambda moment: moment.t_ns)
    source, destination = seen.source or "", seen.destination or ""
    resume_ns = find(moments, "qemu", destination, "RESUME")
    phases = pre_copy_phases(moments, source, destination, _activated_ns(resume_ns, answers_ns))
    copied = storage_phase(moments, source)
    if copied.from_ns is not None:
        phases.insert(1, copied)
    blackout_s = next(phase for phase in phases if phase.name == "stop-and-copy").length_s
    completed = seen.completed or {}
    samples = list(seen.job.select("t_ns", "transferred_bytes").iter_rows())
    return EngineFigures(
        source=seen.source,
        destination=seen.destination,
        phases=phases,
        rounds=rounds(moments, source, samples),
        blackout_ms=blackout_s * 1e3 if blackout_s is not None else None,
        clock_error_ms=(conversion.error_ns + sum(seen.round_trips_ns.values()) // 2) / 1e6,
        libvirt_downtime_ms=completed.get("downtime"),
        transferred_bytes=completed.get("memory_processed"),
        source_cpu_s=counter_growth(seen.hosts, source, "cpu_s", *move),
        destination_cpu_s=counter_growth(seen.hosts, destination, "cpu_s", *move),
    )


def _conversion(seen: Seen) -> Conversion:
    before, after = seen.clock_before, seen.clock_after
    return Conversion(
        first_realtime_ns=before.realtime_ns,
        first_offset_ns=before.realtime_ns - before.monotonic_ns,
        last_realtime_ns=after.realtime_ns,
        last_offset_ns=after.realtime_ns - after.monotonic_ns,
        reading_error_ns=max(before.error_ns, after.error_ns),
    )


def _offset_ns(seen: Seen, conversion: Conversion, host: str, round_trip_ns: int) -> int:
    """How far a host's wall clock is ahead of ours: what it stamped came to us within half a round trip, the fastest of it.

    Worked example: stamped at 100 and 200, seen here at 95 and 190 with a round trip of 4: 5 and 10 earlier, so 10 and 2 more.
    """
    ahead_ns = [
        conversion.to_monotonic_ns(event.realtime_ns) - event.seen_ns
        for event in seen.events
        if event.host == host and event.realtime_ns is not None
    ]
    return max(ahead_ns) + round_trip_ns // 2 if ahead_ns else 0


def _moment(event: Event, conversion: Conversion, offsets: Mapping[str, int]) -> Moment:
    if event.realtime_ns is None:
        return Moment(event, event.seen_ns)
    return Moment(event, conversion.to_monotonic_ns(event.realtime_ns) - offsets.get(event.host or "", 0))


def _activated_ns(resume_ns: int | None, answers_ns: Sequence[Sequence[int]]) -> int | None:
    if resume_ns is None:
        return None
    firsts = [next((answer_ns for answer_ns in each if answer_ns >= resume_ns), None) for each in answers_ns]
    known = [first for first in firsts if first is not None]
    return max(known) if known and len(known) == len(firsts) else None
