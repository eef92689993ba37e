"""Who moves a guest just now: an element in its description as it runs, which every other controller sees, gone afterwards.

It travels with the guest. The description that a host keeps is left alone. libvirt itself refuses a second move of one guest, so
the claim is for people: it says who is at it, from where and since when.
"""

from __future__ import annotations

import getpass
import platform
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from datetime import UTC, datetime

from whimbrel.engines.hypervisor import Guest
from whimbrel.errors import UsageError
from whimbrel.system.deadline import pause

NAMESPACE = "urn:whimbrel:claim:1"
_PREFIX = "whimbrel"
# Of two that claim it at the same time the one who wrote last has it: by now the other one has read that.
SETTLES_S = 0.3


@dataclass(frozen=True)
class OwnClaim:
    """``token`` is how we know ours."""

    user: str
    machine: str
    since: str
    token: str

    def __str__(self) -> str:
        return f"{self.user} on {self.machine} since {self.since}"


def claim(guest: Guest, token: str, take_over: bool) -> None:
    """Claims the guest; UsageError when somebody else has it. ``take_over`` is for a claim whose owner has crashed.

    A guest that is being moved is not taken over.
    """
    refuse_claimed(guest, token, take_over)
    ours = OwnClaim(getpass.getuser(), platform.node(), f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC", token)
    guest.write_note(NAMESPACE, _PREFIX, ET.tostring(ET.Element("claim", vars(ours)), encoding="unicode"))
    pause(SETTLES_S)
    now = read_claim(guest)
    if now is None or now.token != token:
        raise UsageError(
            f"{guest.name} has just been claimed by {now or 'somebody who has gone again'}",
            resolution="wait for them; nothing was moved",
        )


def refuse_claimed(guest: Guest, token: str, take_over: bool) -> None:
    """UsageError when somebody else has claimed it, as ``claim`` says."""
    theirs = read_claim(guest)
    if theirs is None or theirs.token == token:
        return
    moving = guest.progress() is not None
    if take_over and not moving:
        return
    seen = "a move of it is under way" if moving else "no move of it is under way: they may have crashed"
    cure = "wait for them" if moving else f"'whimbrel recover {guest.name}' as {theirs.user} on {theirs.machine}, or --take-over"
    raise UsageError(f"{guest.name} is claimed by {theirs}", details=seen, resolution=f"{cure}; nothing was moved")


def read_claim(guest: Guest) -> OwnClaim | None:
    """Whose it is; None when nobody has claimed it."""
    text = guest.read_note(NAMESPACE)
    if text is None:
        return None
    said = ET.fromstring(text).attrib
    return OwnClaim(*(said.get(part, "unknown") for part in ("user", "machine", "since", "token")))


def give_back(guest: Guest, token: str) -> None:
    """Removes the claim, if it is ours."""
    found = read_claim(guest)
    if found is None or found.token == token:
        guest.remove_note(NAMESPACE)
