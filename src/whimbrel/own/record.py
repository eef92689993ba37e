"""The record of a move of a guest of the user's own: of the same kind as a trial's, so that all that reads these reads it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Any, Literal

from whimbrel.moves.notes import Ground, Invocation, Notes
from whimbrel.own.standing import OwnMove, Side
from whimbrel.own.watching import Checks, checks_as_json
from whimbrel.plain_text import visible
from whimbrel.records.store import CampaignFolder
from whimbrel.records.trial import Plan, TrialRecord
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.fields import RECORD
from whimbrel.spec.libvirt_uri import is_loopback
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.clock import read_pair

_SCENARIO = "own"
_LONGEST_TITLE = 100


@dataclass(frozen=True)
class Kept:
    """What a record belongs to: a campaign, or one of this move alone; ``folder`` None where nobody keeps it."""

    spec: CampaignSpec
    plan: Plan
    invocation: Invocation
    folder: CampaignFolder | None


@dataclass(frozen=True)
class Size:
    """What a record says of a guest, beside its name."""

    memory_bytes: int
    vcpus: int


def spec_of(move: OwnMove, checks: Checks) -> CampaignSpec:
    """A campaign of this one move."""
    return spec_between(move.guest.name, Size(move.memory_bytes, move.vcpus), (move.source, move.destination), move.spec, checks)


def spec_between(name: str, size: Size, sides: tuple[Side, Side], migration: MigrationSpec, checks: Checks) -> CampaignSpec:
    """A campaign of one move of a guest from the first side to the second."""
    title = visible(name)[:_LONGEST_TITLE]
    hosts: dict[str, Any] = {"servers": {side.name: _host(side) for side in sides}}
    rates = [side.link_rate_bytes_per_s for side in sides if side.link_rate_bytes_per_s is not None]
    if rates:
        hosts["link_rate_bytes_per_s"] = min(rates)
    content: dict[str, Any] = {
        "schema_version": 1,
        "name": "own-move",
        "title": f"move of {title}",
        "hosts": hosts,
        "guest": {"domain": name, "memory_bytes": size.memory_bytes, "vcpus": size.vcpus},
        "migration": migration.model_dump(mode="json"),
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


@dataclass(frozen=True)
class _AsItWas:
    """A guest that nobody brought up for it. What blocks differ by must not pass for what arms differ by: none begin alike."""

    id: str
    accelerator: Literal["kvm", "tcg"]
    versions: dict[str, str]


def record_of(kept: Kept, move: OwnMove, notes: Notes) -> TrialRecord:
    """From what was noted of the move."""
    start = _AsItWas(f"as it was in block {kept.plan.block}", move.accelerator, {})
    return notes.record(kept.spec, kept.plan, start, Ground(), kept.invocation, read_pair())
