"""A lab: servers, a fabric that joins them, and a vantage; all or nothing."""

from __future__ import annotations

import ipaddress
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.hosts.host import Host, SamplePoints
from whimbrel.hosts.identity import GuestIdentity, identity_in_lab
from whimbrel.hosts.site import Accelerator
from whimbrel.images.store import ImageStore
from whimbrel.lab.accelerator import choose_accelerator
from whimbrel.lab.cell import LabCell
from whimbrel.lab.cpu_split import describe, split_as_asked
from whimbrel.lab.own_disk import LabOwnDisk
from whimbrel.lab.server import Server, ServerPlace
from whimbrel.spec.fields import HostName
from whimbrel.spec.lab import LabSpec, MigrationLinkSpec, ServerSpec, VantageSpec
from whimbrel.system import cgroups, links, netns
from whimbrel.system.certificates import Authority
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.ledger import PROBE_S, Ledger, all_ledgers
from whimbrel.system.places import home, make_private
from whimbrel.system.provenance import machine as machine_facts
from whimbrel.system.root import need_root
from whimbrel.system.standby_memory import StandbyMemory
from whimbrel.system.topology import cores_of
from whimbrel.units import format_bytes

_LEDGER_PREFIX = "lab-"
_BRIDGE = "sw0"
_GUEST_BRIDGE = "br0"
_MIGRATION_BRIDGE = "sw1"
# Positions in the lab's network: the vantage, the first server, and the first guest, which its carriers follow.
_VANTAGE, _SERVERS, _GUESTS = 1, 2, 100
# From one guest to the next.
_GROUP = 10


def ledger_of(name: str, patience_s: float = PROBE_S) -> Ledger:
    """The ledger of the lab of this name; whoever enters it waits so long for another one who has it."""
    return Ledger(f"{_LEDGER_PREFIX}{name}", patience_s)


def all_labs() -> Iterator[tuple[str, Ledger]]:
    """Every lab that has something on this machine, by name."""
    for ledger in all_ledgers():
        if ledger.name.startswith(_LEDGER_PREFIX):
            yield ledger.name.removeprefix(_LEDGER_PREFIX), ledger


class LabVantage:
    """A client network of the lab. Implements ``hosts.host.Vantage``."""

    def __init__(self, netns_name: str, cgroup: Cgroup) -> None:
        self._netns = netns_name
        self._cgroup = cgroup

    def command(self, argv: Sequence[str]) -> Sequence[str]:
        """The command that runs ``argv`` in the client network."""
        return [*netns.inside(self._netns), *argv]

    def sample_points(self) -> SamplePoints | None:
        """Where the host sampler looks; it runs in this network itself."""
        return SamplePoints(host="vantage", cgroup=self._cgroup.name, init_pid=None)

    @property
    def procs_files(self) -> Sequence[Path]:
        """What a process writes itself into to be counted here."""
        return self._cgroup.procs_files


class LabFiles:
    """The folder that all servers see, and the store of images, which they see too. Implements ``hosts.site.GuestFiles``."""

    saving = "/srv/shared/memory.save"

    def __init__(self, guest: GuestIdentity, shared: Path, store: Path, server: Server) -> None:
        self.disk = f"/srv/shared/{guest.name}.qcow2"
        self._shared = shared
        self._store = store
        self._server = server

    def image(self, file: Path) -> str:
        """The store is mounted in every server."""
        return f"/srv/images/{file.relative_to(self._store)}"

    def new_disk(self, backing: Path, backing_format: str) -> None:
        """An empty disk over an image of the store."""
        self._server.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", backing_format, "-b", self.image(backing), self.disk])

    def put_disk(self, saved: Path) -> None:
        """A copy of a disk that was saved."""
        shutil.copyfile(saved, self._here(self.disk))

    def take(self, memory: Path, disk: Path) -> None:
        """What was saved, and the disk."""
        shutil.move(self._here(self.saving), memory)
        self.take_disk(disk)

    def take_disk(self, disk: Path) -> None:
        """Moves the guest's disk into a file here."""
        shutil.move(self._here(self.disk), disk)

    def _here(self, path: str) -> Path:
        return self._shared / Path(path).name


