"""What moves in a trial: a VM as a whole, the container in one carrier VM to another, or one on the servers themselves.

Brings it up, knows where to ask, and takes it away again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import GuestError, WhimbrelError
from whimbrel.guests import carrier, in_cells
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import Carrier, CellCarrier, VmCarrier
from whimbrel.guests.carrier_states import CarrierPair
from whimbrel.guests.forms import FORMS, Identity, wait_for_service
from whimbrel.guests.in_cells import FreshContainer
from whimbrel.guests.states import StateInfo
from whimbrel.hosts.host import Host, Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Cell, Inside
from whimbrel.hosts.site import OwnDisk, Site
from whimbrel.migrate.technique import MoveRequest
from whimbrel.observe.host_clock import clock_of, clock_of_guest
from whimbrel.records.trial import HostClock, Plan
from whimbrel.services.registry import service_of
from whimbrel.services.service import Service
from whimbrel.spec.campaign import CampaignSpec

log = logging.getLogger(__name__)

_C = TypeVar("_C", bound=Carrier)
Start = StateInfo | CarrierPair | FreshContainer


@dataclass(frozen=True)
class Setting:
    """A trial's site, arm and hosts; ``keep_when_it_crashes``: a VM that is to move and panics is left as it is then."""

    site: Site
    spec: CampaignSpec
    plan: Plan
    source: Host
    destination: Host
    keep_when_it_crashes: bool = False

    @property
    def service(self) -> Service:
        """The service of the arm, such as a stream."""
        return service_of(self.spec, self.plan.arm)


class Subject(Protocol):
    """What moves in a trial, and how it is put up and taken away."""

    @property
    def what(self) -> GuestIdentity:
        """Whose copies a place is asked about: a VM, or a container."""

    @property
    def vms(self) -> tuple[GuestIdentity, GuestIdentity] | None:
        """The VM whose events tell of the move, or that it is in, on source and destination; None where there is none."""

    @property
    def places(self) -> tuple[Place, Place]:
        """Where a copy may be: source, destination."""

    def bring_up(self, holding: ExitStack) -> tuple[Inside, float]:
        """Starts it on the source, from its saved state where it has one; what it is in, and how many seconds its start took."""

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """What has it, or may have it, on a host."""

    def identity(self, inside: Inside) -> Identity | None:
        """What tells this copy from every other; None where only the witness can tell."""

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """Bytes that it uses, and of page cache; None where that cannot be told apart."""

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """Whose stamps its events carry on a host, and how far those clocks are from ours."""

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until it answers; GuestError when it does not."""

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """What is asked of the technique."""

    def discard(self) -> None:
        """Ends it, wherever it is; a host that does not answer is told of, and what is on it goes with the lab."""


class WholeVm:
    """The VM itself, with all that is in it. Implements ``Subject``."""

    def __init__(self, setting: Setting, state: StateInfo) -> None:
        self.what = setting.site.guest
        self.vms = (self.what, self.what)
        self._setting = setting
        self._state = state
        self.places = (setting.source, setting.destination)

    def bring_up(self, holding: ExitStack) -> tuple[Inside, float]:
        """Restores the VM on the source."""
        connection = holding.enter_context(self._setting.source.hypervisor())
        own: OwnDisk | None = None
        if self._setting.spec.migration.storage != "shared":
            own, left_over = self._disks()
            # Of an earlier guest.
            left_over.remove()
        return the_guest.restore(
            self._setting.site, connection, self.what, self._state.folder, own, self._setting.keep_when_it_crashes
        )

    def _disks(self) -> tuple[OwnDisk, OwnDisk]:
        return the_guest.own_disks(self._setting.site, self.what, self._setting.source, self._setting.destination)

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """The guest, by its agent."""
        return the_guest.agent_on(host, self.what, holding)

    def identity(self, inside: Inside) -> Identity | None:
        """Its boot, and its container's where there is one."""
        return FORMS[self._setting.plan.form].identity(inside)

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """The memory that the guest says it uses, and its page cache."""
        return _memory_of_vm(inside)

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """The host's: QEMU stamps by it."""
        return clocks_of(host, self.what, is_carrier=False)

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until the VM answers in the way that viewers will ask."""
        wait_for_service(inside, self._setting.service)

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """All of its memory and disk."""
        request = _request(self._setting, self.what, None, after_boot)
        return request if self._setting.spec.migration.storage == "shared" else replace(request, disks=self._disks())

    def discard(self) -> None:
        """Destroys the VM on both hosts."""
        _take_power_away(self.places, self.vms)


class InnerContainer:
    """The container, between two carriers that stay where they are. Implements ``Subject``."""

    def __init__(self, setting: Setting, states: CarrierPair) -> None:
        self.what = carrier.container_at(setting.site.guest.address)
        self.vms = (states.serving.vm, states.waiting.vm)
        self._setting = setting
        self._states = states
        self._carriers: tuple[VmCarrier, VmCarrier] | None = None

    @property
    def places(self) -> tuple[VmCarrier, VmCarrier]:
        """Both carriers, once they are up."""
        if self._carriers is None:
            raise GuestError("the carriers are not up")
        return self._carriers

    def bring_up(self, holding: ExitStack) -> tuple[Inside, float]:
        """Restores both carriers, the one that waits first."""
        found = []
        took_s = 0.0
        for host, state in (
            (self._setting.destination, self._states.waiting),
            (self._setting.source, self._states.serving),
        ):
            connection = holding.enter_context(host.hypervisor())
            agent, took_s = the_guest.restore(self._setting.site, connection, state.vm, state.folder)
            found.append(VmCarrier(host, agent, state.vm.address, state.vm))
        self._carriers = (found[1], found[0])
        carrier.announce(found[1].inside)
        return found[1].inside, took_s

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """A way into the carrier on this host."""
        return _on(host, self.places).inside

    def identity(self, inside: Inside) -> Identity | None:
        """It is unknown: after a move the VM around the container is another one. The witness tells whether it is the same."""
        return None

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """The memory that the carrier VM says it uses, and its page cache."""
        return _memory_of_vm(inside)

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """The carrier's own, besides the host's."""
        return clocks_of(host, _on(host, self.places).vm, is_carrier=True)

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until the container answers in its own network."""
        carrier.wait_until_it_serves(inside)

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """Its memory is not known beforehand."""
        return _request(self._setting, self.what, self.places, after_boot)

    def discard(self) -> None:
        """Destroys both of the carriers."""
        _take_power_away((self._setting.source, self._setting.destination), self.vms)


