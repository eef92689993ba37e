"""What moves in a trial: a VM as a whole, or the container in one carrier VM to another. Brings it up, and knows where to ask."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import GuestError
from whimbrel.guests import carrier
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import Carrier
from whimbrel.guests.carrier_states import CarrierPair
from whimbrel.guests.forms import FORMS, Identity, wait_for_service
from whimbrel.guests.states import StateInfo
from whimbrel.hosts.host import Host, Place
from whimbrel.hosts.site import OwnDisk, Site
from whimbrel.migrate.technique import MoveRequest
from whimbrel.observe.host_clock import clock_of, clock_of_guest
from whimbrel.records.trial import HostClock, Plan
from whimbrel.spec.campaign import CampaignSpec
from whimbrel.spec.service import ServiceName

Start = StateInfo | CarrierPair


@dataclass(frozen=True)
class Setting:
    """A trial's site, arm and hosts."""

    site: Site
    spec: CampaignSpec
    plan: Plan
    source: Host
    destination: Host

    @property
    def service(self) -> ServiceName:
        """What is served."""
        return self.spec.find_arm(self.plan.arm)[0].service


class Subject(Protocol):
    """What moves."""

    @property
    def name(self) -> str:
        """What a place is asked for."""

    @property
    def places(self) -> tuple[Place, Place]:
        """Where a copy may be: source, destination."""

    def bring_up(self, holding: ExitStack) -> tuple[GuestAgent, float]:
        """Starts it on the source from its saved state; the agent of the VM there, and in how many seconds it started."""

    def agent_on(self, host: Host, holding: ExitStack) -> GuestAgent:
        """The agent of the VM that has it, or may have it, on a host."""

    def identity(self, agent: GuestAgent) -> Identity | None:
        """What tells this copy from every other; None where only the witness can tell."""

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """Whose stamps its events carry on a host, and how far those clocks are from ours."""

    def wait_until_it_serves(self, agent: GuestAgent) -> None:
        """Waits until it answers; GuestError when it does not."""

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """What is asked of the technique."""


class WholeVm:
    """The VM itself, with all that is in it. Implements ``Subject``."""

    name = the_guest.GUEST_NAME

    def __init__(self, setting: Setting, state: StateInfo) -> None:
        self._setting = setting
        self._state = state
        self.places = (setting.source, setting.destination)

    def bring_up(self, holding: ExitStack) -> tuple[GuestAgent, float]:
        """Restores it on the source."""
        connection = holding.enter_context(Connection.open(self._setting.source.libvirt_uri))
        own: OwnDisk | None = None
        if self._setting.spec.migration.storage != "shared":
            own, left_over = self._disks()
            # Of an earlier guest.
            left_over.remove()
        return the_guest.restore(self._setting.site, connection, self._state.folder, own=own)

    def _disks(self) -> tuple[OwnDisk, OwnDisk]:
        return the_guest.own_disks(self._setting.site, self._setting.source, self._setting.destination)

    def agent_on(self, host: Host, holding: ExitStack) -> GuestAgent:
        """The guest's agent."""
        return _agent_on(host, holding)

    def identity(self, agent: GuestAgent) -> Identity | None:
        """Its boot, and its container's where there is one."""
        return FORMS["vm" if self._setting.service == "none" else self._setting.plan.form].identity(agent)

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """The host's: QEMU stamps by it."""
        return {host.name: clock_of(host, self.name)}

    def wait_until_it_serves(self, agent: GuestAgent) -> None:
        """As its viewers will ask."""
        wait_for_service(agent, self._setting.service)

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """All of its memory and disk."""
        request = _request(self._setting, self.name, None, after_boot)
        return request if self._setting.spec.migration.storage == "shared" else replace(request, disks=self._disks())


class InnerContainer:
    """The container, between two carriers that stay where they are. Implements ``Subject``."""

    name = carrier.CONTAINER

    def __init__(self, setting: Setting, states: CarrierPair) -> None:
        self._setting = setting
        self._states = states
        self._carriers: tuple[Carrier, Carrier] | None = None

    @property
    def places(self) -> tuple[Carrier, Carrier]:
        """Both carriers, once they are up."""
        if self._carriers is None:
            raise GuestError("the carriers are not up")
        return self._carriers

    def bring_up(self, holding: ExitStack) -> tuple[GuestAgent, float]:
        """Restores both carriers, the one that waits first."""
        found = []
        took_s = 0.0
        for host, state in (
            (self._setting.destination, self._states.waiting),
            (self._setting.source, self._states.serving),
        ):
            connection = holding.enter_context(Connection.open(host.libvirt_uri))
            agent, took_s = the_guest.restore(self._setting.site, connection, state.folder, state.berth.disk)
            found.append(Carrier(host, agent, state.berth.address))
        self._carriers = (found[1], found[0])
        carrier.announce(found[1].agent)
        return found[1].agent, took_s

    def agent_on(self, host: Host, holding: ExitStack) -> GuestAgent:
        """The carrier's agent."""
        return next(place for place in self.places if place.host is host).agent

    def identity(self, agent: GuestAgent) -> Identity | None:
        """It has another boot around it afterwards, and other process ids outside: the witness knows."""
        return None

    def clocks(self, host: Host) -> dict[str, HostClock]:
        """The carrier's own, besides the host's."""
        place = next(place for place in self.places if place.host is host)
        return {host.name: clock_of(host, the_guest.GUEST_NAME), f"carrier@{host.name}": clock_of_guest(place.agent, host.name)}

    def wait_until_it_serves(self, agent: GuestAgent) -> None:
        """In its own network."""
        carrier.wait_until_it_serves(agent)

    def request(self, after_boot: Callable[[GuestAgent], None]) -> MoveRequest:
        """Its memory is not known beforehand."""
        return _request(self._setting, self.name, self.places, after_boot)


def subject_of(setting: Setting, state: Start) -> Subject:
    """What this trial moves."""
    return WholeVm(setting, state) if isinstance(state, StateInfo) else InnerContainer(setting, state)


def _request(
    setting: Setting, what: str, carriers: tuple[Carrier, Carrier] | None, after_boot: Callable[[GuestAgent], None]
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


def _agent_on(host: Host, holding: ExitStack) -> GuestAgent:
    connection = holding.enter_context(Connection.open(host.libvirt_uri))
    domain = connection.find(the_guest.GUEST_NAME)
    if domain is None:
        raise GuestError(f"the guest is not on host {host.name}")
    return GuestAgent(domain)
