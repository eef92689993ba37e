"""The raw record of a trial, as it is kept in ``trial.json``: what was wanted, what happened, and on what it ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, model_validator

from whimbrel.spec.arms import ArmName, EngineName
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName, Name
from whimbrel.spec.service import FormName

TRIAL_SCHEMA_VERSION = 3
# Version 2 knew two hosts, a and b.
READABLE_VERSIONS = (2, 3)


class Record(BaseModel):
    """A part of a record; unknown keys are errors, as they come from another version."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# Who says that something happened.
Source = Literal["qemu", "libvirt", "player", "hls player", "vlc player", "checks", "whimbrel", "carrier"]


class Event(Record):
    """Something that happened at one moment.

    ``source`` is who said so, ``host`` where it happened. ``realtime_ns`` is the stamp of QEMU, or of a carrier's own clock,
    None for events that we stamped ourselves; ``seen_ns`` is when we saw it, on the monotonic clock.
    """

    source: Source
    host: HostName | None
    name: str
    realtime_ns: int | None
    seen_ns: int
    data: dict[str, Any] = {}


class ClockReading(Record):
    """Wall and monotonic clock at one moment, with the error of the reading."""

    realtime_ns: int
    monotonic_ns: int
    error_ns: int


class HostClock(Record):
    """Which clock a host, or the carrier on it, runs on, and its wall clock less ours with the error of that.

    0 where they share a kernel.
    """

    clock_id: str
    offset_ns: int
    offset_error_ns: int


