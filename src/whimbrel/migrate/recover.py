"""Brings an interrupted move to one running copy: looks at both sides, decides (``recovery``), takes one step, looks again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import ExitStack
from typing import Protocol

from whimbrel.engines.domain import Domain
from whimbrel.engines.guest_agent import GuestAgent
from whimbrel.engines.libvirt import Connection
from whimbrel.errors import EngineError, GuestError, UnsafeStateError
from whimbrel.guests import carrier
from whimbrel.hosts.host import Host, Place
from whimbrel.migrate.container.side import Side
from whimbrel.migrate.live import options_of
from whimbrel.migrate.recovery import Decision, Intention, SideState, Situation, Step, decide
from whimbrel.migrate.storage import fit_for_both, keep_only_copy
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.verify import exactly_one
from whimbrel.system.deadline import Deadline, pause

_PATIENCE_S = 900.0
_LOOK_EVERY_S = 1.0
# A post-copy move that sends nothing for so long has lost its link without having noticed.
_STUCK_S = 15.0
_BOOT_S = 300.0


class Sides(Protocol):
    """Both sides of a move that was interrupted."""

    def look(self) -> Situation:
        """What they say now."""

    def take(self, step: Step) -> None:
        """Takes a step that is neither ``done`` nor ``cannot``."""

    def clear(self) -> None:
        """Removes what the move used, once one copy runs."""


def sides_of(request: MoveRequest, description: str) -> Sides:
    """Both sides of a move; ``description`` is what a VM is booted from."""
    return VmSides(request, description) if request.carriers is None else ContainerSides(request)


def recover(sides: Sides, request: MoveRequest, intention: Intention, told: Callable[[Decision], None]) -> str:
    """The host on which it runs in the end; ``told`` hears of each decision before it is carried out.

    UnsafeStateError when it cannot be brought to one running copy: it says why, and what could be done.
    """
    deadline = Deadline(_PATIENCE_S)
    before: Decision | None = None
    booted = False
    while True:
        decision = decide(sides.look(), intention)
        if decision != before:
            told(decision)
        before = decision
        if decision.step == "done":
            sides.clear()
            where = exactly_one(request.guest, request.places)
            # A guest that was booted may have an older disk than the one on the other host.
            if not booted:
                keep_only_copy(request, where)
            return where
        if decision.step == "cannot" or deadline.passed:
            raise UnsafeStateError(
                f"{request.guest} cannot be brought to one running copy",
                details=decision.why if decision.step == "cannot" else f"after {_PATIENCE_S:.0f} s still: {decision.why}",
                resolution="mend what is named and recover again; 'virsh list --all' on both hosts shows what is there",
            )
        booted = booted or decision.step == "boot"
        sides.take(decision.step)
        pause(_LOOK_EVERY_S)


class VmSides:
    """Two hosts. Implements ``Sides``."""

    def __init__(self, request: MoveRequest, description: str) -> None:
        self._request = request
        self._description = description
        self._sent: int | None = None
        self._sent_until = Deadline(_STUCK_S)

    def look(self) -> Situation:
        """From libvirt's states, its job, and QEMU's own."""
        guest, source, destination = self._request.guest, self._request.source, self._request.destination
        states = _state_of(source, guest), _state_of(destination, guest)
        if "silent" in states:
            return Situation(*states)
        with ExitStack() as stack:
            here, there = (_domain(host, guest, stack) for host in (source, destination))
            moved = here.monitor("query-migrate") if here is not None else None
            there_says = there.monitor("query-status") if there is not None else None
            return Situation(
                *states,
                under_way=here is not None and here.job_stats() is not None,
                split=any(domain is not None and domain.split for domain in (here, there)),
                sent=moved is not None and moved.get("status") == "completed",
                whole=there_says is not None and there_says.get("status") != "inmigrate",
            )

    def take(self, step: Step) -> None:
        """Through libvirt."""
        request = self._request
        with ExitStack() as stack:
            here, there = (_domain(host, request.guest, stack) for host in (request.source, request.destination))
            actor = here if step in ("wait", "resume post-copy", "source goes on", "end source") else there
            if step == "boot":
                self._boot([domain for domain in (here, there) if domain is not None])
            elif actor is None:
                return  # it has gone since we looked: the next look says so
            elif step == "wait":
                self._interrupt_when_stuck(actor)
            elif step == "resume post-copy":
                actor.migrate(options_of(request, resume=True))
            elif step.endswith("goes on"):
                actor.resume()
            else:
                actor.destroy()

    def clear(self) -> None:
        """libvirt removes what it made."""

    def _interrupt_when_stuck(self, here: Domain) -> None:
        """Interrupts a post-copy move that sends nothing any more, so that it can be taken up again."""
        stats = here.job_stats() or {}
        if stats.get("memory_processed") != self._sent:
            self._sent, self._sent_until = stats.get("memory_processed"), Deadline(_STUCK_S)
        elif self._sent_until.passed:
            # A move that has not gone over to post-copy refuses it, and ends by itself.
            with contextlib.suppress(EngineError):
                here.interrupt_post_copy()

    def _boot(self, left: list[Domain]) -> None:
        """On its source, where that lives."""
        request = self._request
        if request.source.gone and request.spec.storage != "shared":
            raise UnsafeStateError(
                f"the disk of {request.guest} lies on host {request.source.name}, which has died",
                details=f"the copy on host {request.destination.name} may not be whole",
                resolution="start that host again, and recover again",
            )
        for domain in left:
            domain.destroy()
        host = request.destination if request.source.gone else request.source
        with Connection.open(host.libvirt_uri) as connection:
            agent = GuestAgent(connection.create(fit_for_both(request, self._description)))
            agent.wait(_BOOT_S)
            request.after_boot(agent)


class ContainerSides:
    """Two carriers. Implements ``Sides``."""

    def __init__(self, request: MoveRequest) -> None:
        assert request.carriers is not None
        self._guest = request.guest
        self._depart = Side("source", request.carriers[0])
        self._arrive = Side("destination", request.carriers[1])
        self._told = False

    def look(self) -> Situation:
        """From the carriers' groups and the scripts' journals."""
        states = _state_of(self._depart.carrier, self._guest), _state_of(self._arrive.carrier, self._guest)
        if "silent" in states:
            return Situation(*states)
        has_all = _asked(lambda: self._arrive.has_said("complete"))
        under_way = _asked(lambda: self._depart.running) or _asked(lambda: self._arrive.running)
        return Situation(*states, under_way=under_way, sent=has_all, whole=has_all)

    def take(self, step: Step) -> None:
        """Through the scripts, which know their groups."""
        if step == "wait":
            if not self._told:
                # Heeded by a side that still waits for orders; one that has been told to leave ends by itself.
                self._depart.order("abort")
                self._told = True
        elif step == "boot":
            carrier.start(self._depart.carrier.agent)
        else:
            side = self._depart if "source" in step else self._arrive
            side.settle("go on" if step.endswith("goes on") else "end")

    def clear(self) -> None:
        """Ends both scripts and gives their memory back, on carriers that are there."""
        for side in (self._depart, self._arrive):
            with contextlib.suppress(EngineError, GuestError):
                side.end()
                side.clear()


def _asked(question: Callable[[], bool]) -> bool:
    """The answer of a carrier; one that has ended says nothing."""
    try:
        return question()
    except (EngineError, GuestError):
        return False


def _state_of(place: Place, guest: str) -> SideState:
    if place.gone:
        return "absent"
    try:
        return place.state_of(guest)
    except EngineError:
        return "absent" if place.gone else "silent"


def _domain(host: Host, guest: str, stack: ExitStack) -> Domain | None:
    """The guest on a host, while ``stack`` is open; None on one that has died."""
    if host.gone:
        return None
    found = stack.enter_context(Connection.open(host.libvirt_uri)).find(guest)
    return found if found is not None and found.active else None
