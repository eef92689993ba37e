"""A lab: servers, a fabric that joins them, and a vantage; all or nothing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.images.store import ImageStore
from whimbrel.lab.cell import LabCells
from whimbrel.lab.cpu_split import describe, split_as_asked
from whimbrel.lab.guest_files import LabStorage
from whimbrel.lab.guest_network import BRIDGE, LabNetwork, LabVantage, netns_of
from whimbrel.lab.platform import LabAccounting, LabPlatform
from whimbrel.lab.server import Server, ServerConfig
from whimbrel.spec.fields import HostName
from whimbrel.spec.lab import LabSpec, MigrationLinkSpec, ServerSpec, VantageSpec
from whimbrel.system import cgroups, links, netns
from whimbrel.system.certificates import Authority
from whimbrel.system.cgroups import Cgroup
from whimbrel.system.folders import home, make_private
from whimbrel.system.ledger import PROBE_S, Ledger, all_ledgers
from whimbrel.system.provenance import machine as machine_facts
from whimbrel.system.root import need_root
from whimbrel.system.topology import cores_of
from whimbrel.units import format_bytes

_LEDGER_PREFIX = "lab-"
_BRIDGE = "sw0"
_MIGRATION_BRIDGE = "sw1"
# Positions in the lab's network: the vantage, and the first server.
_VANTAGE, _SERVERS = 1, 2


def ledger_of(name: str, patience_s: float = PROBE_S) -> Ledger:
    """The ledger of the lab of this name; whoever enters it waits so long for another one who has it."""
    return Ledger(f"{_LEDGER_PREFIX}{name}", patience_s)


def all_labs() -> Iterator[tuple[str, Ledger]]:
    """Every lab that has something on this machine, by name."""
    for ledger in all_ledgers():
        if ledger.name.startswith(_LEDGER_PREFIX):
            yield ledger.name.removeprefix(_LEDGER_PREFIX), ledger


class Lab:
    """The servers and the vantage of a lab that is up. Implements ``hosts.site.Site``.

    ``number`` says which of the lab's guests is meant, from 1: each has a name, a UUID and addresses of its own.
    """

    def __init__(self, spec: LabSpec, store: ImageStore, ledger: Ledger, number: int = 1) -> None:
        self.spec = spec
        self.ledger = ledger
        self.folder = home() / "labs" / spec.name
        self.shared = self.folder / "shared"
        self.gateway_address = spec.address(_VANTAGE)
        tree = store.server_tree(spec.suite)
        self._positions = {name: position for position, name in enumerate(spec.servers)}
        cores = cores_of(cgroups.machine_cpus())
        cpus = split_as_asked(cores, {name: asked.cpus for name, asked in spec.servers.items()})
        self._images = store.folder
        self.hosts = {name: self._server(name, asked, tree, cpus[name]) for name, asked in spec.servers.items()}
        self.instruments = Cgroup(f"{spec.name}/instruments")
        self._vantage_cpus = spec.vantage.cpus or tuple(cgroups.machine_cpus())
        self._vantage_cgroup = Cgroup(f"{spec.name}/vantage")
        self.authority = Authority(self.folder / "ca")
        self.network = LabNetwork(spec, number, LabVantage(self._netns("vantage"), self._vantage_cgroup))
        self.guest = self.network.guest
        self.files = LabStorage(store, self.shared, self.hosts)
        self.platform = LabPlatform(next(iter(self.hosts.values())))
        placement = {name: list(server.config.cpus) for name, server in self.hosts.items()}
        placement["vantage"] = list(self._vantage_cpus)
        self.accounting = LabAccounting(self.instruments, placement, describe(cpus, cores))
        self.cells = LabCells(self.hosts, number)

    def _netns(self, member: str) -> str:
        return netns_of(self.spec, member)

    def _address_of(self, server: HostName) -> str:
        return self.spec.address(_SERVERS + self._positions[server])

    def _server(self, name: HostName, asked: ServerSpec, tree: Path, cpus: tuple[int, ...]) -> Server:
        spec = self.spec
        return Server(
            ServerConfig(
                name=name,
                address=self._address_of(name),
                neighbours={other: self._address_of(other) for other in spec.servers},
                memory_bytes=asked.memory_bytes,
                cpus=cpus,
                netns=self._netns(name),
                cgroup=f"{spec.name}/server-{name}",
                tree=tree,
                folder=self.folder / name,
                images=self._images,
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
                self.ledger.add("cgroup", server.config.cgroup)
                server.start()
        except BaseException:
            self.ledger.undo_all()
            raise

    def mend(self) -> list[str]:
        """Starts each server that has died again; returns their names."""
        dead = [server for server in self.hosts.values() if server.gone]
        for server in dead:
            server.start()
        return [server.name for server in dead]

    def down(self) -> None:
        """Removes everything the ledger lists."""
        self.accounting.standby_memory.release()
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
        links.add_bridge(name, BRIDGE)
        links.join_bridge(name, "eth0", BRIDGE)
        links.add_address(name, BRIDGE, self._address_of(member), self.spec.prefix_length)

    def _make_group(self, group: Cgroup, cpus: Sequence[int]) -> None:
        self.ledger.add("cgroup", group.name)
        group.create(cpus=cpus, memory_bytes=None)
