"""How far a host's wall clock is from ours, found out through its hypervisor alone.

The hypervisor is asked for something that it stamps with the host's clock (``engines.qemu_clock``), and that happened between our
call and its return: so the offset lies between the stamp less our later reading and the stamp less our earlier one. Several tries
narrow it down (the method of Cristian, Distributed Computing 3, 1989). The guest goes on meanwhile.
"""

from __future__ import annotations

import time

from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.errors import InstrumentError
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.records.trial import HostClock
from whimbrel.system.clock import clock_id

_TRIES = 7


def clock_of(host: Host, guest: GuestIdentity) -> HostClock:
    """The host's clock, from the QEMU of a guest that is there, which notices nothing; unless it is ours anyhow."""
    if host.access.shares_our_clock:
        return HostClock(clock_id=clock_id(), offset_ns=0, offset_error_ns=0)
    with host.hypervisor() as connection:
        found = connection.find(guest.uuid)
        if found is None:
            raise InstrumentError(f"the clock of host {host.name} cannot be read: {guest} is not there")
        calls, stamps = connection.clock_stamps(found, _TRIES)
    return offset_from(f"host {host.name}", calls, stamps)


def offset_from(clock: str, calls: list[tuple[int, int]], stamps: list[int]) -> HostClock:
    """The offset (host's clock less ours) that every call and its stamp agree on, and half the width of what is left.

    Worked example: stamped at 150 and 260, called from 40 to 60 and from 150 to 190: the offset is from 90 to 110 and from 70 to
    110, so 100 with an error of 10. InstrumentError when they do not agree: a clock was set meanwhile.
    """
    if len(stamps) != len(calls) or not calls:
        raise InstrumentError(f"the clock of {clock} cannot be read: {len(stamps)} of {len(calls)} answers were stamped")
    least = max(stamp - after for (_, after), stamp in zip(calls, stamps, strict=True))
    most = min(stamp - before for (before, _), stamp in zip(calls, stamps, strict=True))
    if least > most:
        raise InstrumentError(f"the clock of {clock} cannot be read: it was set while it was read")
    return HostClock(clock_id=clock, offset_ns=(least + most) // 2, offset_error_ns=(most - least + 1) // 2)


def clock_of_guest(agent: GuestAgent, host: str) -> HostClock:
    """The wall clock of the VM on a host, read several times by its agent: each reading lies between our call and its return."""
    calls, stamps = [], []
    for _ in range(_TRIES):
        before_ns = time.time_ns()
        stamps.append(agent.time_ns())
        calls.append((before_ns, time.time_ns()))
    return offset_from(f"the carrier on host {host}", calls, stamps)
