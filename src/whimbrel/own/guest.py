"""A guest of the user's own, as its host describes it."""

from __future__ import annotations

import difflib
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import UsageError
from whimbrel.hosts.identity import GuestIdentity

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class OwnGuest:
    """What is to be known of it before it moves.

    ``description`` is what it could be started anew from, ``definition`` what its host keeps of it.
    """

    identity: GuestIdentity
    memory_bytes: int
    persistent: bool
    autostart: bool
    description: str
    definition: str


def find_guest(host: Hypervisor, name: str) -> Guest | None:
    """The guest of this name or UUID, running or not; None when there is none."""
    if _UUID.fullmatch(name):
        return host.find(name)
    return host.find_named(name)


def guest_to_move(host: Hypervisor, name: str) -> Guest:
    """Finds it as ``find_guest`` does; UsageError when there is none, or when it does not run."""
    found = find_guest(host, name)
    if found is None:
        there = ", ".join(sorted(guest.name for guest in host.running())) or "none"
        raise UsageError(f"there is no guest {name!r} on {host.uri}", resolution=f"those that run there: {there}")
    if not found.executing:
        how = "is off" if not found.active else "has crashed" if found.crashed else "is paused"
        raise UsageError(
            f"{name!r} {how} on {host.uri}: only a guest that runs is moved",
            resolution="see first that no other host runs it; once it is started, or goes on ('virsh resume'), it can be moved",
        )
    return found


def describe(guest: Guest) -> OwnGuest:
    """What its host says of it."""
    description = guest.description
    persistent = guest.persistent
    return OwnGuest(
        identity=GuestIdentity(guest.name, guest.uuid, first_mac(description), ""),
        memory_bytes=guest.memory_bytes,
        persistent=persistent,
        autostart=persistent and guest.autostart,
        description=description,
        definition=guest.definition,
    )


def first_mac(description: str) -> str:
    """The address of its first network interface; empty where it has none."""
    found = ET.fromstring(description).find("./devices/interface/mac")
    return found.get("address", "") if found is not None else ""


def difference(before: str, after: str) -> list[str]:
    """The lines by which two descriptions differ, as diff(1) shows them; how far they are indented makes no difference.

    libvirt indents what others have put into ``<metadata>`` a little further each time that it reads it.
    """
    was, now = ([line.strip() for line in text.splitlines() if line.strip()] for text in (before, after))
    return list(difflib.unified_diff(was, now, "before", "after", lineterm="", n=1))
