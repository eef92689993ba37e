"""After a move: where does it run? The answer decides between *failed, state safe* and *unsafe*."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from whimbrel.errors import EngineError, UnsafeStateError, WhimbrelError
from whimbrel.guests.carrier import Carrier
from whimbrel.hosts.host import Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.migrate.recovery import SideState
from whimbrel.system.deadline import Deadline, pause

PATIENCE_S = 15.0
# What has ended by itself is gone, and known to be, within this.
GOING_S = 5.0
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class Copies:
    """The hosts on which a copy executes, and those on which one is there but stands still."""

    running: list[str]
    standing: list[str]


def find_copies(what: GuestIdentity, places: Sequence[Place]) -> Copies:
    """Asks every place that is not gone; EngineError when one does not answer."""
    copies = Copies([], [])
    for place in places:
        try:
            state = place.state_of(what)
        except EngineError:
            if not place.gone:
                raise
        else:
            if state == "runs":
                copies.running.append(place.name)
            elif state == "stands still":
                copies.standing.append(place.name)
    return copies


def state_of(place: Place, what: GuestIdentity) -> SideState:
    """What a copy does at a place. A place that has died has no copy, and one that does not answer is silent."""
    if place.gone:
        return "absent"
    try:
        return place.state_of(what)
    except EngineError:
        return "absent" if place.gone else "silent"


def exactly_one(what: GuestIdentity, places: Sequence[Place], ended: Callable[[], object] = lambda: None) -> str:
    """The one host that has a copy, and runs it; UnsafeStateError when none or two do, or a host does not answer.

    After a failed move libvirt may need a moment to let the source go on, to clear the destination, or to start again itself.
    Once the guest, or a carrier, has ``ended`` there is less to wait for.
    """
    deadline = Deadline(PATIENCE_S)
    hopeless: Deadline | None = None
    while True:
        try:
            copies = find_copies(what, places)
        except WhimbrelError as error:
            if deadline.passed:
                raise UnsafeStateError(
                    f"it is unknown where {what} runs: a host does not answer",
                    details=str(error),
                    resolution=f"look at {how_to_look(places)} before starting it anywhere",
                ) from error
        else:
            if len(copies.running) == 1 and not copies.standing:
                return copies.running[0]
            if hopeless is None and ended() is not None:
                hopeless = Deadline(GOING_S)
            if deadline.passed or (hopeless is not None and hopeless.passed):
                raise _not_one(what, copies, in_carriers(places))
        pause(_LOOK_EVERY_S)


def in_carriers(places: Sequence[Place]) -> bool:
    """Whether what moves is a container, of which libvirt knows nothing."""
    return any(isinstance(place, Carrier) for place in places)


def how_to_look(places: Sequence[Place]) -> str:
    """What shows a user which copies are there."""
    return "'runc list' in both carriers" if in_carriers(places) else "'virsh list --all' on both hosts"


def how_to_tell(contained: bool) -> str:
    """How a user sees whether two hosts, or two carriers, are one."""
    return "'cat /proc/sys/kernel/random/boot_id' in both carriers" if contained else "'virsh capabilities' on both: host, uuid"


def _not_one(what: GuestIdentity, copies: Copies, contained: bool) -> UnsafeStateError:
    standing = " and ".join(copies.standing)
    still = f"a copy stands still on {standing}"
    if len(copies.running) > 1:
        return UnsafeStateError(
            f"{what} runs on {' and '.join(copies.running)}",
            resolution="stop none of them before you know that they are two: one host under two names shows one copy twice"
            f" ({how_to_tell(contained)}). Of two, the logs of both hosts say which is newest",
        )
    if copies.running:
        end = f"'runc delete --force {what}' in the carrier on {standing}" if contained else f"'virsh destroy' on {standing}"
        ask = "" if contained else " ('virsh domjobinfo')"
        return UnsafeStateError(
            f"{what} runs on {copies.running[0]}; {still}",
            resolution="keep the one that runs. The other may be ended once you know that the two are not one under two names"
            f" ({how_to_tell(contained)}), and that no post-copy move is under way{ask}, which needs both: {end}",
        )
    if copies.standing:
        # A container's link has to join as well, which 'runc resume' would not do.
        go_on = "'whimbrel recover'" if contained else "'virsh resume'"
        return UnsafeStateError(
            f"{what} runs on no host; {still}",
            resolution=f"{go_on} lets it go on, once the logs of both hosts say that no other copy went on before",
        )
    return UnsafeStateError(
        f"{what} runs on no host: no copy is left",
        resolution="start it anew from its disk; what was in its memory is lost. The logs of both hosts say why it ended",
    )
