"""The record of a move of a guest of the user's own: of the same kind as a trial's, so that all that reads these reads it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whimbrel import __version__
from whimbrel.migrate.carry_out import Ending
from whimbrel.moves.notes import Origin, now
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.own.standing import OwnMove, Side
from whimbrel.own.watching import Checks, checks_as_json
from whimbrel.plain_text import visible
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import (
    TRIAL_SCHEMA_VERSION,
    ClockReading,
    Event,
    HostClock,
    InstrumentCost,
    MoveRecord,
    Outcome,
    Plan,
    Provenance,
    TrialRecord,
)
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.libvirt_uri import is_loopback
from whimbrel.system.clock import clock_id, read_pair
from whimbrel.system.provenance import machine

_SCENARIO = "own"
_LONGEST_TITLE = 100


@dataclass(frozen=True)
class Kept:
    """What a record belongs to: a campaign, or one of this move alone; ``folder`` None where nobody keeps it."""

    spec: CampaignSpec
    plan: Plan
    origin: Origin
    folder: CampaignFolder | None


@dataclass
class Noted:
    """What was seen of one move, as it was seen."""

    clock_before: ClockReading
    started_at: str
    versions: Mapping[str, str]
    accelerator: str
    clocks: dict[str, HostClock] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)


def reading() -> ClockReading:
    """Both of our clocks, now."""
    pair = read_pair()
    return ClockReading(realtime_ns=pair.realtime_ns, monotonic_ns=pair.monotonic_ns, error_ns=pair.error_ns)


def spec_of(move: OwnMove, checks: Checks) -> CampaignSpec:
    """A campaign of this one move."""
    title = visible(move.guest.name)[:_LONGEST_TITLE]
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": "own-move",
        "title": f"move of {title}",
        "hosts": {"servers": {side.name: _host(side) for side in (move.source, move.destination)}},
        "guest": {"domain": move.guest.name, "memory_bytes": move.memory_bytes, "vcpus": move.vcpus},
        "migration": move.spec.model_dump(mode="json"),
        "scenarios": [{"name": _SCENARIO, "title": title, "arms": [{"name": _SCENARIO}]}],
    }
    if checks.written:
        content["service"] = {"checks": checks_as_json(checks)}
    return CampaignSpec.model_validate(content, context=RECORD)


def _host(side: Side) -> dict[str, Any]:
    # This machine is called so by others.
    address = platform.node() if is_loopback(side.address) else side.address
    return {"libvirt": side.uri, "peer_libvirt": side.peer_uri, "address": address, "certificate_name": side.certificate_name}


def plan_of(spec: CampaignSpec, source: str, destination: str) -> Plan:
    """The plan of its one trial."""
    scenario = spec.scenarios[0]
    return Plan(
        scenario=scenario.name, arm=str(scenario.every_arm[0].name), form="vm", viewers=0, block=1, order=1, state_boot=1,
        source=source, destination=destination,
    )  # fmt: skip


def record_of(
    kept: Kept, noted: Noted, ending: Ending, events: MigrationEvents, seen: Sequence[Event], costs: Sequence[InstrumentCost]
) -> TrialRecord:
    """All of it; ``seen`` is what others than engines have to say."""
    return TrialRecord(
        schema_version=TRIAL_SCHEMA_VERSION,
        spec=kept.spec,
        plan=kept.plan,
        outcome=Outcome(
            result=ending.result, measured=True, error=str(ending.error) if ending.error is not None else None,
            known_failure=ending.known, runs_on=list(ending.runs_on), same_identity=None,
        ),
        events=sorted([*events.events, *seen], key=lambda event: event.seen_ns),
        clock_before=noted.clock_before,
        clock_after=reading(),
        host_clocks={"vantage": HostClock(clock_id=clock_id(), offset_ns=0, offset_error_ns=0), **noted.clocks},
        unmeasured=noted.unmeasured,
        move=_move_record(ending, events),
        rest=None,
        reach=None,
        instruments=[*costs, InstrumentCost(name="migration events", **events.cost)],
        restored_in_s=None,
        registration=kept.origin.registration,
        provenance=_provenance(kept.plan, noted, kept.origin),
    )  # fmt: skip


def _move_record(ending: Ending, events: MigrationEvents) -> MoveRecord | None:
    report = ending.report
    if report is None:
        return None
    return MoveRecord(
        called_ns=report.called_ns, returned_ns=report.returned_ns, reserved_memory_bytes=report.reserved_memory_bytes,
        reserved_disk_bytes=report.reserved_disk_bytes, qemu_downtime_ms=events.qemu_downtime_ms, qemu_ram=events.qemu_ram,
        completed=report.completed, parameters=events.parameters, capabilities=events.capabilities,
    )  # fmt: skip


def _provenance(plan: Plan, noted: Noted, origin: Origin) -> Provenance:
    here = machine()
    return Provenance(
        whimbrel=__version__, commit=origin.commit, command=origin.command, machine_kernel=here.kernel, machine_cpu=here.cpu,
        machine_cpus=here.cpus, machine_memory_bytes=here.memory_bytes,
        accelerator="kvm" if noted.accelerator == "kvm" else "tcg",
        cpu_placement={}, versions=dict(noted.versions),
        # What blocks differ by must not pass for what arms differ by: no two blocks begin alike.
        saved_state=f"as it was in block {plan.block}", images=[], started_at=noted.started_at, ended_at=now(),
    )  # fmt: skip
