"""The container on the servers themselves: cells take the place of carrier VMs, and each trial starts it anew."""

from __future__ import annotations

import resource
from dataclasses import dataclass
from typing import Literal

from whimbrel.errors import GuestError
from whimbrel.guests import carrier
from whimbrel.guests.oci import MOST_OPEN_FILES
from whimbrel.guests.scripts import run_script
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Cell, Inside
from whimbrel.hosts.site import Site, cells_of, first_host
from whimbrel.services.service import Service, image_of
from whimbrel.spec.service import StreamSpec


@dataclass(frozen=True)
class ContainerParts:
    """What the container is made from: its root file system, its film, and the library for CRIU, where the hosts find them."""

    service: Service
    root: str
    film: str
    criu_aid: str


@dataclass(frozen=True)
class FreshContainer:
    """From what a trial of this form starts.

    A process of the host cannot be saved and restored as often as a VM can, so nothing is saved.
    """

    id: str
    parts: ContainerParts
    versions: dict[str, str]

    @property
    def accelerator(self) -> Literal["none"]:
        """It is ``none``: nothing is virtualised."""
        return "none"

    @property
    def disk_used_bytes(self) -> None:
        """It has no disk of its own."""

    @property
    def folder(self) -> None:
        """It is None: nothing is saved."""


def parts_of(site: Site, service: Service, stream: StreamSpec) -> ContainerParts:
    """What the container of this site, service and stream is made from."""
    store, files = site.files.store, site.files.of(site.guest)
    tree, film = store.container_tree(image_of(service)), store.film(stream.bitrate_bytes_per_s, stream.length_s)
    return ContainerParts(service, files.image(tree), files.image(film), files.image(store.criu_aid()))


def fresh_container(site: Site, service: Service, stream: StreamSpec) -> FreshContainer:
    """The container of this site and stream; CapabilityError or UsageError when its hosts have no room for one."""
    parts = parts_of(site, service, stream)
    tree = site.files.store.container_tree(image_of(service))
    cell = cells_of(site).open(first_host(site))
    try:
        versions = carrier.versions(cell)
    finally:
        cell.close()
    return FreshContainer(f"fresh-{tree.parent.name}", parts, versions)


def prepare(cell: Cell, parts: ContainerParts, container: GuestIdentity, prefix_length: int) -> None:
    """Makes everything that the container needs in a cell, and warm what a move needs; nothing runs yet."""
    run_script(cell, "container_lies_in", parts.root, parts.film)
    settings = carrier.settings_of(parts.service, container, prefix_length, parts.criu_aid)
    # Without CAP_SYS_RESOURCE CRIU may ask for the limits of its own user's processes only (prlimit(2)): all of it is root's.
    carrier.put_bundle(cell, parts.service, settings, parts.service.before_as_root, open_files())
    carrier.make_network(cell)


def open_files() -> int:
    """As many as in a VM, where that is not more than root may have here."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, most)


def memory_bytes(inside: Inside) -> int:
    """What its processes take, each page shared among those that share it (proc_pid_smaps(5), ``Pss``).

    GuestError when no process of it can be read: that is not 0.
    """
    said = run_script(inside, "container_memory")
    shares = [int(line.split()[1]) * 1024 for line in said.splitlines() if line.startswith("Pss:")]
    if not shares:
        raise GuestError("the container's memory cannot be read: its control group names no process that says so")
    return sum(shares)
