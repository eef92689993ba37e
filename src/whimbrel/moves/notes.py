"""What a trial has found so far, and how that becomes its record; a trial that fails in the middle keeps what it has."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from whimbrel import __version__
from whimbrel.guests.forms import Identity
from whimbrel.hosts.site import Accelerator, Site
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.technique import MoveReport
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import (
    TRIAL_SCHEMA_VERSION,
    ClockReading,
    EndRecord,
    Event,
    GuestClockRecord,
    HostClock,
    InstrumentCost,
    MoveRecord,
    Outcome,
    Plan,
    Prediction,
    Provenance,
    ReachCounts,
    RestRecord,
    StayRecord,
    TrialRecord,
    WitnessRecord,
)
from whimbrel.services.registry import SERVICES, service_of
from whimbrel.services.service import CloudDisk, image_of
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import HostName
from whimbrel.system.clock import ClockPair, clock_id
from whimbrel.system.provenance import machine

# Programs that a reader looks for; None where they had no part.
_NO_PART: dict[str, str | None] = dict.fromkeys(
    ["criu", "docker", *(program for service in SERVICES.values() for program in service.versions)]
)


@dataclass(frozen=True)
class Invocation:
    """How a campaign was begun: by which command, from which commit, and with which hash of what it is to show.

    It is read once, at the start.
    """

    command: str
    commit: str | None
    registration: str | None = None


class Started(Protocol):
    """What a move's record says of where the guest came from."""

    @property
    def id(self) -> str:
        """The id of the saved state, or of what a fresh container is made from."""

    @property
    def accelerator(self) -> Accelerator | Literal["none"]:
        """Whether it is emulated, or not even virtualised."""

    @property
    def versions(self) -> dict[str, str]:
        """The versions of what runs in it."""


@dataclass(frozen=True)
class Ground:
    """What a record says of where a move happened, as far as that is ours."""

    images: list[str] = field(default_factory=list)
    cpu_placement: dict[str, list[int]] = field(default_factory=dict)
    cpu_split: str | None = None


