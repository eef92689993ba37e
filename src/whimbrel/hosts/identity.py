"""Who a host is, and who a guest is: what tells ours from every other one, on hosts that are ours alone or that we share."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

# The prefix that QEMU's and libvirt's own guests have.
_MAC_PREFIX = "52:54:00"
# Position in a lab's network of its first guest.
FIRST_GUEST = 100
# The position whose MAC the container at the first guest's address has.
_FIRST_CONTAINER = 200


@dataclass(frozen=True)
class GuestIdentity:
    """A guest, or a container, as hosts and network know it. In messages it goes by its name.

    libvirt is asked by the UUID: another guest may have the same name, and is not ours.
    """

    name: str
    uuid: str
    mac: str
    address: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class HostIdentity:
    """Which machine a host is: its UUID and its own name, as its libvirtd has them. A UUID may be that of another host too."""

    uuid: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.uuid})"


def identity_in_lab(role: str, position: int, address: str) -> GuestIdentity:
    """The guest of this role in any lab, at this position in the lab's network.

    It is the same in every lab, so that labs share saved states (libvirt restores a state under its own name, UUID and MAC only).
    Nobody else is on a lab's libvirtds and network: they are namespaces that the lab has made, and one command at a time holds
    the lab's ledger.
    """
    number = uuid.uuid5(uuid.NAMESPACE_OID, f"whimbrel {role}")
    return GuestIdentity(role, str(number), _mac_in_lab(2 if position == _FIRST_CONTAINER else 0, position), address)


def mac_of_container(guest_mac: str) -> str:
    """The MAC of the container that has a lab guest's address: of its own, and the same on every host that it moves between."""
    position = int(guest_mac.rpartition(":")[2], 16)
    return FIRST_CONTAINER_MAC if position == FIRST_GUEST else _mac_in_lab(1, position)


def _mac_in_lab(kind: int, position: int) -> str:
    return f"{_MAC_PREFIX}:77:{kind:02x}:{position:02x}"


# As it is in saved states.
FIRST_CONTAINER_MAC = _mac_in_lab(0, _FIRST_CONTAINER)


def identity_before_names(address: str) -> GuestIdentity:
    """What each VM was called, on hosts of all kinds, by a whimbrel that may have deployed one before guests had names."""
    return identity_in_lab("guest", FIRST_GUEST, address)


@dataclass(frozen=True)
class Owner:
    """Whoever puts guests on hosts that others use too: one installation of whimbrel, and one site of it."""

    installation: uuid.UUID
    site: str

    @property
    def label(self) -> str:
        """What the names of all that we put on the hosts begin with: ``whimbrel-SITE-1a2b3c4d``."""
        return f"whimbrel-{self.site}-{self.installation.hex[:8]}"

    def identity(self, role: str, address: str) -> GuestIdentity:
        """The guest of this role: always the same one for this owner, and another one for every other owner."""
        number = uuid.uuid5(self.installation, f"{self.site} {role}")
        last = ":".join(f"{byte:02x}" for byte in number.bytes[-3:])
        return GuestIdentity(f"{self.label}-{role}", str(number), f"{_MAC_PREFIX}:{last}", address)
