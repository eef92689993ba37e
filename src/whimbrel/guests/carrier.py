"""Carriers: between them a container moves. They are VMs; for a container on the servers themselves, cells (guests/in_cells.py).

The container has an address and a link of its own, which are there on both sides before it comes; only where the link joins
the carrier's bridge does anybody hear of it.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass

from whimbrel.errors import EngineError, GuestError
from whimbrel.guests.guest import WITNESS_PORT, memory_of
from whimbrel.guests.oci import MOST_OPEN_FILES, description
from whimbrel.guests.scripts import run_script
from whimbrel.hosts.host import GuestState, Host
from whimbrel.hosts.identity import GuestIdentity, mac_of_container
from whimbrel.hosts.inside import Cell, Inside
from whimbrel.services.own import launched
from whimbrel.services.service import Service, image_of

CONTAINER = "origin"
HOME = f"/srv/{CONTAINER}"
# Raised when what is made in a carrier changes: its saved states are then made anew.
MAKER_VERSION = 1
_WITNESS_PAGES = 256
_START_S = 60.0
CRIU_CONFIG = "/run/move/rpc.conf"
_AID = f"{HOME}/criu-aid.so"
_GROUPS = "/sys/fs/cgroup/whimbrel"


@dataclass(frozen=True)
class Carrier:
    """What may hold the container: the host it is on, its inside, and where another sends to. Implements ``hosts.host.Place``."""

    host: Host
    inside: Inside
    address: str

    @property
    def name(self) -> str:
        """The name of the host on which the carrier is."""
        return self.host.name

    @property
    def gone(self) -> bool:
        """Whether its host has died."""
        return self.host.gone

    def state_of(self, what: GuestIdentity) -> GuestState:
        """Says whether the container is there, and whether it is frozen."""
        try:
            said = self.inside.run(["cat", f"{_GROUPS}/{what.name}/cgroup.events"], check=False).split()
        except (GuestError, EngineError) as error:
            # A carrier that has ended holds nothing.
            if self.ended:
                return "absent"
            raise EngineError(f"the carrier on host {self.name} does not answer", details=str(error)) from error
        found = dict(zip(said[::2], said[1::2], strict=False))
        if found.get("populated") != "1":
            return "absent"
        return "stands still" if found.get("frozen") == "1" else "runs"

    @property
    def ended(self) -> bool:
        """Whether it runs no more, or its host has died; EngineError when the host does not say."""
        return self.gone


@dataclass(frozen=True)
class VmCarrier(Carrier):
    """A VM on a host."""

    vm: GuestIdentity

    @property
    def ended(self) -> bool:
        """Whether libvirt on the host says that the VM is gone."""
        return self.gone or self.host.state_of(self.vm) == "absent"


@dataclass(frozen=True)
class CellCarrier(Carrier):
    """A cell on a host, in a carrier's place."""

    cell: Cell

    @property
    def gone(self) -> bool:
        """Whether its host has died, or the cell alone."""
        return self.host.gone or self.cell.gone


@dataclass(frozen=True)
class Needs:
    """What a container takes of its carrier: its memory, and what it has written into files.

    ``memory_bytes`` is None where nothing counts it: a cell's groups freeze and end, and need not have the controller of memory.
    """

    memory_bytes: int | None
    files_bytes: int


def container_of(guest: GuestIdentity) -> GuestIdentity:
    """The container that has this guest's address, as its places and its network know it. No libvirt is asked for its UUID.

    Its MAC is the same on both sides, so that neighbours need learn nothing, and no other container's.
    """
    number = uuid.uuid5(uuid.NAMESPACE_OID, f"whimbrel {CONTAINER}")
    return GuestIdentity(CONTAINER, str(number), mac_of_container(guest.mac), guest.address)


def needs(inside: Inside) -> Needs:
    """What the container takes now, as its control group and its file system say."""
    memory, files = run_script(inside, "container_needs").split()
    return Needs(int(memory) if memory.isdecimal() else None, int(files))