@dataclass
class Notes:
    """Filled in as the trial goes on."""

    started_at: str
    clock_before: ClockPair
    result: Literal["moved", "stayed", "failed", "aborted", "unsafe", "not made"] = "not made"
    runs_on: list[HostName] = field(default_factory=list)
    known_failure: str | None = None
    failure: str | None = None
    host_versions: dict[str, str] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    restored_in_s: float | None = None
    rest: RestRecord | None = None
    report: MoveReport | None = None
    stay: StayRecord | None = None
    qemu_downtime_ms: int | None = None
    qemu_ram: dict[str, int | float] | None = None
    parameters: dict[str, Any] | None = None
    capabilities: list[str] | None = None
    reach: ReachCounts | None = None
    costs: list[InstrumentCost] = field(default_factory=list)
    witness: WitnessRecord | None = None
    prediction: Prediction | None = None
    identity_before: Identity | None = None
    identity_after: Identity | None = None
    clocks: dict[str, HostClock] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    end: EndRecord | None = None
    guest_clock: GuestClockRecord | None = None

    def keep(self, events: MigrationEvents, job: Path | None, beside: Sequence[Event] = ()) -> None:
        """What was heard of the move, with what others say of it; its job's series is written into the file ``job``."""
        self.events = [*events.events, *beside]
        self.qemu_downtime_ms, self.qemu_ram = events.qemu_downtime_ms, events.qemu_ram
        self.parameters, self.capabilities = events.parameters, events.capabilities
        if job is not None:
            events.write_job(job)

    def keep_ending(self, ending: Ending) -> None:
        """Notes how the move ended."""
        self.report, self.result, self.known_failure = ending.report, ending.result, ending.known
        self.runs_on = list(ending.runs_on)

    def move_record(self) -> MoveRecord | None:
        """The call that moved the guest; None when it was never made, or did not come back."""
        report = self.report
        if report is None:
            return None
        return MoveRecord(
            called_ns=report.called_ns,
            returned_ns=report.returned_ns,
            reserved_memory_bytes=report.reserved_memory_bytes,
            reserved_disk_bytes=report.reserved_disk_bytes,
            qemu_downtime_ms=self.qemu_downtime_ms,
            qemu_ram=self.qemu_ram,
            completed=report.completed,
            parameters=self.parameters,
            capabilities=self.capabilities,
        )

    def outcome(self) -> Outcome:
        """How the move ended, and whether it was measured to the end."""
        return Outcome(
            result=self.result,
            measured=self.failure is None,
            error=self.failure,
            known_failure=self.known_failure,
            runs_on=self.runs_on,
            same_identity=self.identity_before == self.identity_after if self.identity_after else None,
        )

    def record(
        self, spec: CampaignSpec, plan: Plan, state: Started, ground: Ground, invocation: Invocation, clock_after: ClockPair
    ) -> TrialRecord:
        """The record of the trial, from what was noted."""
        return TrialRecord(
            schema_version=TRIAL_SCHEMA_VERSION,
            spec=spec,
            plan=plan,
            outcome=self.outcome(),
            events=self.events,
            clock_before=reading_of(self.clock_before),
            clock_after=reading_of(clock_after),
            host_clocks={"vantage": HostClock(clock_id=clock_id(), offset_ns=0, offset_error_ns=0), **self.clocks},
            unmeasured=self.unmeasured,
            end=self.end,
            guest_clock=self.guest_clock,
            move=self.move_record(),
            stay=self.stay,
            rest=self.rest,
            reach=self.reach,
            instruments=self.costs,
            witness=self.witness,
            prediction=self.prediction,
            restored_in_s=self.restored_in_s,
            registration=invocation.registration,
            provenance=self._provenance(state, ground, invocation),
        )

    def _provenance(self, state: Started, ground: Ground, invocation: Invocation) -> Provenance:
        here = machine()
        return Provenance(
            whimbrel=__version__,
            commit=invocation.commit,
            command=invocation.command,
            machine_kernel=here.kernel,
            machine_cpu=here.cpu,
            machine_cpus=here.cpus,
            machine_memory_bytes=here.memory_bytes,
            accelerator=state.accelerator,
            cpu_placement=ground.cpu_placement,
            cpu_split=ground.cpu_split,
            versions=_NO_PART | self.host_versions | state.versions,
            saved_state=state.id,
            images=ground.images,
            started_at=self.started_at,
            ended_at=now(),
        )


def ground_of(site: Site, spec: CampaignSpec, plan: Plan) -> Ground:
    """That of a site of ours."""
    return Ground(_images(site, spec, plan), site.accounting.cpu_placement, site.accounting.cpu_split)


def _images(site: Site, spec: CampaignSpec, plan: Plan) -> list[str]:
    store, service = site.files.store, service_of(spec, plan.arm)
    if isinstance(service.image, CloudDisk):
        return [site.platform.id, store.cloud_disk(service.image).parent.name]
    roots = [] if plan.form == "container" else [store.guest_disk(spec.guest.disk_bytes)]
    if plan.form == "container" or service.name == "own":
        roots.append(store.container_tree(image_of(service)).parent)
    return [
        site.platform.id,
        *(root.name for root in roots),
        store.film(spec.stream.bitrate_bytes_per_s, spec.stream.length_s).name,
    ]


def count_reach(lines: Sequence[str], before: int, until_after_move: int) -> ReachCounts:
    """Counts ``seconds name ok|failed`` lines: the first ``before``, those up to ``until_after_move``, and the rest."""
    parts = {"before": lines[:before], "during": lines[before:until_after_move], "after": lines[until_after_move:]}
    counts = {
        f"{part}_{said}": sum(line.endswith(f" {said}") for line in chosen)
        for part, chosen in parts.items()
        for said in ("ok", "failed")
    }
    return ReachCounts(**counts)


def reading_of(pair: ClockPair) -> ClockReading:
    """The reading as a record keeps it."""
    return ClockReading(realtime_ns=pair.realtime_ns, monotonic_ns=pair.monotonic_ns, error_ns=pair.error_ns)


def now() -> str:
    """The wall clock for people: ISO 8601, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
