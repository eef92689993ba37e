"""A move from the call to the certainty of how it ended: a technique says one half of it, where the guest runs the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whimbrel.errors import MoveError, ReservationError, UnsafeStateError, WhimbrelError, interrupted
from whimbrel.hosts.host import Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.migrate.storage import MAKING_DISK, keep_only_copy
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest, Technique
from whimbrel.migrate.verify import Copies, exactly_one, find_copies, in_carriers
from whimbrel.system.deadline import Deadline, pause

# A guest that has ended is gone within this.
_GOING_S = 5.0
_LOOK_EVERY_S = 0.1

Result = Literal["moved", "failed", "aborted", "unsafe"]


@dataclass(frozen=True)
class Ending:
    """How a move ended and where the guest runs; ``error`` is None when it moved, ``report`` when the call did not come back."""

    result: Result
    runs_on: list[str]
    report: MoveReport | None
    error: WhimbrelError | None


def carry_out(technique: Technique, request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
    """Moves the guest and finds out how it ended; ``phase`` says how far the move has come, for telling where it failed."""
    steps = _Steps(journal)
    report: MoveReport | None = None
    failure: WhimbrelError | OSError | None = None
    try:
        report = technique.move(request, steps)
    except UnsafeStateError as error:
        # It has not come to its end: where the guest runs just now says nothing of where it will.
        return Ending("unsafe", running_on(request.guest, request.places), None, error)
    except (WhimbrelError, OSError) as error:
        # The second when there is no room left for the journal.
        if interrupted(error):
            raise KeyboardInterrupt from error
        failure = error
    places = request.places
    said = report.error if report is not None else str(failure)
    how = request.ended()
    if how is not None and not in_carriers(places) and is_gone(request):
        return _lost(how, request, report, said, phase())
    try:
        where = exactly_one(request.guest, places, request.ended)
    except UnsafeStateError as error:
        how = request.ended()
        if how is not None and not in_carriers(places) and is_gone(request):
            return _lost(how, request, report, said, phase())
        told = UnsafeStateError(
            f"after the move had come to the phase {phase()}, {error.brief}",
            details=evidence(places, how, error.details, said),
            resolution=error.resolution,
        )
        return Ending("unsafe", running_on(request.guest, places), report, told)
    keep_only_copy(request, where, made=MAKING_DISK in steps.taken)
    if where == request.destination.name:
        return Ending("moved", [where], report, None)
    result: Result = "aborted" if report is not None and report.result == "aborted" else "failed"
    if isinstance(failure, ReservationError):
        return Ending(result, [where], report, failure)
    told_failed = MoveError(
        f"the move {result} in the phase {phase()}; the guest runs on host {where}",
        details=evidence(places, said),
        resolution="nothing is lost: remove the cause and move it again",
    )
    return Ending(result, [where], report, told_failed)


def is_gone(request: MoveRequest) -> bool:
    """Whether it is certain that no place has anything of the guest any more; what has just ended may take a moment for that."""
    deadline = Deadline(_GOING_S)
    with contextlib.suppress(WhimbrelError):
        while find_copies(request.guest, request.places) != Copies([], []):
            if deadline.passed:
                return False
            pause(_LOOK_EVERY_S)
        return True
    return False


def _lost(how: str, request: MoveRequest, report: MoveReport | None, said: str | None, phase: str) -> Ending:
    """Of a VM that has ended by itself and is nowhere: nobody waits for a copy to go on."""
    told = UnsafeStateError(
        f"in the phase {phase} of its move {how}; no copy is left",
        details=evidence(request.places, said),
        resolution="its console and the logs say why it ended; started anew from its disk it is without what was in its memory",
    )
    return Ending("unsafe", [], report, told)


class _Steps:
    """Remembers which steps were taken, on their way into another journal. Implements ``migrate.technique.Journal``."""

    def __init__(self, beyond: Journal) -> None:
        self._beyond = beyond
        self.taken: set[str] = set()

    def mark(self, name: str, **data: Any) -> int:
        """A step about to be taken."""
        t_ns = self._beyond.mark(name, **data)
        self.taken.add(name)
        return t_ns

    def note(self, name: str, **data: Any) -> int:
        """What has happened."""
        return self._beyond.note(name, **data)

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        """What a carrier says."""
        self._beyond.quote(host, name, realtime_ns)


def evidence(places: Sequence[Place], *said: str | None) -> str:
    """What is known of a failure: the hosts that have died, and what was said."""
    return "; ".join(filter(None, [*(f"host {place.name} has died" for place in places if place.gone), *said]))


def running_on(guest: GuestIdentity, places: Sequence[Place]) -> list[str]:
    """The hosts on which a copy executes; none when a host that does not answer makes that unknown."""
    with contextlib.suppress(WhimbrelError):
        return find_copies(guest, places).running
    return []
