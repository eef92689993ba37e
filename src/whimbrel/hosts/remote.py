"""Hosts that somebody else runs: all we have of each is its libvirt and its address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from whimbrel.engines.capabilities import machine_of
from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.libvirt_storage import folder_at
from whimbrel.errors import UsageError
from whimbrel.hosts.by_uri import UriHost
from whimbrel.hosts.claims import Claims
from whimbrel.hosts.host import Capacity, Host, SamplePoints
from whimbrel.hosts.identity import GuestIdentity, Owner
from whimbrel.hosts.one_host import refuse_hosts_that_are_one
from whimbrel.hosts.processors import need_processors
from whimbrel.hosts.remote_files import RemoteFiles, SharedStorage
from whimbrel.hosts.site import Accelerator, guests_of
from whimbrel.images.recipes import content_hash
from whimbrel.images.store import ImageStore
from whimbrel.spec.fields import HostName
from whimbrel.spec.hosts import HostsSpec, RemoteHostSpec
from whimbrel.system.capabilities import Finding, attempt
from whimbrel.system.installation import installation_id
from whimbrel.system.ledger import Ledger, register_undo
from whimbrel.units import format_bytes

_LEDGER_PREFIX = "hosts-"


def hosts_ledger(name: str) -> Ledger:
    """The ledger of what we put on the hosts of this name."""
    return Ledger(f"{_LEDGER_PREFIX}{name}")


def owner_of(spec: HostsSpec) -> Owner:
    """Whoever puts guests on these hosts from here."""
    return Owner(installation_id(), spec.name)


class RemoteHost(UriHost):
    """A host that a file names, with the storage that it shares with others."""

    def __init__(self, name: str, spec: RemoteHostSpec, storage: str, label: str) -> None:
        super().__init__(name, spec.libvirt, spec.address, spec.peer_libvirt, spec.certificate_name)
        self._storage = storage
        self._label = label

    def capacity(self) -> Capacity:
        """Its memory, and what is free in the shared storage."""
        with folder_at(self.libvirt_uri, self._storage, self._label) as storage:
            return replace(super().capacity(), disk_bytes=storage.free_bytes())


class Here:
    """This machine as the vantage. Implements ``hosts.host.Vantage``."""

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """The command as it is, since we are the vantage."""
        return argv

    def sample_points(self) -> SamplePoints | None:
        """It is not set apart from everything else that runs here."""
        return None

    @property
    def procs_files(self) -> Sequence[Path]:
        """There are none: viewers are in no control group of their own."""
        return ()


class RemoteNetwork:
    """The network of the one guest that the file gives an address. Implements ``hosts.site.GuestNetwork``."""

    # The file gives them no addresses.
    carriers: Mapping[HostName, GuestIdentity] = {}

    def __init__(self, spec: HostsSpec) -> None:
        self.bridge = spec.bridge
        self.prefix_length = int(spec.guest_address.partition("/")[2])
        self.vantage = Here()
        self._rate_bytes_per_s = spec.link_rate_bytes_per_s

    def shape_links(self, rate_bytes_per_s: float) -> None:
        """Links of others have the rate they have."""
        if rate_bytes_per_s != self._rate_bytes_per_s:
            raise UsageError("the links between these hosts are not ours to shape", resolution="leave out lab.link_rate")


class RemoteStorage:
    """The images on this machine, and the folder that the hosts share. Implements ``hosts.site.Files``."""

    def __init__(self, store: ImageStore, storage: SharedStorage) -> None:
        self.store = store
        self._storage = storage
        self._sent: set[str] = set()

    def of(self, guest: GuestIdentity) -> RemoteFiles:
        """The files of this VM."""
        return RemoteFiles(guest, self._storage, self._sent)

    def own_disk(self, guest: GuestIdentity, host: Host) -> None:
        """None: the file names one folder, which they share."""
        return


class RemotePlatform:
    """What the first host's libvirt says. Implements ``hosts.site.Platform``."""

    def __init__(self, spec: HostsSpec, first: RemoteHost) -> None:
        self.cpu_model = spec.cpu
        self._spec = spec
        self._first = first

    @cached_property
    def id(self) -> str:
        """Versions of libvirt and QEMU on the first host, and where its files lie."""
        with self._first.hypervisor() as connection:
            content = {**connection.versions(), "storage": self._spec.storage, "name": self._spec.name}
        return f"hosts-{content_hash(content)}"

    @cached_property
    def emulator(self) -> str:
        """The emulator that the first host has."""
        with self._first.hypervisor() as connection:
            return machine_of(connection, self._spec.accelerator).emulator

    def accelerator(self, kernel_folder: Path) -> Accelerator:
        """The accelerator that the file names."""
        return self._spec.accelerator


class NoAccounting:
    """Guests do not run here, and which CPUs a host uses is its owner's business. Implements ``hosts.site.Accounting``."""

    standby_memory = None
    instruments_procs: Sequence[Path] = ()
    cpu_split = None

    @property
    def cpu_placement(self) -> dict[str, list[int]]:
        """It is unknown for every member."""
        return {}


