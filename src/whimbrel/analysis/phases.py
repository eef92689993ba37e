"""The five phases, and a disk's copy, as intervals between named events. Pure. ``docs/measuring.md`` has the table of events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from whimbrel.analysis.clocks import Conversion
from whimbrel.records.trial import ClockReading, Event, HostClock, TrialRecord

_PAGE_BYTES = 4096
PHASES = ("reservation", "pre-copy", "stop-and-copy", "commitment", "activation")
# What a record says that it could not measure, where the clock of a host could not be read, which is named behind it.
CLOCK_OF = "the clock of host "
# Beside them, where a disk moves along: it is copied between reservation and pre-copy.
STORAGE = "storage"


@dataclass(frozen=True)
class Phase:
    """An interval; None for an end that was not seen."""

    name: str
    from_ns: int | None
    to_ns: int | None

    @property
    def length_s(self) -> float | None:
        """Its length; None when either end is unknown."""
        return None if self.from_ns is None or self.to_ns is None else (self.to_ns - self.from_ns) / 1e9


@dataclass(frozen=True)
class Round:
    """One pass over memory; bytes are None when no look at the job fell into it."""

    number: int
    from_ns: int
    to_ns: int | None
    transferred_bytes: int | None


@dataclass(frozen=True)
class Moment:
    """An event on the monotonic clock."""

    event: Event
    t_ns: int


def conversion_of(record: TrialRecord) -> Conversion:
    """The wall clock of a trial's events, from the readings around it."""
    return between(record.clock_before, record.clock_after)


def between(before: ClockReading, after: ClockReading) -> Conversion:
    """The wall clock, from readings before and after."""
    return Conversion(
        first_realtime_ns=before.realtime_ns,
        first_offset_ns=before.realtime_ns - before.monotonic_ns,
        last_realtime_ns=after.realtime_ns,
        last_offset_ns=after.realtime_ns - after.monotonic_ns,
        reading_error_ns=max(before.error_ns, after.error_ns),
    )


def timeline(record: TrialRecord) -> list[Moment]:
    """Every event in order: by QEMU's own stamp where there is one, else by when we saw it."""
    return in_order(record.events, conversion_of(record), record.host_clocks)


def in_order(events: Sequence[Event], conversion: Conversion, clocks: Mapping[str, HostClock]) -> list[Moment]:
    """Events on the monotonic clock; ``conversion`` is from our wall clock, and ``clocks`` say how far each host's is from it."""
    moments = [
        Moment(event, event.seen_ns if event.realtime_ns is None else
               conversion.to_monotonic_ns(event.realtime_ns - _offset_ns(clocks, event)))
        for event in events
    ]  # fmt: skip
    return sorted(moments, key=lambda moment: moment.t_ns)


def _offset_ns(clocks: Mapping[str, HostClock], event: Event) -> int:
    # A carrier is a machine with a clock of its own.
    clock = clocks.get(f"carrier@{event.host}" if event.source == "carrier" else event.host or "")
    return clock.offset_ns if clock is not None else 0


def clock_error_ns(record: TrialRecord) -> int:
    """How wrong an interval between two hosts' events may be: what converts their stamps, and their clocks' offsets."""
    return conversion_of(record).error_ns + sum(clock.offset_error_ns for clock in record.host_clocks.values())


def clocks_known(record: TrialRecord) -> bool:
    """Whether stamps of both hosts can be compared."""
    return not any(f"{CLOCK_OF}{name}" in record.unmeasured for name in record.hosts)


def find(moments: Sequence[Moment], source: str, host: str | None, name: str, **data: object) -> int | None:
    """When the first event of this kind happened; None when it did not."""
    return _first(moments, lambda event: (event.source, event.host, event.name) == (source, host, name)
                  and all(event.data.get(key) == value for key, value in data.items()))  # fmt: skip


def _first(moments: Sequence[Moment], true: Callable[[Event], bool]) -> int | None:
    return next((moment.t_ns for moment in moments if true(moment.event)), None)


def pre_copy_phases(moments: Sequence[Moment], source: str, destination: str, activated_ns: int | None) -> list[Phase]:
    """The phases of a pre-copy move; ``activated_ns`` is when the guest was first heard of on the destination."""
    stop_ns = find(moments, "qemu", source, "STOP")
    resume_ns = find(moments, "qemu", destination, "RESUME")
    return [
        Phase(
            "reservation",
            find(moments, "whimbrel", None, "move called"),
            find(moments, "qemu", destination, "MIGRATION", status="setup"),
        ),
        Phase("pre-copy", find(moments, "qemu", source, "MIGRATION", status="active"), stop_ns),
        Phase("stop-and-copy", stop_ns, resume_ns),
        Phase(
            "commitment",
            find(moments, "qemu", destination, "MIGRATION", status="completed"),
            find(moments, "libvirt", source, "stopped"),
        ),
        Phase("activation", resume_ns, activated_ns),
    ]


