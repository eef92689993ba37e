"""What is put up to be moved: from a saved state, or anew; it is taken away again after a trial, or left where it is deployed."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from whimbrel.errors import WhimbrelError
from whimbrel.guests import carrier, in_cells
from whimbrel.guests import guest as the_guest
from whimbrel.guests.carrier import CellCarrier, VmCarrier
from whimbrel.guests.carrier_states import CarrierPair, CarrierState
from whimbrel.guests.in_cells import ContainerParts, FreshContainer
from whimbrel.guests.states import StateInfo
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.inside import Cell, Inside
from whimbrel.hosts.site import OwnDisk, Site, cells_of
from whimbrel.moves.subject import InnerContainer, OuterContainer, Setting, Subject, WholeVm

log = logging.getLogger(__name__)

Start = StateInfo | CarrierPair | FreshContainer


@dataclass(frozen=True)
class BroughtUp:
    """What runs now: what it is in on the source, and how many seconds its start took."""

    subject: Subject
    inside: Inside
    took_s: float


class Fresh(Protocol):
    """What is not there yet, or runs no more."""

    @property
    def names(self) -> Collection[str]:
        """Of the VMs that it will be, or be in; libvirt says when they end."""

    def bring_up(self, holding: ExitStack) -> BroughtUp:
        """Starts it on the source, from its saved state where it has one; it is reached for as long as ``holding`` is open."""

    def discard(self) -> None:
        """Ends it, wherever it is; a host that does not answer is told of, and what is on it goes with the lab."""


class FreshVm:
    """A VM as a whole. Implements ``Fresh``. ``keep_when_it_crashes``: one that panics is left as it is then."""

    def __init__(self, setting: Setting, state: StateInfo, keep_when_it_crashes: bool) -> None:
        self._subject = WholeVm(setting, setting.site.guest)
        self.names = {self._subject.what.name}
        self._state = state
        self._keep_when_it_crashes = keep_when_it_crashes

    def bring_up(self, holding: ExitStack) -> BroughtUp:
        """Restores it on the source."""
        setting, guest = self._subject.setting, self._subject.what
        connection = holding.enter_context(setting.source.hypervisor())
        own: OwnDisk | None = None
        if setting.spec.migration.storage != "shared":
            own, left_over = the_guest.own_disks(setting.site, guest, *setting.hosts)
            # Of an earlier guest.
            left_over.remove()
        agent, took_s = the_guest.restore(
            setting.site, connection, guest, self._state.folder, own, self._keep_when_it_crashes
        )  # fmt: skip
        return BroughtUp(self._subject, agent, took_s)

    def discard(self) -> None:
        """Takes its power away."""
        for host in self._subject.places:
            _take_power_away(host, self._subject.what)


class FreshInnerContainer:
    """A container in a carrier VM, and the carrier that waits for it. Implements ``Fresh``."""

    def __init__(self, setting: Setting, states: CarrierPair) -> None:
        self._setting = setting
        self._states = states
        self.names = {states.serving.vm.name, states.waiting.vm.name}

    def bring_up(self, holding: ExitStack) -> BroughtUp:
        """Restores both carriers, the one that waits first."""
        setting = self._setting
        waiting, _ = self._restore(setting.destination, self._states.waiting, holding)
        serving, took_s = self._restore(setting.source, self._states.serving, holding)
        carrier.announce(serving.inside, carrier.container_of(setting.site.guest))
        return BroughtUp(InnerContainer(setting, (serving, waiting)), serving.inside, took_s)

    def _restore(self, host: Host, state: CarrierState, holding: ExitStack) -> tuple[VmCarrier, float]:
        connection = holding.enter_context(host.hypervisor())
        agent, took_s = the_guest.restore(self._setting.site, connection, state.vm, state.folder)
        return VmCarrier(host, agent, state.vm.address, state.vm), took_s

    def discard(self) -> None:
        """Takes both carriers' power away."""
        _take_power_away(self._setting.source, self._states.serving.vm)
        _take_power_away(self._setting.destination, self._states.waiting.vm)


class FreshOuterContainer:
    """A container on a server itself, and the cell that waits for it on the other. Implements ``Fresh``."""

    names: Collection[str] = ()

    def __init__(self, setting: Setting, state: FreshContainer) -> None:
        self._setting = setting
        self._state = state
        self._cells: list[Cell] = []

    def bring_up(self, holding: ExitStack) -> BroughtUp:
        """Makes both cells, and starts the container in the source's; it starts when runc is called, and ends when it answers."""
        source, destination = self._carrier(self._setting.source), self._carrier(self._setting.destination)
        began_s = time.monotonic()
        carrier.start(source.cell)
        took_s = time.monotonic() - began_s
        carrier.announce(source.cell, carrier.container_of(self._setting.site.guest))
        return BroughtUp(OuterContainer(self._setting, (source, destination)), source.cell, took_s)

    def _carrier(self, host: Host) -> CellCarrier:
        found = make_carrier(self._setting.site, host, self._state.parts)
        self._cells.append(found.cell)
        return found

    def discard(self) -> None:
        """Ends both cells, with all that runs in them."""
        for cell in self._cells:
            try:
                cell.close()
            except (WhimbrelError, OSError) as error:
                log.warning("a container may still run: %s", error)
        self._cells.clear()


def fresh(setting: Setting, start: Start, keep_when_it_crashes: bool = False) -> Fresh:
    """What is to be put up, from what there is to start from."""
    if isinstance(start, StateInfo):
        return FreshVm(setting, start, keep_when_it_crashes)
    return FreshInnerContainer(setting, start) if isinstance(start, CarrierPair) else FreshOuterContainer(setting, start)


def make_carrier(site: Site, host: Host, parts: ContainerParts) -> CellCarrier:
    """A new cell on a host, with all that the container needs in it; nothing runs there yet, and none is left on failure."""
    cell = cells_of(site).open(host)
    try:
        in_cells.prepare(cell, parts, carrier.container_of(site.guest), site.network.prefix_length)
    except BaseException:
        cell.close()
        raise
    return carrier_in(cell, host)


def carrier_in(cell: Cell, host: Host) -> CellCarrier:
    """A cell as a container's place; its images take the way that a guest's memory takes."""
    return CellCarrier(host, cell, urlsplit(host.peering.move_uri).hostname or host.address, cell)


def _take_power_away(host: Host, guest: GuestIdentity) -> None:
    try:
        the_guest.take_power_away(host, guest)
    except WhimbrelError as error:
        log.warning("the guest may still run on host %s: %s", host.name, error)
