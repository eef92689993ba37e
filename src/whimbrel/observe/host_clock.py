"""How far a host's wall clock is from ours, found out through libvirt alone.

QEMU is given a job that does nothing: it is to create a file in a folder that cannot exist. QEMU stamps the job's beginning with
the host's clock, and that happened between our call and its return: so the offset lies between the stamp less our later reading
and the stamp less our earlier one. Several tries narrow it down (the method of Cristian, Distributed Computing 3, 1989). The
guest goes on meanwhile.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Container
from functools import partial

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
# No folder can be made in there, by nobody (proc(5)).
_NOTHING = {"driver": "file", "filename": "/proc/no-such-folder/clock", "size": 0}


def clock_of(host: Host, guest: GuestIdentity) -> HostClock:
    """The host's clock, from the QEMU of a guest that is there, which notices nothing; unless it is ours anyhow."""
    if host.shares_our_clock:
        return HostClock(clock_id=clock_id(), offset_ns=0, offset_error_ns=0)
    with Connection.open(host.libvirt_uri) as connection:
        domain = connection.find(guest.uuid)
        if domain is None:
            raise InstrumentError(f"the clock of host {host.name} cannot be read: {guest} is not there")
        calls, stamps = _ask(connection, domain)
    return offset_from(f"host {host.name}", calls, stamps)


def _ask(connection: Connection, domain: Domain) -> tuple[list[tuple[int, int]], list[int]]:
    """When we called and had the answer, by our wall clock, and QEMU's stamps in between; fewer of these when it did not say."""
    jobs = [f"whimbrel-clock-{uuid.uuid4().hex[:8]}" for _ in range(_TRIES)]
    began: dict[str, int] = {}
    ended: set[str] = set()
    heard = threading.Condition()

    def on_event(event: MonitorEvent) -> None:
        if event.name == "JOB_STATUS_CHANGE" and event.data.get("id") in jobs:
            with heard:
                if event.data["status"] == "created":
                    began[event.data["id"]] = event.realtime_ns
                elif event.data["status"] == "concluded":
                    ended.add(event.data["id"])
                heard.notify_all()

    connection.on_monitor_event(on_event)
    calls = []
    for job in jobs:
        before_ns = time.time_ns()
        domain.monitor("blockdev-create", {"job-id": job, "options": _NOTHING})
        calls.append((before_ns, time.time_ns()))
        with heard:
            heard.wait_for(partial(_has_ended, job, began, ended), _PATIENCE_S)
        # QEMU keeps a job that has ended until somebody has seen it.
        domain.monitor("job-dismiss", {"id": job})
    return calls, [began[job] for job in jobs if job in began]


def _has_ended(job: str, began: Container[str], ended: Container[str]) -> bool:
    return job in began and job in ended


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
