"""Hosts that somebody else runs: all we have of each is its libvirt and its address."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from whimbrel.engines.capabilities import machine_of
from whimbrel.engines.door import hypervisor_at
from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.engines.libvirt_storage import folder_at, pool
from whimbrel.errors import CapabilityError, UsageError
from whimbrel.hosts.claims import Claims
from whimbrel.hosts.host import Capacity, GuestState, Host, SamplePoints
from whimbrel.hosts.identity import GuestIdentity, HostIdentity, Owner
from whimbrel.hosts.inside import Cell
from whimbrel.hosts.one_host import refuse_hosts_that_are_one
from whimbrel.hosts.processors import need_processors
from whimbrel.hosts.remote_files import RemoteFiles, SharedStorage
from whimbrel.hosts.site import Accelerator, OwnDisk
from whimbrel.hosts.states import state_told_by
from whimbrel.images.recipes import content_hash
from whimbrel.images.store import ImageStore
from whimbrel.spec.fields import HostName
from whimbrel.spec.hosts import HostsSpec, RemoteHostSpec
from whimbrel.spec.libvirt_uri import is_address, split_libvirt_uri, without_asking
from whimbrel.system import memory
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


class RemoteHost:
    """A host known by its libvirt URI. Implements ``hosts.host.Host``."""

    def __init__(self, name: str, spec: RemoteHostSpec, storage: str, label: str) -> None:
        self.name = name
        self.address = spec.address
        self._spec = spec
        self._storage = storage
        self._label = label

    @property
    def libvirt_uri(self) -> str:
        """How we reach it."""
        return self._spec.libvirt

    def hypervisor(self) -> Hypervisor:
        """A connection to the hypervisor at its URI."""
        return hypervisor_at(self.libvirt_uri)

    @property
    def peer_uri(self) -> str:
        """How the other host reaches it: as we do, but with its own certificates and sockets; nobody can be asked there."""
        return without_asking(self._spec.peer_libvirt or urlunsplit(urlsplit(self._spec.libvirt)._replace(query="")))

    @property
    def move_uri(self) -> str:
        """Where a peer sends a guest's memory."""
        return f"tcp://[{self.address}]" if ":" in self.address else f"tcp://{self.address}"

    def identity(self) -> HostIdentity:
        """Which machine it is, as its libvirt says."""
        with self.hypervisor() as connection:
            return HostIdentity(*connection.host_identity())

    @property
    def certificate_name(self) -> str | None:
        """What the file says; else, for a host with an address only, the name by which its libvirt is reached over TLS.

        That name is in the certificate of its libvirt already, and QEMU's is usually the same. A name that only ssh knows is not.
        """
        if self._spec.certificate_name is not None or not is_address(self.address):
            return self._spec.certificate_name
        peer = split_libvirt_uri(self.peer_uri)
        return peer.host if peer.transport == "tls" and not is_address(peer.host) else None

    @property
    def gone(self) -> bool:
        """A host of somebody else's that does not answer may only be silent."""
        return False

    def state_of(self, what: GuestIdentity) -> GuestState:
        """What its libvirt says of the guest."""
        return state_told_by(self.hypervisor(), what)

    def capacity(self) -> Capacity:
        """Free memory as its libvirt says, or the kernel where it is this machine's, and what is free in the shared storage."""
        with self.hypervisor() as connection, pool(connection, self._storage, self._label) as storage:
            told, disk_bytes = connection.memory(), storage.free_bytes()
        if self._is_here and told.total_bytes == memory.total_bytes():
            return Capacity(memory.available_bytes(), disk_bytes)
        return Capacity(told.free_at_most_bytes, disk_bytes, told.free_for_sure_bytes)

    @property
    def _is_here(self) -> bool:
        """Whether its libvirtd is reached by a socket of this machine; another machine's may be passed on to one."""
        return split_libvirt_uri(self.libvirt_uri).local

    def sample_points(self) -> SamplePoints | None:
        """Its libvirt is all that can be asked."""
        return None

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """Raises CapabilityError: libvirt runs no commands."""
        raise CapabilityError(f"{argv[0]} cannot be run on host {self.name}, of which we have only the URI of its libvirt")

    def process_of(self, guest: GuestIdentity) -> int | None:
        """None: QEMU's process is on the host, not here."""
        return None

    @property
    def shares_our_clock(self) -> bool:
        """It is False: the host's clocks are its own."""
        return False

    @property
    def unmeasured(self) -> dict[str, str]:
        """What libvirt does not tell."""
        found = {
            f"network of host {self.name}": "libvirt tells the traffic of guests, not that of the host",
            f"console of the guest on host {self.name}": "it is written to a file on the host, which we cannot read",
        }
        if not self._is_here:
            # Where it is here the kernel says what is free.
            found[f"shared memory of host {self.name}"] = "libvirt counts it as page cache: what is free is an upper bound"
        return found

    def logs(self) -> dict[str, str]:
        """Says where the logs lie: on the host, where we cannot read them."""
        return {f"{self.name}-logs.log": f"the logs of {self.libvirt_uri} lie on the host: /var/log/libvirt\n"}


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


