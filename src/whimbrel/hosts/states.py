"""What every host can tell through its hypervisor, whoever runs it."""

from __future__ import annotations

from whimbrel.engines.hypervisor import Hypervisor
from whimbrel.hosts.host import GuestState
from whimbrel.hosts.identity import GuestIdentity


def state_told_by(hypervisor: Hypervisor, guest: GuestIdentity) -> GuestState:
    """Whether a copy of this guest is there, and executes; EngineError when the hypervisor does not answer.

    One that lacks memory stands still as soon as it touches what is missing, so it does not count as running. One that panicked
    and was kept to be looked at is a copy no more.
    """
    with hypervisor as connection:
        found = connection.find(guest.uuid)
        if found is None or not found.active or found.crashed:
            return "absent"
        whole = not (found.in_post_copy or found.split)
        return "runs" if found.executing and whole else "stands still"
