"""How far a host's wall clock is from ours, found out through libvirt alone.

A guest is made to stand still for an instant. QEMU stamps its STOP with the host's clock, and that happened between our call
and its return: so the offset lies between the stamp less our later reading and the stamp less our earlier one. Several tries
narrow it down (the method of Cristian, Distributed Computing 3, 1989).
"""

from __future__ import annotations

import threading
import time

from whimbrel.engines.domain import Domain
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection, MonitorEvent
from whimbrel.errors import InstrumentError
from whimbrel.hosts.host import Host
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.records.trial import HostClock
from whimbrel.system.clock import clock_id

_TRIES = 7
_PATIENCE_S = 5.0


def clock_of(host: Host, guest: GuestIdentity) -> HostClock:
    """The host's clock; a guest that executes there is paused for an instant, several times, unless its clock is ours."""
    if host.shares_our_clock:
        return HostClock(clock_id=clock_id(), offset_ns=0, offset_error_ns=0)
    stamps: list[int] = []
    heard = threading.Condition()

    def on_event(event: MonitorEvent) -> None:
        if event.domain == guest.name and event.name == "STOP":
            with heard:
                stamps.append(event.realtime_ns)
                heard.notify_all()

    with Connection.open(host.libvirt_uri) as connection:
        domain = connection.find(guest.uuid)
        if domain is None:
            raise InstrumentError(f"the clock of host {host.name} cannot be read: {guest} is not there")
        connection.on_monitor_event(on_event)
        calls = [_pause_for_an_instant(domain) for _ in range(_TRIES)]
        with heard:
            heard.wait_for(lambda: len(stamps) >= _TRIES, _PATIENCE_S)
    return offset_from(f"host {host.name}", calls, stamps)


def _pause_for_an_instant(domain: Domain) -> tuple[int, int]:
    before_ns = time.time_ns()
    domain.suspend()
    after_ns = time.time_ns()
    domain.resume()
    return before_ns, after_ns


def offset_from(clock: str, calls: list[tuple[int, int]], stamps: list[int]) -> HostClock:
    """The offset (host's clock less ours) that every call and its stamp agree on, and half the width of what is left.

    Worked example: stamped at 150 and 260, called from 40 to 60 and from 150 to 190: the offset is from 90 to 110 and from 70 to
    110, so 100 with an error of 10. InstrumentError when they do not agree: a clock was set meanwhile.
    """
    if len(stamps) != len(calls) or not calls:
        raise InstrumentError(f"the clock of {clock} cannot be read: {len(stamps)} of {len(calls)} pauses were reported")
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
