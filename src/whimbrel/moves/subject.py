"""What moves: a VM as a whole, the container in one carrier VM to another, or one on the servers themselves.

A subject runs already, whether it was brought up for the move (moves/fresh.py) or found where it was (moves/found.py).
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.guests import carrier, in_cells
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import Carrier, CellCarrier, VmCarrier
from whimbrel.guests.forms import FORMS, Identity, start_again, wait_for_service
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Inside
from whimbrel.hosts.site import OwnDisk, Site
from whimbrel.migrate.technique import MoveRequest
from whimbrel.moves.movable import Movable
from whimbrel.records.trial import Plan
from whimbrel.services.registry import service_of
from whimbrel.services.service import Service
from whimbrel.spec.campaign import CampaignSpec


@dataclass(frozen=True)
class Setting:
    """A move's site, its file as it is in the move's arm, its plan, and its hosts."""

    site: Site
    spec: CampaignSpec
    plan: Plan

    @property
    def source(self) -> Host:
        """The host that it leaves."""
        return self.site.hosts[self.plan.source]

    @property
    def destination(self) -> Host:
        """The host that it goes to."""
        return self.site.hosts[self.plan.destination]

    @property
    def hosts(self) -> tuple[Host, Host]:
        """The source, then the destination."""
        return self.source, self.destination

    @property
    def service(self) -> Service:
        """The service of the arm, such as a stream."""
        return service_of(self.spec, self.plan.arm)

    def start_service_again(self, agent: GuestAgent) -> None:
        """Starts the service again after a boot of the guest."""
        start_again(agent, self.plan.form, self.service, self.spec.guest.dirtier, self.spec.observe.witness)


class Subject(Movable, Protocol):
    """What moves at a site of ours: it has an inside that can be asked."""

    @property
    def setting(self) -> Setting:
        """Between which hosts it moves, and how."""

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """What has it, or may have it, on a host."""

    def identity(self, inside: Inside) -> Identity | None:
        """What tells this copy from every other; None where only the witness can tell."""

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """Bytes that it uses, and of page cache; None where that cannot be told apart."""

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until it answers; GuestError when it does not."""


@dataclass(frozen=True)
class WholeVm:
    """The VM itself, with all that is in it. Implements ``Subject``."""

    setting: Setting
    what: GuestIdentity

    @property
    def vms(self) -> tuple[GuestIdentity, GuestIdentity]:
        """The same one on both."""
        return self.what, self.what

    @property
    def places(self) -> tuple[Host, Host]:
        """Both hosts, as they are."""
        return self.setting.hosts

    @property
    def request(self) -> MoveRequest:
        """All of its memory; and of its disk, where hosts do not share it."""
        setting = self.setting
        lies_shared = setting.spec.migration.storage == "shared"
        disks = None if lies_shared else the_guest.own_disks(setting.site, self.what, *setting.hosts)
        return _request(setting, self.what, disks=disks)

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """The guest itself, reached by its agent."""
        return the_guest.agent_on(host, self.what, holding)

    def identity(self, inside: Inside) -> Identity | None:
        """Its boot, and its container's where there is one."""
        return FORMS[self.setting.plan.form].identity(inside)

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """The memory that the guest says it uses, and its page cache."""
        return _memory_of_vm(inside)

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until it answers the way its viewers will ask."""
        wait_for_service(inside, self.setting.service)


@dataclass(frozen=True)
class _Container:
    """A container between carriers that stay where they are, source and destination."""

    setting: Setting
    places: tuple[Carrier, Carrier]

    @property
    def what(self) -> GuestIdentity:
        """The container, by its address."""
        return carrier.container_of(self.setting.site.guest)

    @property
    def request(self) -> MoveRequest:
        """The request for a move between carriers."""
        return _request(self.setting, self.what, carriers=self.places)

    def inside_on(self, host: Host, holding: ExitStack) -> Inside:
        """A way into the carrier on this host."""
        return next(place for place in self.places if place.name == host.name).inside

    def identity(self, inside: Inside) -> Identity | None:
        """It is unknown: after a move what is around the container is another one. The witness tells whether it is the same."""
        return None

    def wait_until_it_serves(self, inside: Inside) -> None:
        """Waits until the container answers in its own network."""
        carrier.wait_until_it_serves(inside)


@dataclass(frozen=True)
class InnerContainer(_Container):
    """The container in a VM, between two such carriers. Implements ``Subject``."""

    places: tuple[VmCarrier, VmCarrier]

    @property
    def vms(self) -> tuple[GuestIdentity, GuestIdentity]:
        """The carriers, source first."""
        return self.places[0].vm, self.places[1].vm

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """The memory that its VM says it uses."""
        return _memory_of_vm(inside)


@dataclass(frozen=True)
class OuterContainer(_Container):
    """The container on the servers themselves, in a cell on each. Implements ``Subject``."""

    places: tuple[CellCarrier, CellCarrier]

    @property
    def vms(self) -> None:
        """None: there is no VM."""
        return None

    def memory_at_rest(self, inside: Inside) -> tuple[int, int | None]:
        """The memory of its processes; page cache is the server's."""
        return in_cells.memory_bytes(inside), None


def _memory_of_vm(inside: Inside) -> tuple[int, int | None]:
    memory = the_guest.memory_of(inside)
    return memory.total_bytes - memory.available_bytes, memory.cached_bytes


def _request(
    setting: Setting,
    what: GuestIdentity,
    carriers: tuple[Carrier, Carrier] | None = None,
    disks: tuple[OwnDisk, OwnDisk] | None = None,
) -> MoveRequest:
    """What is asked of the technique to move this."""
    return MoveRequest(
        what=what,
        source=setting.source,
        destination=setting.destination,
        memory_bytes=setting.spec.guest.memory_bytes,
        disk_bytes=setting.spec.guest.disk_bytes,
        spec=setting.spec.migration,
        carriers=carriers,
        disks=disks,
        after_boot=setting.start_service_again,
    )
