"""After a move: where does the guest run? The answer decides between *failed, state safe* and *unsafe*."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.engines.libvirt import Connection
from whimbrel.errors import UnsafeStateError, WhimbrelError
from whimbrel.hosts.host import Host
from whimbrel.system.deadline import Deadline, pause

_PATIENCE_S = 15.0


@dataclass(frozen=True)
class Copies:
    """The hosts on which a copy executes, and those on which one is there but stands still."""

    running: list[str]
    standing: list[str]


def find_copies(guest: str, hosts: list[Host]) -> Copies:
    """Asks every host; EngineError when one does not answer."""
    copies = Copies([], [])
    for host in hosts:
        with Connection.open(host.libvirt_uri) as connection:
            domain = connection.find(guest)
            if domain is not None and domain.executing:
                copies.running.append(host.name)
            elif domain is not None and domain.active:
                copies.standing.append(host.name)
    return copies


def exactly_one(guest: str, hosts: list[Host]) -> str:
    """The one host that has a copy, and runs it; UnsafeStateError when none or two do, or a host does not answer.

    After a failed move libvirt may need a moment to let the source go on, or to clear the destination.
    """
    deadline = Deadline(_PATIENCE_S)
    while True:
        try:
            copies = find_copies(guest, hosts)
        except WhimbrelError as error:
            raise UnsafeStateError(
                f"it is unknown where {guest} runs: a host does not answer",
                details=str(error),
                resolution="ask each host's libvirt ('virsh list --all') before starting the guest anywhere",
            ) from error
        if len(copies.running) == 1 and not copies.standing:
            return copies.running[0]
        if deadline.passed:
            still = f"; a copy stands still on {' and '.join(copies.standing)}" if copies.standing else ""
            raise UnsafeStateError(
                f"{guest} runs on {' and '.join(copies.running) or 'no host'}{still}",
                resolution="keep one copy and stop the others; the logs of both hosts say which is the newest",
            )
        pause(0.2)