def storage_phase(moments: Sequence[Moment], source: str) -> Phase:
    """The copy of a disk that moves along: from the start of QEMU's block job, before memory, until both hosts have the same.

    Of a guest that is off we copy it, and say so.
    """
    running_ns = find(moments, "qemu", source, "JOB_STATUS_CHANGE", status="running")
    if running_ns is not None:
        return Phase(STORAGE, running_ns, find(moments, "qemu", source, "BLOCK_JOB_READY"))
    return Phase(STORAGE, find(moments, "whimbrel", None, "disk copy begun"), find(moments, "whimbrel", None, "disk copied"))


def container_phases(moments: Sequence[Moment], source: str, destination: str, activated_ns: int | None) -> list[Phase]:
    """The phases of a container's move between carriers; stamps are those of the carriers' journals.

    Its files always move along: what it has written is sent ahead of its memory.
    """
    connected_ns = find(moments, "carrier", source, "connected")
    frozen_ns = find(moments, "carrier", source, "frozen")
    restored_ns = find(moments, "carrier", destination, "restored")
    return [
        Phase("reservation", find(moments, "whimbrel", None, "move called"), connected_ns),
        Phase(STORAGE, connected_ns, find(moments, "carrier", source, "files ahead")),
        Phase("pre-copy", find(moments, "carrier", source, "round 1"), frozen_ns),
        Phase("stop-and-copy", frozen_ns, restored_ns),
        Phase("commitment", find(moments, "carrier", source, "commit"), find(moments, "carrier", source, "gone")),
        Phase("activation", restored_ns, activated_ns),
    ]


def container_rounds(moments: Sequence[Moment], source: str) -> list[Round]:
    """The rounds of pre-dump that the source's journal names; bytes are those of the pages that each wrote."""
    found = []
    for moment in moments:
        if moment.event.name == "round" and moment.event.source == "whimbrel":
            number, pages = int(moment.event.data["number"]), int(moment.event.data["pages_written"])
            from_ns = find(moments, "carrier", source, f"round {number}")
            to_ns = find(moments, "carrier", source, f"round {number} ended")
            if from_ns is not None:
                found.append(Round(number, from_ns, to_ns, pages * _PAGE_BYTES))
    return found


def container_files_bytes(moments: Sequence[Moment], destination: str) -> int | None:
    """The size of the archives of a container's files, those sent ahead and the rest, which holds CRIU's small images as well.

    None when the destination did not say.
    """
    said = [
        moment.event.name.split() for moment in moments if (moment.event.source, moment.event.host) == ("carrier", destination)
    ]
    sizes = [int(words[1]) for words in said if words[:1] in (["ahead:"], ["files:"])]
    return sum(sizes) if sizes else None


def phase_reached(events: Sequence[Event], source: str, destination: str) -> str:
    """The last phase of a move that had begun, for telling where it failed."""
    seen = {(event.source, event.host, event.name, event.data.get("status")) for event in events}
    if {("qemu", destination, "RESUME", None), ("carrier", destination, "restored", None)} & seen:
        return "activation"
    if ("qemu", destination, "MIGRATION", "completed") in seen:
        return "commitment"
    copying, copied = (("whimbrel", None, name, None) for name in ("disk copy begun", "disk copied"))
    if copying in seen and copied not in seen:
        # Of a guest that is off, so after it stopped.
        return STORAGE
    if {("qemu", source, "STOP", None), ("carrier", source, "frozen", None)} & seen:
        return "stop-and-copy"
    began = {("qemu", source, "MIGRATION", "active"), ("carrier", source, "round 1", None)}
    if began & seen:
        return "pre-copy"
    copied_while_it_runs = {("qemu", source, "JOB_STATUS_CHANGE", "running"), ("carrier", source, "connected", None)}
    return STORAGE if copied_while_it_runs & seen else "reservation"


def rounds(moments: Sequence[Moment], source: str, samples: Sequence[tuple[int, int | None]]) -> list[Round]:
    """The rounds that QEMU announced before it stopped the guest; ``samples`` are (time, bytes transferred so far).

    The bytes of a round are what the last sample in it has more than the last sample of the round before.
    """
    stop_ns = find(moments, "qemu", source, "STOP")
    passes = [
        (int(moment.event.data["pass"]), moment.t_ns)
        for moment in moments
        if moment.event.name == "MIGRATION_PASS" and moment.event.host == source and (stop_ns is None or moment.t_ns < stop_ns)
    ]
    found: list[Round] = []
    known_bytes: int | None = 0
    for position, (number, from_ns) in enumerate(passes):
        to_ns = passes[position + 1][1] if position + 1 < len(passes) else stop_ns
        inside = [count for t_ns, count in samples if count is not None and from_ns <= t_ns and (to_ns is None or t_ns < to_ns)]
        # Of a round that was not seen to end it is not known what it would have sent.
        if inside and known_bytes is not None and to_ns is not None:
            found.append(Round(number, from_ns, to_ns, inside[-1] - known_bytes))
        else:
            found.append(Round(number, from_ns, to_ns, None))
        known_bytes = inside[-1] if inside else None
    return found
