"""What runs already, found where it is: on each host there is a place where a copy of it may be."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.guests.carrier import CellCarrier, VmCarrier
from whimbrel.hosts.host import Host, Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Cell, NoCell, NothingInside
from whimbrel.hosts.site import Site, cells_of
from whimbrel.moves.fresh import carrier_in
from whimbrel.moves.subject import InnerContainer, OuterContainer, Setting, Subject, WholeVm
from whimbrel.spec.fields import HostName


def find_carriers(site: Site, vms: Mapping[HostName, GuestIdentity], holding: ExitStack) -> dict[HostName, VmCarrier]:
    """The carrier VM on each host, reached for as long as ``holding`` is open; one that has ended has nothing inside."""
    found = {}
    for host in site.hosts.values():
        vm = vms[host.name]
        guest = None if host.gone else holding.enter_context(host.hypervisor()).find(vm.uuid)
        inside = NothingInside(f"the carrier on host {host.name}") if guest is None else GuestAgent(guest)
        found[host.name] = VmCarrier(host, inside, vm.address, vm)
    return found


def find_cells(site: Site) -> dict[HostName, CellCarrier]:
    """The cell on each host; a host without one has nothing inside."""
    return {host.name: carrier_in(_cell(site, host), host) for host in site.hosts.values()}


def _cell(site: Site, host: Host) -> Cell:
    return (None if host.gone else cells_of(site).find(host)) or NoCell(f"the cell on host {host.name}")


def subject_found(setting: Setting, guest: GuestIdentity, places: Mapping[HostName, Place]) -> Subject:
    """What moves between the setting's hosts: the guest itself, or the container in the carriers that are its places."""
    source, destination = places[setting.plan.source], places[setting.plan.destination]
    if isinstance(source, VmCarrier) and isinstance(destination, VmCarrier):
        return InnerContainer(setting, (source, destination))
    if isinstance(source, CellCarrier) and isinstance(destination, CellCarrier):
        return OuterContainer(setting, (source, destination))
    return WholeVm(setting, guest)
