"""Whether a destination's processor has what a guest in KVM was given at its start; asked before a move, as QEMU does not ask."""

from __future__ import annotations

import logging

from whimbrel.engines.cpus import common_models, compare, needed_by
from whimbrel.errors import ReservationError
from whimbrel.migrate.technique import MoveRequest

log = logging.getLogger(__name__)


def refuse_lesser_processor(request: MoveRequest) -> None:
    """ReservationError, before anything is done, when the destination's processor lacks what the guest has of its source's.

    Hosts that are one machine have one processor, and are not asked.
    """
    if request.source.access.shares_our_clock and request.destination.access.shares_our_clock:
        return
    with request.source.hypervisor() as source:
        guest = source.find(request.what.uuid)
        needed = needed_by(guest, source) if guest is not None else None
        if needed is None:
            return
        with request.destination.hypervisor() as destination:
            found = compare(needed, destination)
            if found.result == "unknown":
                log.warning("host %s cannot say whether its processor has what %s was given: %s",
                            request.destination.name, request.what, found.said)  # fmt: skip
            if found.result != "less":
                return
            common = common_models(source, destination)
    raise ReservationError(
        f"the processor of host {request.destination.name} lacks what {request.what} was given on {request.source.name}",
        details=found.words,
        resolution=f"nothing was moved; give guests a processor that both hosts have, as 'hosts.cpu', and make them anew:"
        f" {common}",
    )
