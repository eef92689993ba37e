"""What a move asks of what moves, whether it is a guest or a container, and whether it is ours."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Protocol

from whimbrel.guests import guest as the_guest
from whimbrel.hosts.host import Host, Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.migrate.technique import MoveRequest
from whimbrel.observe.host_clock import clock_of, clock_of_guest
from whimbrel.records.trial import HostClock


class Movable(Protocol):
    """What moves, between which places, and what is asked of the technique."""

    @property
    def what(self) -> GuestIdentity:
        """Whose copies a place is asked about: a VM, or a container."""

    @property
    def vms(self) -> tuple[GuestIdentity, GuestIdentity] | None:
        """The VM whose events tell of the move, or that it is in, on source and destination; None where there is none."""

    @property
    def places(self) -> tuple[Place, Place]:
        """Where a copy may be: source, destination."""

    @property
    def request(self) -> MoveRequest:
        """What is asked of the technique."""


def clocks_on(moved: Movable, host: Host) -> dict[str, HostClock]:
    """Whose stamps the events of a move carry on a host, and how far those clocks are from ours.

    QEMU and the scripts in a cell stamp by the host's clock, those in a carrier by the carrier's own.
    """
    if moved.vms is None:
        return {host.name: clock_of(host, moved.what)}
    vm = moved.vms[0 if host.name == moved.places[0].name else 1]
    found = {host.name: clock_of(host, vm)}
    if vm != moved.what:
        with ExitStack() as holding:
            found[f"carrier@{host.name}"] = clock_of_guest(the_guest.agent_on(host, vm, holding), host.name)
    return found