class Plan(Record):
    """Which trial of the campaign this is.

    ``order`` and ``block`` count from 1 over the whole campaign; a block holds every arm once, and block 0 warms the machine up
    and does not count. ``repeats`` is the block that this one takes the place of. The guest moves from ``source`` to
    ``destination``, unless ``moves`` is false; a plan that names no destination is of the hosts a and b, and means the other.
    ``state_boot`` says from which boot's saved state it starts, ``checks`` how many ask a
    service of the user's own.
    """

    scenario: Name
    # Part of the name of the trial's folder.
    arm: ArmName
    form: FormName
    viewers: int
    hls_viewers: int = 0
    vlc_viewers: int = 0
    checks: int = 0
    engine: EngineName = "none"
    moves: bool = True
    block: int
    repeats: int | None = None
    source: HostName = "a"
    destination: HostName = "b"
    order: int
    state_boot: int

    @model_validator(mode="before")
    @classmethod
    def _to_the_other(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "destination" not in given:
            return {**given, "destination": "a" if given.get("source", "a") == "b" else "b"}
        return given

    @property
    def counts(self) -> bool:
        """Whether the trial is part of the analysis; a warm-up is shown only."""
        return self.block > 0


class Outcome(Record):
    """How the move ended, and whether it was measured; a trial has durations only when it moved *and* was measured.

    A guest that was not to move has ``stayed``. ``runs_on`` are the hosts on which a copy ran afterwards: one, or when the
    result is ``unsafe`` none or two. ``not made`` says that the trial failed before the move was called. ``known_failure`` is the
    name of a failure of the move whose cause is known (engines/failures.py), None of any other.
    """

    result: Literal["moved", "stayed", "failed", "aborted", "unsafe", "not made"]
    measured: bool
    error: str | None
    known_failure: str | None = None
    runs_on: list[HostName]
    same_identity: bool | None

    @property
    def succeeded(self) -> bool:
        """Whether the guest moved, or stayed where it was to stay, and was measured to the end."""
        return self.result in ("moved", "stayed") and self.measured

    @property
    def told(self) -> dict[str, Any]:
        """The outcome as the bus tells it."""
        return {"result": self.result, "succeeded": self.succeeded, "error": self.error}


class GuestClockRead(Record):
    """The guest's wall clock, as its agent says: it was read between ``asked_ns`` and ``answered_ns`` of our monotonic clock.

    Of ``reads`` readings in a row it is the one with the shortest way there and back.
    """

    guest_ns: int
    asked_ns: int
    answered_ns: int
    reads: int


class GuestClockRecord(Record):
    """The guest's clock before the move and after it (None when the trial did not come that far).

    ``after_setting`` is how it stood once it had been set, where that was asked for.
    """

    before: GuestClockRead
    after: GuestClockRead | None = None
    after_setting: GuestClockRead | None = None


class EndRecord(Record):
    """How a guest ended by itself, when (our wall clock, and the monotonic clock), and what was being done.

    ``left`` says what is there of it afterwards; ``console`` are the last lines of its console since the trial began,
    ``qemu_log`` those of its QEMU's log; both are empty where they cannot be read.
    """

    guest: str
    host: HostName
    how: str
    realtime_ns: int
    seen_ns: int
    during: str
    left: str
    console: list[str]
    qemu_log: list[str]


class StayRecord(Record):
    """How long a guest that was not to move was watched instead."""

    from_ns: int
    to_ns: int


class MoveRecord(Record):
    """The call that moved the guest, and what engines said of it.

    ``qemu_downtime_ms`` is QEMU's own figure (query-migrate), ``qemu_ram`` what it says of memory then, as reported;
    ``completed`` are libvirt's statistics of the completed job, from the destination, as reported. ``reserved_memory_bytes`` is
    None where nobody counts the memory of what moves.
    """

    called_ns: int
    returned_ns: int
    reserved_memory_bytes: int | None
    reserved_disk_bytes: int
    qemu_downtime_ms: int | None
    qemu_ram: dict[str, int | float] | None = None
    completed: dict[str, int] | None
    parameters: dict[str, Any] | None
    capabilities: list[str] | None = None


class Expected(Record):
    """A figure as it was predicted: what is expected, at least and at most."""

    middle: float
    least: float
    most: float


class Prediction(Record):
    """What was expected of the trial's move before it was made.

    ``made_ns`` is when, on the monotonic clock; ``profile`` the file of the campaign with the dirty curve it was made from,
    ``link_bytes_per_s`` what the link gave just before, ``learned_from`` of how many earlier moves it knew. ``converges``,
    ``forced`` and ``rest_s`` are as in ``predict.expectation.Expectation``; figures that were not predicted are None.
    """

    made_ns: int
    profile: str
    link_bytes_per_s: float | None
    learned_from: int
    converges: bool | None
    forced: bool
    rest_s: float | None = None
    rounds: int | None
    total_s: Expected | None
    downtime_s: Expected | None
    blackout_s: Expected | None
    reachability_gap_s: Expected | None
    service_gap_s: Expected | None
    sent_bytes: Expected | None


class ReachCounts(Record):
    """Questions between the VM's service and the container's that were answered, and that were not."""

    before_ok: int
    before_failed: int
    during_ok: int
    during_failed: int
    after_ok: int
    after_failed: int


class RestRecord(Record):
    """What the form costs before anybody watches. Guest figures are the guest's own; None where unknown.

    ``link_bytes_per_s`` is the payload that the link between the hosts gave to a short transfer.
    """

    guest_memory_used_bytes: int | None
    guest_cached_bytes: int | None
    disk_used_bytes: int | None
    state_memory_bytes: int | None
    link_bytes_per_s: float | None = None
    from_ns: int
    to_ns: int


class WitnessState(Record):
    """What the witness said of itself (images/programs/witness.c); ``started`` is the counter it went on from when it started."""

    pages: int
    wrong: int
    generation: int
    counter: int
    file: int
    started: int


class WitnessRecord(Record):
    """The witness before and after, and what its connection went through; ``after`` is None when it did not answer."""

    before: WitnessState
    after: WitnessState | None
    messages: int
    misnumbered: int
    went_back: bool
    connections: int


class InstrumentCost(Record):
    """CPU time that an instrument took over the trial, and how late its own loop was; None when it did not say.

    ``largest_hole_ms`` is the longest time between two of its looks; ``holes`` are those too long for what it measures, each
    from and to on the monotonic clock in ns. Older records lack both.
    """

    name: str
    cpu_s: float | None = None
    jitter_p50_ms: float | None = None
    jitter_p99_ms: float | None = None
    largest_hole_ms: float | None = None
    holes: list[tuple[int, int]] = []


class Provenance(Record):
    """On what the trial ran; a version is None for a program that had no part in it.

    ``accelerator`` is "none" for a container on the hosts themselves, which nothing virtualises. ``cpu_split`` says in words how
    the servers' CPUs stand to each other; None in older records, and of hosts that are machines of their own.
    """

    whimbrel: str
    commit: str | None
    command: str
    machine_kernel: str
    machine_cpu: str
    machine_cpus: int
    machine_memory_bytes: int
    accelerator: Literal["kvm", "tcg", "none"]
    cpu_placement: dict[str, list[int]]
    cpu_split: str | None = None
    versions: dict[str, str | None]
    saved_state: str
    images: list[str]
    started_at: str
    ended_at: str


class TrialRecord(Record):
    """Everything raw about one trial, but the series.

    ``restored_in_s`` is what libvirt took to start the saved state, or what a fresh container took until it answered.
    ``unmeasured`` says what could not be seen, and why. ``registration`` is the hash of what the campaign was to show, as it was
    before its first trial. ``end`` is how the guest ended, where it did so by itself.
    """

    schema_version: Literal[2, 3]
    spec: CampaignSpec
    plan: Plan
    outcome: Outcome
    events: list[Event]
    clock_before: ClockReading
    clock_after: ClockReading
    host_clocks: dict[str, HostClock]
    move: MoveRecord | None
    stay: StayRecord | None = None
    rest: RestRecord | None
    reach: ReachCounts | None
    instruments: list[InstrumentCost]
    witness: WitnessRecord | None = None
    prediction: Prediction | None = None
    restored_in_s: float | None
    registration: str | None = None
    unmeasured: dict[str, str] = {}
    end: EndRecord | None = None
    guest_clock: GuestClockRecord | None = None
    provenance: Provenance

    @property
    def hosts(self) -> tuple[HostName, HostName]:
        """Those that the move, or the watch, was between, in the order of their names."""
        first, second = sorted((self.plan.source, self.plan.destination))
        return first, second
