"""A move from the call until it is certain how it ended: what the technique reports, and where a copy of what moved runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from whimbrel.errors import EngineError, MoveError, ReservationError, UnsafeStateError, WhimbrelError, interrupted
from whimbrel.hosts.host import Place
from whimbrel.hosts.identity import GuestIdentity
from whimbrel.hosts.one_host import refuse_one_host
from whimbrel.migrate.storage import MAKING_DISK, keep_only_copy
from whimbrel.migrate.technique import Journal, MoveReport, MoveRequest, Technique
from whimbrel.migrate.verify import Copies, exactly_one, find_copies, in_carriers
from whimbrel.migrate.why import NOTHING_IS_LOST, Why, why
from whimbrel.system.deadline import Deadline, pause

# A guest that has ended is gone within this.
GOING_S = 5.0
_LOOK_EVERY_S = 0.1

Result = Literal["moved", "failed", "aborted", "unsafe"]


@dataclass(frozen=True)
class Ending:
    """How a move ended, and on which hosts a copy runs.

    ``error`` is None when it moved, ``report`` when the call did not come back. ``known`` is the
    name of its failure in ``engines.failures``, where it is one of those.
    """

    result: Result
    runs_on: list[str]
    report: MoveReport | None
    error: WhimbrelError | None
    known: str | None = None


def carry_out(technique: Technique, request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
    """Makes the move and finds out how it ended; ``phase`` says how far the move has come, for telling where it failed.

    UsageError, and nothing is done, when source and destination are one host.
    """
    with contextlib.suppress(EngineError):
        # One that does not answer is met again by the technique.
        refuse_one_host(request.source, request.destination)
    steps = _Steps(journal)
    began_s = time.time()
    report: MoveReport | None = None
    failure: WhimbrelError | OSError | None = None
    try:
        report = technique.move(request, steps)
        failure = report.error
    except UnsafeStateError as error:
        # It has not come to its end: where a copy runs just now does not say where it will run.
        return Ending("unsafe", running_on(request.what, request.places), None, error)
    except (WhimbrelError, OSError) as error:
        # The second when there is no room left for the journal.
        if interrupted(error):
            raise KeyboardInterrupt from error
        failure = error
    places = request.places
    said = str(failure) if failure is not None else None
    how = request.ended()
    if how is not None and not in_carriers(places) and is_gone(request):
        return _lost(how, request, report, said, phase())
    try:
        where = exactly_one(request.what, places, request.ended)
    except UnsafeStateError as error:
        how = request.ended()
        if how is not None and not in_carriers(places) and is_gone(request):
            return _lost(how, request, report, said, phase())
        return _unsafe(request, report, error, _reason(steps, report, request, failure, began_s), phase())
    keep_only_copy(request, where, made=MAKING_DISK in steps.taken)
    if where == request.destination.name:
        return Ending("moved", [where], report, None)
    if isinstance(failure, ReservationError):
        return Ending("failed", [where], report, failure)
    return _failed(where, report, _reason(steps, report, request, failure, began_s), phase(), request)


def _unsafe(request: MoveRequest, report: MoveReport | None, error: UnsafeStateError, reason: Why, phase: str) -> Ending:
    """What is to be done says the state, not the failure that led to it."""
    told = UnsafeStateError(
        f"after the move had come to the phase {phase}, {error.brief}",
        cause=reason.cause,
        details=evidence(request.places, request.ended(), error.details, reason.said),
        resolution=error.resolution,
    )
    return Ending("unsafe", running_on(request.what, request.places), report, told, reason.known or None)


def _failed(where: str, report: MoveReport | None, reason: Why, phase: str, request: MoveRequest) -> Ending:
    result: Result = "aborted" if _was_aborted(report) else "failed"
    told = MoveError(
        f"the move {result} in the phase {phase}; the guest runs on host {where}",
        cause=reason.cause,
        details=evidence(request.places, reason.said),
        resolution=reason.cure or NOTHING_IS_LOST,
    )
    return Ending(result, [where], report, told, reason.known or None)


def _reason(
    steps: _Steps, report: MoveReport | None, request: MoveRequest, failure: WhimbrelError | OSError | None, since_s: float
) -> Why:
    """Why it did not move. Of a move that we aborted nobody else is to blame."""
    if not _was_aborted(report):
        return why(request, failure, since_s)
    told = f"whimbrel aborted it: {steps.why_aborted}" if steps.why_aborted else ""
    return Why("", told, "", str(failure) if failure is not None else "")


def _was_aborted(report: MoveReport | None) -> bool:
    return report is not None and report.result == "aborted"


def is_gone(request: MoveRequest) -> bool:
    """Whether it is certain that no place has a copy any more; what has just ended may take a moment for that."""
    deadline = Deadline(GOING_S)
    with contextlib.suppress(WhimbrelError):
        while find_copies(request.what, request.places) != Copies([], []):
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
        self.why_aborted = ""

    def mark(self, name: str, **data: Any) -> int:
        """Writes down a step that is about to be taken."""
        t_ns = self._beyond.mark(name, **data)
        self.taken.add(name)
        if name == "abort":
            self.why_aborted = str(data.get("why", ""))
        return t_ns

    def note(self, name: str, **data: Any) -> int:
        """Writes down what has happened."""
        return self._beyond.note(name, **data)

    def quote(self, host: str, name: str, realtime_ns: int) -> None:
        """Passes on what a carrier says."""
        self._beyond.quote(host, name, realtime_ns)


def evidence(places: Sequence[Place], *said: str | None) -> str:
    """What is known of a failure: the hosts that have died, and what was said."""
    return "; ".join(filter(None, [*(f"host {place.name} has died" for place in places if place.gone), *said]))


def running_on(what: GuestIdentity, places: Sequence[Place]) -> list[str]:
    """The hosts on which a copy executes; none when a host that does not answer makes that unknown."""
    with contextlib.suppress(WhimbrelError):
        return find_copies(what, places).running
    return []
