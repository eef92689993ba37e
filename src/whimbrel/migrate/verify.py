"""After a move: where does the guest run? The answer decides between *failed, state safe* and *unsafe*."""

from __future__ import annotations

from whimbrel.engines.libvirt import Connection
from whimbrel.errors import UnsafeStateError, WhimbrelError
from whimbrel.hosts.host import Host
from whimbrel.system.deadline import Deadline, pause

_PATIENCE_S = 15.0


def where_it_runs(guest: str, hosts: list[Host]) -> list[str]:
    """The names of the hosts on which a copy executes."""
    return [host.name for host in hosts if _executes(guest, host)]


def _executes(guest: str, host: Host) -> bool:
    with Connection.open(host.libvirt_uri) as connection:
        domain = connection.find(guest)
        return domain is not None and domain.executing


def exactly_one(guest: str, hosts: list[Host]) -> str:
    """The one host on which the guest runs; UnsafeStateError when it is none, two, or a host does not answer.

    After a failed move libvirt may need a moment to let the source go on.
    """
    deadline = Deadline(_PATIENCE_S)
    while True:
        try:
            running = where_it_runs(guest, hosts)
        except WhimbrelError as error:
            raise UnsafeStateError(
                f"it is unknown where {guest} runs: a host does not answer", details=str(error),
                resolution="ask each host's libvirt ('virsh list --all') before starting the guest anywhere",
            ) from error  # fmt: skip
        if len(running) == 1:
            return running[0]
        if deadline.passed:
            raise UnsafeStateError(
                f"{guest} runs on {' and '.join(running) or 'no host'}",
                resolution="stop all copies but one"
                if running
                else "its last state is on the source: look at the logs of both hosts",
            )
        pause(0.2)