class RemoteSite:
    """Hosts of somebody else's. Implements ``hosts.site.Site``. Use ``up`` before anything else, and ``down`` at the end.

    All that ``owner`` puts there has names of its own. ``take_over`` takes the hosts from an owner whose claim is left there.
    """

    def __init__(self, spec: HostsSpec, store: ImageStore, ledger: Ledger, owner: Owner, take_over: bool = False) -> None:
        self.spec = spec
        self.name = spec.name
        self.store = store
        self.ledger = ledger
        # Guests do not run on this machine.
        self.standby_memory = None
        self.hosts = _hosts(spec, owner.label)
        self.vantage = Here()
        self._sent: set[str] = set()
        self.bridge = spec.bridge
        self.cpu_model = spec.cpu
        address, _, length = spec.guest_address.partition("/")
        self.prefix_length = int(length)
        self.guest = owner.identity("guest", address)
        self._storage = SharedStorage(spec, ledger, owner.label)
        self._take_over = take_over
        self._platform: str | None = None
        self._emulator: str | None = None

    def up(self) -> None:
        """Looks whether the hosts can be used; what is put on them later is in the ledger."""
        if self.ledger.entries:
            removes = "'whimbrel undeploy' ends it" if self.ledger.kept else "'whimbrel gc' removes it"
            raise UsageError(f"something of ours is still on the hosts {self.name!r}", resolution=removes)
        refuse_hosts_that_are_one(self.hosts.values())
        need_processors(self.spec)
        prove_shared_storage(self.spec, self._storage)
        try:
            Claims(self.spec, self._storage, self.ledger).take(self.guests, self._take_over)
            list_guests({host.name: host.libvirt_uri for host in self.hosts.values()}, self.guests, self.ledger)
        except BaseException:
            self.ledger.undo_all()
            raise

    def down(self) -> None:
        """Removes everything that we put on the hosts."""
        self.ledger.undo_all()

    @property
    def guests(self) -> Sequence[GuestIdentity]:
        """The one guest that the file gives an address."""
        return [self.guest]

    def carrier(self, host: HostName) -> GuestIdentity:
        """Carriers need addresses that the file does not give."""
        raise UsageError("containers do not move between hosts by URI yet", resolution="move the VM, or use a lab")

    def open_cell(self, host: Host) -> Cell:
        """libvirt opens no door to a host itself."""
        raise UsageError("containers do not move between hosts by URI yet", resolution="move the VM, or use a lab")

    @property
    def platform(self) -> str:
        """Versions of libvirt and QEMU on the first host, and where its files lie."""
        if self._platform is None:
            with next(iter(self.hosts.values())).hypervisor() as connection:
                content = {**connection.versions(), "storage": self.spec.storage, "name": self.name}
            self._platform = f"hosts-{content_hash(content)}"
        return self._platform

    @property
    def emulator(self) -> str:
        """The first host's own, as its libvirt says."""
        if self._emulator is None:
            with next(iter(self.hosts.values())).hypervisor() as connection:
                self._emulator = machine_of(connection, self.spec.accelerator).emulator
        return self._emulator

    @property
    def instruments_procs(self) -> Sequence[Path]:
        """There are none: instruments are not counted apart here."""
        return ()

    @property
    def cpu_placement(self) -> dict[str, list[int]]:
        """It is unknown: which CPUs a host uses is its owner's business."""
        return {}

    @property
    def cpu_split(self) -> None:
        """Each is a machine of its own."""
        return None

    def files_of(self, guest: GuestIdentity) -> RemoteFiles:
        """The files of this VM."""
        return RemoteFiles(guest, self._storage, self._sent)

    def own_disk(self, guest: GuestIdentity, host: Host) -> OwnDisk:
        """The file names one folder, which they share."""
        raise UsageError("hosts by URI have no storage of their own yet", resolution="leave 'migration.storage' at shared")

    def accelerator(self, kernel_folder: Path) -> Accelerator:
        """The accelerator that the file names."""
        return self.spec.accelerator

    def shape_links(self, rate_bytes_per_s: float) -> None:
        """Links of others have the rate they have."""
        if rate_bytes_per_s != self.spec.link_rate_bytes_per_s:
            raise UsageError("the links between these hosts are not ours to shape", resolution="leave out lab.link_rate")

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
    findings += [Finding(what, False, False, why) for host in hosts for what, why in host.unmeasured.items()]
    return findings


def _versions(host: RemoteHost) -> str:
    with host.hypervisor() as connection:
        versions = connection.versions()
    return f"libvirt {versions['libvirt']}, QEMU {versions['qemu']}"


def room_of(host: RemoteHost) -> str:
    """What is free on it, in words."""
    room = host.capacity()
    sure = f" ({format_bytes(room.sure_memory_bytes)} for sure)" if room.sure_memory_bytes is not None else ""
    return f"{format_bytes(room.memory_bytes)} of memory{sure}, {format_bytes(room.disk_bytes)} in the shared storage"


def _shared(spec: HostsSpec) -> str:
    with hosts_ledger(spec.name) as ledger:
        prove_shared_storage(spec, SharedStorage(spec, ledger, owner_of(spec).label))
    return f"what one writes into {spec.storage} the other sees"


def _unused(spec: HostsSpec) -> str:
    ledger = hosts_ledger(spec.name)
    return Claims(spec, SharedStorage(spec, ledger, owner_of(spec).label), ledger).examine()


def _end_domain(entry: str) -> None:
    known = json.loads(entry)
    with hypervisor_at(known["uri"]) as connection:
        domain = connection.find(known["uuid"])
        if domain is not None:
            domain.destroy()
        # One that only names files to read was never started, and stays until it is forgotten.
        defined = connection.find(known["uuid"])
        if defined is not None:
            defined.undefine()


register_undo("domain", _end_domain)
