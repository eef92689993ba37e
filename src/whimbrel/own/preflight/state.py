"""What both hosts have of the guest now. Pure."""

from __future__ import annotations

from whimbrel.hosts.preflight.finding import Finding, finding
from whimbrel.own.preflight.examined import Examined
from whimbrel.spec.migration import MigrationSpec


def examine_state(it: Examined, spec: MigrationSpec, claimed_by: str | None) -> list[Finding]:
    """``spec`` is how it is to be moved, ``claimed_by`` who has claimed it; None when nobody has."""
    guest, here, there = it.guest, it.source.name, it.destination
    found = []
    if guest.state != "runs":
        how = {"off": "it is off", "paused": "it is paused", "crashed": "it has crashed"}[guest.state]
        found.append(finding("guest-not-running", here, how))
    if guest.job:
        found.append(finding("guest-job", here, "libvirt has a job for it"))
    if claimed_by is not None:
        found.append(finding("guest-claimed", here, f"claimed by {claimed_by}"))
    if guest.uuid in there.facts.active:
        found.append(finding("guest-already-there", there.name, f"UUID {guest.uuid} is active"))
    elif guest.uuid in there.facts.guests.values():
        found.append(finding("description-there", there.name, f"UUID {guest.uuid} is known, and off"))
    other = there.facts.guests.get(guest.name)
    if other is not None and other != guest.uuid:
        found.append(finding("guest-name-taken", there.name, f"{guest.name} has UUID {other}"))
    if spec.ends_as_post_copy:
        found.append(finding("post-copy-unseen", there.name, "no guest of ours was started there to try it"))
    return found