class Lab:
    """The servers and the vantage of a lab that is up. Implements ``hosts.site.Site``.

    ``number`` says which of the lab's guests is meant, from 1: each has a name, a UUID and addresses of its own.
    """

    bridge = _GUEST_BRIDGE
    # As the servers' tree has it.
    emulator = "/usr/bin/qemu-system-x86_64"
    # All servers have one processor.
    cpu_model = None

    def __init__(self, spec: LabSpec, store: ImageStore, ledger: Ledger, number: int = 1) -> None:
        self.spec = spec
        self.name = spec.name
        self.store = store
        self.ledger = ledger
        self.folder = home() / "labs" / spec.name
        self.shared = self.folder / "shared"
        self._number = number
        self.guest = self._identity("guest", 0)
        self.gateway_address = spec.address(_VANTAGE)
        tree = store.server_tree(spec.suite)
        self._positions = {name: position for position, name in enumerate(spec.servers)}
        self._cores = cores_of(cgroups.machine_cpus())
        self._cpus = split_as_asked(self._cores, {name: asked.cpus for name, asked in spec.servers.items()})
        self.hosts = {name: self._server(name, asked, tree, self._cpus[name]) for name, asked in spec.servers.items()}
        self.instruments = Cgroup(f"{spec.name}/instruments")
        self._vantage_cpus = spec.vantage.cpus or tuple(cgroups.machine_cpus())
        self._vantage_cgroup = Cgroup(f"{spec.name}/vantage")
        self.authority = Authority(self.folder / "ca")
        self.standby_memory = StandbyMemory()
        self.vantage = LabVantage(self._netns("vantage"), self._vantage_cgroup)

    @property
    def guests(self) -> Sequence[GuestIdentity]:
        """The guest, and all carriers, one of which has its address in it."""
        return [self.guest, *map(self.carrier, self.hosts)]

    def carrier(self, host: HostName) -> GuestIdentity:
        """The carrier on a server, named by its place in the file: whatever servers are called, labs share saved states."""
        position = self._positions[host]
        return self._identity(f"carrier-{'abcdefgh'[position]}", 1 + position)

    def _identity(self, role: str, position: int) -> GuestIdentity:
        """Of the guest, or of what belongs to it, by its position in the guest's addresses; UsageError when they are used up."""
        at = _GUESTS + _GROUP * (self._number - 1) + position
        if at + 1 >= ipaddress.ip_network(self.spec.network).num_addresses:
            raise UsageError(
                f"the network {self.spec.network} of the lab {self.name!r} has no address for one more guest",
                resolution="'whimbrel undeploy' one, or give 'lab.network' more addresses, such as 10.77.0.0/24",
            )
        return identity_in_lab(role if self._number == 1 else f"{role}-{self._number}", at, self.spec.address(at))

    def open_cell(self, host: Host) -> LabCell:
        """A cell of the server."""
        return LabCell.open(self.hosts[host.name])

    @property
    def prefix_length(self) -> int:
        """The length of the prefix of the lab's network."""
        return self.spec.prefix_length

    @property
    def platform(self) -> str:
        """The server's tree: QEMU and libvirt are in it."""
        return self._first.place.tree.parent.name

    @property
    def instruments_procs(self) -> Sequence[Path]:
        """The files of the instruments' control group."""
        return self.instruments.procs_files

    def files_of(self, guest: GuestIdentity) -> LabFiles:
        """The files of this VM."""
        return LabFiles(guest, self.shared, self.store.folder, self._first)

    def own_disk(self, guest: GuestIdentity, host: Host) -> LabOwnDisk:
        """The guest's disk in the folder that only this server sees."""
        return LabOwnDisk(guest, self.hosts[host.name])

    @property
    def _first(self) -> Server:
        return next(iter(self.hosts.values()))

    def accelerator(self, kernel_folder: Path) -> Accelerator:
        """KVM when this kernel boots in it on the first server."""
        return choose_accelerator(self._first, kernel_folder)

    def _netns(self, member: str) -> str:
        return f"whimbrel-{self.spec.name}-{member}"

    def _address_of(self, server: HostName) -> str:
        return self.spec.address(_SERVERS + self._positions[server])

    def _server(self, name: HostName, asked: ServerSpec, tree: Path, cpus: tuple[int, ...]) -> Server:
        spec = self.spec
        return Server(
            ServerPlace(
                name=name,
                address=self._address_of(name),
                neighbours={other: self._address_of(other) for other in spec.servers},
                memory_bytes=asked.memory_bytes,
                cpus=cpus,
                netns=self._netns(name),
                cgroup=f"{spec.name}/server-{name}",
                tree=tree,
                folder=self.folder / name,
                images=self.store.folder,
                shared=self.shared,
                tls=spec.tls,
                move_address=self._move_address(name),
            )
        )

    def _move_address(self, server: HostName) -> str:
        link = self.spec.migration_link
        if link is None:
            return self._address_of(server)
        return str(ipaddress.ip_network(link.network)[_SERVERS + self._positions[server]])

    def up(self) -> None:
        """Makes the lab; on any failure what was made is removed again."""
        self._check_machine()
        try:
            self._make_folders()
            self._make_network()
            self._make_group(self.instruments, cgroups.machine_cpus())
            self._make_group(self._vantage_cgroup, self._vantage_cpus)
            for server in self.hosts.values():
                self.ledger.add("cgroup", server.place.cgroup)
                server.start()
        except BaseException:
            self.ledger.undo_all()
            raise

    def shape_links(self, rate_bytes_per_s: float) -> None:
        """Gives each server's link this rate, each way, from now on."""
        for member in self.hosts:
            links.shape(self._netns("fabric"), f"to-{member}", rate_bytes_per_s)
            links.shape(self._netns(member), "eth0", rate_bytes_per_s)

    def mend(self) -> list[str]:
        """Starts each server that has died again; returns their names."""
        dead = [server for server in self.hosts.values() if server.gone]
        for server in dead:
            server.start()
        return [server.name for server in dead]

    def down(self) -> None:
        """Removes everything the ledger lists."""
        self.standby_memory.release()
        self.ledger.undo_all()

    def _check_machine(self) -> None:
        need_root("a lab")
        if self.ledger.entries:
            raise UsageError(
                f"the lab {self.spec.name!r} is already there", resolution="run 'whimbrel lab down', or 'whimbrel gc'"
            )
        memory_bytes = machine_facts().memory_bytes
        for name, server in self.spec.servers.items():
            if server.memory_bytes > memory_bytes:
                raise UsageError(
                    f"lab.servers.{name}.memory: {format_bytes(server.memory_bytes)} is more than this machine has"
                    f" ({format_bytes(memory_bytes)})"
                )
        machine = set(cgroups.machine_cpus())
        members: list[tuple[str, ServerSpec | VantageSpec]] = [
            *((f"servers.{name}", server) for name, server in self.spec.servers.items()), ("vantage", self.spec.vantage)
        ]  # fmt: skip
        for name, asked in members:
            absent = sorted(set(asked.cpus or ()) - machine)
            if absent:
                raise UsageError(f"lab.{name}.cpus: this machine has no CPU {absent[0]}; it has {sorted(machine)}")

    def _make_folders(self) -> None:
        self.ledger.add("folder", str(self.folder))
        make_private(self.folder.parent)
        make_private(self.folder)
        self.shared.mkdir()
        if self.spec.tls:
            self.authority.create()

    def _make_network(self) -> None:
        spec = self.spec
        members = ("fabric", *self.hosts, "vantage")
        for member in members:
            self.ledger.add("netns", self._netns(member))
            netns.create(self._netns(member))
        fabric = self._netns("fabric")
        links.add_bridge(fabric, _BRIDGE)
        for member in members[1:]:
            links.add_veth(fabric, f"to-{member}", self._netns(member), "eth0")
            links.join_bridge(fabric, f"to-{member}", _BRIDGE)
            is_vantage = member == "vantage"
            rate = spec.vantage.link_rate_bytes_per_s if is_vantage else spec.link_rate_bytes_per_s
            links.shape(fabric, f"to-{member}", rate)
            links.shape(self._netns(member), "eth0", rate)
            if is_vantage:
                links.add_address(self._netns(member), "eth0", self.gateway_address, spec.prefix_length)
            else:
                self._spoil(fabric, member)
                self._bridge_guests(member)
        if spec.migration_link is not None:
            self._make_migration_link(fabric, spec.migration_link)

    def _spoil(self, fabric: str, member: str) -> None:
        """Delay and loss of a server's link, each way."""
        for netns_name, link in ((fabric, f"to-{member}"), (self._netns(member), "eth0")):
            if self.spec.link_delay_s:
                links.add_delay(netns_name, link, self.spec.link_delay_s)
        if self.spec.link_loss:
            # Arriving at the server, and arriving from it at the switch.
            links.add_loss(self._netns(member), "eth0", self.spec.link_loss)
            links.add_loss(fabric, f"to-{member}", self.spec.link_loss)

    def _make_migration_link(self, fabric: str, link: MigrationLinkSpec) -> None:
        links.add_bridge(fabric, _MIGRATION_BRIDGE)
        network = ipaddress.ip_network(link.network)
        for member in self.hosts:
            links.add_veth(fabric, f"mv-{member}", self._netns(member), "eth1")
            links.join_bridge(fabric, f"mv-{member}", _MIGRATION_BRIDGE)
            links.shape(fabric, f"mv-{member}", link.link_rate_bytes_per_s)
            links.shape(self._netns(member), "eth1", link.link_rate_bytes_per_s)
            links.add_address(self._netns(member), "eth1", self._move_address(member), network.prefixlen)

    def _bridge_guests(self, member: str) -> None:
        """A server's own address is on the bridge that its guests join, so both share the server's link."""
        name = self._netns(member)
        links.add_bridge(name, _GUEST_BRIDGE)
        links.join_bridge(name, "eth0", _GUEST_BRIDGE)
        links.add_address(name, _GUEST_BRIDGE, self._address_of(member), self.spec.prefix_length)

    @property
    def cpu_placement(self) -> dict[str, list[int]]:
        """Which of the machine's CPUs each member may use."""
        servers = {name: list(server.place.cpus) for name, server in self.hosts.items()}
        return {**servers, "vantage": list(self._vantage_cpus)}

    @property
    def cpu_split(self) -> str:
        """How the servers' CPUs stand to each other."""
        return describe(self._cpus, self._cores)

    def _make_group(self, group: Cgroup, cpus: Sequence[int]) -> None:
        self.ledger.add("cgroup", group.name)
        group.create(cpus=cpus, memory_bytes=None)