class RemoteSite:
    """Hosts of somebody else's. Implements ``hosts.site.Site``.

    All that ``owner`` puts there has names of its own. ``take_over`` takes the hosts from an owner whose claim is left there.
    """

    # libvirt opens no door to a host itself.
    cells = None

    def __init__(self, spec: HostsSpec, store: ImageStore, ledger: Ledger, owner: Owner, take_over: bool = False) -> None:
        self.spec = spec
        self.ledger = ledger
        self.hosts = _hosts(spec, owner.label)
        self.guest = owner.identity("guest", spec.guest_address.partition("/")[0])
        self._storage = SharedStorage(spec, ledger, owner.label)
        self.network = RemoteNetwork(spec)
        self.files = RemoteStorage(store, self._storage)
        self.platform = RemotePlatform(spec, next(iter(self.hosts.values())))
        self.accounting = NoAccounting()
        self._take_over = take_over

    def up(self) -> None:
        """Looks whether the hosts can be used; what is put on them later is in the ledger."""
        if self.ledger.entries:
            removes = "'whimbrel undeploy' ends it" if self.ledger.kept else "'whimbrel gc' removes it"
            raise UsageError(f"something of ours is still on the hosts {self.spec.name!r}", resolution=removes)
        refuse_hosts_that_are_one(self.hosts.values())
        need_processors(self.spec)
        prove_shared_storage(self.spec, self._storage)
        try:
            guests = guests_of(self)
            Claims(self.spec, self._storage, self.ledger).take(guests, self._take_over)
            list_guests({host.name: host.libvirt_uri for host in self.hosts.values()}, guests, self.ledger)
        except BaseException:
            self.ledger.undo_all()
            raise

    def down(self) -> None:
        """Removes everything that we put on the hosts."""
        self.ledger.undo_all()

    def mend(self) -> list[str]:
        """Hosts of somebody else's are not ours to start."""
        return []


def list_guests(uris: Mapping[HostName, str], guests: Sequence[GuestIdentity], ledger: Ledger) -> None:
    """Before the first is there; each may come to be on any of the hosts. From now on they are ours to end.

    UsageError when one is there already.
    """
    for name, uri in uris.items():
        with hypervisor_at(uri) as connection:
            for guest in guests:
                if connection.find(guest.uuid) is not None:
                    raise UsageError(
                        f"host {name} already has the guest {guest} (UUID {guest.uuid}), which is in no ledger",
                        resolution="find out who uses it, and have it ended",
                    )
        for guest in guests:
            ledger.add("domain", json.dumps({"uri": uri, "name": guest.name, "uuid": guest.uuid}))


def prove_shared_storage(spec: HostsSpec, storage: SharedStorage) -> None:
    """Makes a file through the first host and looks for it through the others; UsageError names one that does not see it."""
    name = f"{storage.label}-proof"
    first, *others = spec.servers
    with storage.opened() as by_first, storage.making(by_first, name):
        by_first.make_empty(name)
        for other in others:
            with folder_at(spec.servers[other].libvirt, spec.storage, storage.label) as by_other:
                if name not in by_other.names():
                    raise UsageError(
                        f"host {other} does not see what host {first} writes into {spec.storage}",
                        resolution="name a folder that all hosts share at the same path (NFS, GFS2, ...)",
                    )


def _hosts(spec: HostsSpec, label: str) -> dict[HostName, RemoteHost]:
    return {name: RemoteHost(name, host, spec.storage, label) for name, host in spec.servers.items()}


def _identities(hosts: Sequence[RemoteHost]) -> str:
    refuse_hosts_that_are_one(hosts)
    return ", ".join(f"{host.name} is {host.identity()}" for host in hosts)


def examine_hosts(spec: HostsSpec) -> list[Finding]:
    """Tries what a campaign needs of the hosts: their libvirt, its version, room, their storage, and whether they are in use."""
    findings = []
    label = owner_of(spec).label
    hosts = list(_hosts(spec, label).values())
    for host in hosts:
        findings.append(attempt(f"libvirt of host {host.name}", True, partial(_versions, host)))
        if findings[-1].works:
            findings.append(attempt(f"room on host {host.name}", True, partial(room_of, host)))
    if all(finding.works for finding in findings):
        findings.append(attempt("hosts apart", True, lambda: _identities(hosts)))
    if all(finding.works for finding in findings):
        findings.append(attempt("shared storage", True, lambda: _shared(spec)))
    if findings[-1].works:
        findings.append(attempt("use by others", True, lambda: _unused(spec)))
    findings += [Finding(what, False, False, why) for host in hosts for what, why in host.access.unmeasured.items()]
    return findings


def _versions(host: RemoteHost) -> str:
    with host.hypervisor() as connection:
        versions = connection.versions()
    return f"libvirt {versions['libvirt']}, QEMU {versions['qemu']}"


def room_of(host: RemoteHost) -> str:
    """What is free on it, in words."""
    room = host.capacity()
    sure = f" ({format_bytes(room.sure_memory_bytes)} for sure)" if room.sure_memory_bytes is not None else ""
    disk = "unknown room" if room.disk_bytes is None else format_bytes(room.disk_bytes)
    return f"{format_bytes(room.memory_bytes)} of memory{sure}, {disk} in the shared storage"


def _shared(spec: HostsSpec) -> str:
    with hosts_ledger(spec.name) as ledger:
        prove_shared_storage(spec, SharedStorage(spec, ledger, owner_of(spec).label))
    return f"what one writes into {spec.storage} the other sees"


def _unused(spec: HostsSpec) -> str:
    ledger = hosts_ledger(spec.name)
    return Claims(spec, SharedStorage(spec, ledger, owner_of(spec).label), ledger).examine()


def _end_guest(entry: str) -> None:
    known = json.loads(entry)
    with hypervisor_at(known["uri"]) as connection:
        found = connection.find(known["uuid"])
        if found is not None:
            found.destroy()
        # One that only names files to read was never started, and stays until it is forgotten.
        defined = connection.find(known["uuid"])
        if defined is not None:
            defined.undefine()


register_undo("domain", _end_guest)