class OuterContainer:
    """The container on the servers themselves, in a cell on each. Implements ``Subject``."""

    vms = None

    def __init__(self, setting: Setting, state: FreshContainer) -> None:
        self.what = carrier.container_at(setting.site.guest.address)
        self._setting = setting
        self._state = state
        self._cells: list[Cell] = []
        self._carriers: tuple[CellCarrier, CellCarrier] | None = None

    @property
    def places(self) -> tuple[CellCarrier, CellCarrier]:
        """Both cells, once they are there."""
        if self._carriers is None:
            raise GuestError("the cells are not there")
        return self._carriers

    def bring_up(self, holding: ExitStack) -> tuple[Inside, float]:
        """Makes both cells, and starts the container in the source's; it starts when runc is called, and ends when it answers."""
        self._carriers = (self._carrier(self._setting.source), self._carrier(self._setting.destination))
        cell = self._carriers[0].cell
        began_s = time.monotonic()
        carrier.start(cell)
        took_s = time.monotonic() - began_s
        carrier.announce(cell)
        return cell, took_s

    def _carrier(self, host: Host) -> CellCarrier:
        site = self._setting.site
        cell = site.open_cell(host)
        self._cells.append(cell)
        in_cells.prepare(cell, self._state, site.guest.address, site.prefix_length)
        # Its images take the way that a guest's memory takes.
        return CellCarrier(host, cell, urlsplit(host.move_uri).hostname or host.address, cell)

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """A way into the cell on this host."""
        return _on(host, self.places).inside

    def identity(self, inside: Inside) -> Identity | None:
        """It has other process ids outside afterwards: the witness knows."""
        return None

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """That of its processes; page cache is the server's."""
        return in_cells.memory_bytes(inside), None

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """The host's: the scripts of a move stamp by it."""
        return {host.name: clock_of(host, self.what)}

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until the container answers in its own network."""
        carrier.wait_until_it_serves(inside)

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """Its memory is not known beforehand."""
        return _request(self._setting, self.what, self.places, after_boot)

    def discard(self) -> None:
        """Ends both cells, with all that runs in them."""
        for cell in self._cells:
            try:
                cell.close()
            except (WhimbrelError, OSError) as error:
                log.warning("a container may still run: %s", error)
        self._cells.clear()


def subject_of(setting: Setting, state: Start) -> Subject:
    """What this trial moves."""
    if isinstance(state, StateInfo):
        return WholeVm(setting, state)
    return InnerContainer(setting, state) if isinstance(state, CarrierPair) else OuterContainer(setting, state)


def names_of(subject: Subject) -> set[str]:
    """Of the VMs that it is, or is in; libvirt says when they end."""
    return {vm.name for vm in subject.vms or ()}


def clocks_of(host: Host, vm: GuestIdentity, is_carrier: bool) -> dict[str, HostClock]:
    """How far a host's clock is from ours, and that of the carrier on it."""
    found = {host.name: clock_of(host, vm)}
    if is_carrier:
        with ExitStack() as holding:
            found[f"carrier@{host.name}"] = clock_of_guest(the_guest.agent_on(host, vm, holding), host.name)
    return found


def _on(host: Host, places: Sequence[_C]) -> _C:
    return next(place for place in places if place.host is host)


def _memory_of_vm(inside: Inside) -> tuple[int, int | None]:
    memory = the_guest.memory_of(inside)
    return memory.total_bytes - memory.available_bytes, memory.cached_bytes


def _take_power_away(hosts: Sequence[Host], guests: Sequence[GuestIdentity]) -> None:
    for host, guest in zip(hosts, guests, strict=True):
        try:
            the_guest.take_power_away(host, guest)
        except WhimbrelError as error:
            log.warning("the guest may still run on host %s: %s", host.name, error)


def _request(
    setting: Setting, what: GuestIdentity, carriers: tuple[Carrier, Carrier] | None, after_boot: Callable[[GuestAgent], None]
) -> MoveRequest:
    return MoveRequest(
        guest=what,
        source=setting.source,
        destination=setting.destination,
        memory_bytes=setting.spec.guest.memory_bytes,
        disk_bytes=setting.spec.guest.disk_bytes,
        spec=setting.spec.migration,
        carriers=carriers,
        after_boot=after_boot,
    )