def free_memory_bytes(inside: Inside) -> int:
    """What a carrier could still give: memory that is free, or page cache that it would give up."""
    return memory_of(inside).available_bytes


def unpack(inside: Inside) -> None:
    """Copies the container's root file system from the payload disk; this is done once, when the carriers' disk is made."""
    run_script(inside, "container_unpack", timeout_s=600)


def process_of(service: Service, begin: str = "") -> list[str]:
    """What runs in the container, as words: witness and service. ``begin`` is what a shell does first, if one starts it."""
    witness = f"witness {WITNESS_PORT} {_WITNESS_PAGES} /srv/witness"
    if image_of(service).launcher:
        return launched(service.command, witness)
    return ["/bin/sh", "-c", f"{begin}{witness} & exec {service.command}"]


def prepare(inside: Inside, service: Service, container: GuestIdentity, prefix_length: int, criu_aid: bytes) -> None:
    """Makes bridge, network and bundle, and everything warm that a move will need; the container's link joins nothing yet.

    ``criu_aid`` is the library for CRIU (images/programs/criu-aid.c).
    """
    inside.write(f"{_AID}.base64", base64.b64encode(criu_aid).decode())
    put_bundle(inside, service, settings_of(service, container, prefix_length, _AID))
    run_script(inside, "carrier_bridge", _AID, timeout_s=_START_S)
    make_network(inside)


def settings_of(service: Service, container: GuestIdentity, prefix_length: int, criu_aid: str) -> str:
    """The settings that a carrier's scripts read; ``criu_aid`` is where the library for CRIU lies."""
    ports = " ".join(map(str, service.ports)) or "none"
    # Containers on one server share its network. A name of a link has 15 characters at most (netdevice(7)).
    link = f"veth-{container.mac[-5:].replace(':', '')}"
    return (
        f"ADDRESS={container.address}/{prefix_length}\nMAC={container.mac}\nLINK={link}\nPORTS='{ports}'\n"
        f"export LD_PRELOAD={criu_aid}\n"
    )


def put_bundle(inside: Inside, service: Service, settings: str, begin: str = "", open_files: int = MOST_OPEN_FILES) -> None:
    """Writes what runc is to run, and ``settings`` (``settings_of``).

    ``begin`` is what the container's shell does before it starts the service.
    """
    config = description(CONTAINER, process_of(service, begin), f"/run/netns/{CONTAINER}", ["/srv/film"], CRIU_CONFIG, open_files)
    inside.write(f"{HOME}/bundle/config.json", json.dumps(config, indent=1))
    inside.write(f"{HOME}/place", settings)


def make_network(inside: Inside) -> None:
    """The container's own network, with the address that its settings name; it also warms up what a move will need."""
    run_script(inside, "container_network", timeout_s=_START_S)


def start(inside: Inside) -> None:
    """Runs the container here, joins its link, and waits until it answers."""
    run_script(inside, "container_start", WITNESS_PORT, timeout_s=2 * _START_S)


def versions(inside: Inside) -> dict[str, str]:
    """What moves the container, as the programs say it."""
    criu = inside.run(["criu", "--version"]).splitlines()[0].rpartition(" ")[2]
    runc = inside.run(["runc", "--version"]).splitlines()[0].rpartition(" ")[2]
    return {"kernel": inside.run(["uname", "-r"]).strip(), "criu": criu, "runc": runc}


def announce(inside: Inside, container: GuestIdentity) -> None:
    """Lets neighbours and switches learn on which side the container is; QEMU announces only the carrier itself."""
    inside.run(["ip", "-n", CONTAINER, "link", "set", "eth0", "address", container.mac])


def wait_until_it_serves(inside: Inside) -> None:
    """Waits until the container answers on this carrier the way its viewers will ask; GuestError when it does not."""
    run_script(inside, "container_wait", timeout_s=2 * _START_S)
