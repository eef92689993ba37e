"""Brings a deployed service whose move was interrupted to one running copy."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress

from whimbrel.deployment.bringing_up import guest_of
from whimbrel.deployment.deployed import Deployment
from whimbrel.deployment.standing import places_of, subject_of
from whimbrel.durable import put_aside
from whimbrel.errors import SilentError, UnsafeStateError
from whimbrel.guests import guest as the_guest
from whimbrel.hosts.host import Place
from whimbrel.hosts.site import Site
from whimbrel.migrate.cold import SHUTTING_DOWN
from whimbrel.migrate.container.sides import ContainerSides
from whimbrel.migrate.driven import refuse_while_driven
from whimbrel.migrate.intentions import intention_of, interrupted_move, is_shutting_down
from whimbrel.migrate.journal import (
    BOOTED_ANEW,
    DamagedJournalError,
    History,
    note_booted_anew,
    note_end,
    read_history,
)
from whimbrel.migrate.recover import Sides, VmSides, recover
from whimbrel.migrate.recovery import Decision
from whimbrel.migrate.storage import MAKING_DISK
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.verify import exactly_one
from whimbrel.spec.fields import HostName

log = logging.getLogger(__name__)

_BOOT_S = 300.0


def bring_back(deployment: Deployment, site: Site, boot_anew: bool, told: Callable[[Decision], None]) -> str:
    """The host on which its one copy runs in the end. Also of use where no move is known: something else may have gone wrong.

    UsageError when its move is still driven by somebody, UnsafeStateError when there can be no running copy.
    """
    try:
        history = read_history(deployment.journal_file)
    except DamagedJournalError as damaged:
        return _only_look(deployment, site, damaged)
    refuse_while_driven(deployment.name, deployment.journal_file)
    interrupted = interrupted_move(history)
    with ExitStack() as holding:
        places = places_of(deployment, site, holding)
        migration = interrupted.intent.spec if interrupted is not None else deployment.spec.migration
        request = subject_of(deployment, site, migration, _way(deployment, site, history), places).request
        _refuse_a_third_copy(deployment, site, request, places)
        where = _bring_back(deployment, request, history, boot_anew, told)
    if interrupted is not None:
        note_end(deployment.journal_file, "moved" if where == interrupted.intent.destination else "failed")
    deployment.abort_file.unlink(missing_ok=True)
    return where


def _only_look(deployment: Deployment, site: Site, damaged: DamagedJournalError) -> str:
    """Without its journal nobody knows which copy may go on, so nothing is done but to see that one runs alone."""
    with ExitStack() as holding:
        try:
            where = exactly_one(guest_of(deployment, site), list(places_of(deployment, site, holding).values()))
        except UnsafeStateError as unsafe:
            raise UnsafeStateError(
                f"{deployment.name} is left as it is: the journal of its move cannot be read",
                details=f"{damaged.brief}; {unsafe.brief}",
                resolution=f"{unsafe.resolution}. Then recover again; {deployment.journal_file} is put aside once one runs",
            ) from unsafe
    log.warning("%s; it is now %s", damaged.brief, put_aside(deployment.journal_file))
    return where


def _bring_back(
    deployment: Deployment, request: MoveRequest, history: History | None, boot_anew: bool, told: Callable[[Decision], None]
) -> str:
    interrupted = interrupted_move(history)
    intention = intention_of(history, boot_anew)
    sides: Sides = (
        ContainerSides(request)
        if request.carriers is not None
        else VmSides(request, deployment.description or "", intention.switched, is_shutting_down(interrupted))
    )

    def about_to_boot() -> None:
        if history is not None:
            note_booted_anew(deployment.journal_file)

    # What was made before an image was a step of its own was made ready without it.
    made_disk = interrupted is not None and (interrupted.has(MAKING_DISK) or interrupted.has("disk made ready"))
    where = recover(sides, request, intention, told, about_to_boot, made_disk)
    # Who booted it may have been ended before its service was started; of what never moved, nobody wrote that down.
    may_have_booted = history is None or history.has(SHUTTING_DOWN) or history.has(BOOTED_ANEW)
    if request.carriers is None and may_have_booted:
        _see_to_its_service(where, request)
    return where


def _way(deployment: Deployment, site: Site, history: History | None) -> tuple[HostName, HostName]:
    """From where it was before the interrupted move, or where the last one left it, or where it was put; to the other host."""
    if history is None:
        return deployment.on, next(name for name in site.hosts if name != deployment.on)
    there, here = history.intent.destination, history.intent.source
    return (there, here) if history.ended == "moved" else (here, there)


def _refuse_a_third_copy(deployment: Deployment, site: Site, request: MoveRequest, places: Mapping[HostName, Place]) -> None:
    """UnsafeStateError when there is one on a host that had no part in its last move: nobody of ours put it there."""
    others = [place for place in places.values() if place.name not in (request.source.name, request.destination.name)]
    for place in others:
        with suppress(SilentError):
            state = place.state_of(guest_of(deployment, site))
            if state != "absent":
                raise UnsafeStateError(
                    f"a copy of {deployment.name} {state} on host {place.name}, which had no part in its last move",
                    resolution="find out who put it there before anything is done about the others",
                )


def _see_to_its_service(where: str, request: MoveRequest) -> None:
    """After a boot that nobody saw to its end: clock and service as they are to be."""
    host = request.source if request.source.name == where else request.destination
    with ExitStack() as holding:
        agent = the_guest.agent_on(host, request.what, holding)
        agent.wait(_BOOT_S)
        request.after_boot(agent)
