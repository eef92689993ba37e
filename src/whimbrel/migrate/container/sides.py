"""Both sides of a container's move, as somebody finds them who did not see it, or did not see all of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from whimbrel.errors import EngineError, GuestError, UnsafeStateError
from whimbrel.guests import carrier
from whimbrel.hosts.one_host import why_not_two
from whimbrel.migrate.container.side import Role, Side
from whimbrel.migrate.recovery import SideState, Situation, Step
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.verify import state_of


class ContainerSides:
    """Two carriers. Implements ``migrate.recover.Sides``."""

    def __init__(self, request: MoveRequest) -> None:
        assert request.carriers is not None
        self._what = request.what
        self._depart = Side("source", request.carriers[0])
        self._arrive = Side("destination", request.carriers[1])
        self._hosts = request.source, request.destination
        self._told = False
        self._silent: set[Role] = set()

    def look(self) -> Situation:
        """From the scripts, their journals, and the carriers' groups, in this order.

        A container that has gone before its memory, and to which nobody sends it any more, cannot be given the rest.
        """
        self._silent.clear()
        under_way = self._runs(self._depart) or self._runs(self._arrive)
        has_all = self._has_said(self._arrive, "complete")
        may_have_run = has_all or self._may_have_run()
        states = self._state_at(self._depart), self._state_at(self._arrive)
        halved = states == ("stands still", "runs") and not under_way and not has_all
        return Situation(
            *states, under_way=under_way, split=halved, deaf=halved, sent=may_have_run, whole=has_all,
            not_two=why_not_two(*self._hosts),
        )  # fmt: skip

    def _may_have_run(self) -> bool:
        """Whether the destination may have gone on: it says so, or has told the source; one that does not answer, or has
        forgotten the move, may have gone on as soon as everything that it needs was sent.
        """
        if self._has_said(self._arrive, "restored"):
            return True
        remembers = self._has_said(self._arrive, "listening")
        return self._has_said(self._depart, "commit" if remembers else "sent")

    def _state_at(self, side: Side) -> SideState:
        """Of one that did not answer a question before, nobody knows enough, whatever it says now."""
        return "silent" if side.role in self._silent else state_of(side.carrier, self._what)

    def _runs(self, side: Side) -> bool:
        return self._asked(side, lambda: side.running)

    def _has_said(self, side: Side, words: str) -> bool:
        return self._asked(side, lambda: side.has_said(words))

    def _asked(self, side: Side, question: Callable[[], bool]) -> bool:
        """The answer of a carrier; one that has ended says nothing, and no other may say nothing."""
        try:
            return question()
        except (EngineError, GuestError):
            if not _has_ended(side):
                self._silent.add(side.role)
            return False

    def take(self, step: Step) -> None:
        """Through the scripts, which know their groups."""
        if step == "wait":
            self._end_what_waits()
        elif step == "boot":
            if _has_ended(self._depart):
                raise UnsafeStateError(
                    f"{self._what} cannot be started anew: its carrier on host {self._depart.carrier.name} is gone",
                    resolution="undeploy it, and deploy it anew",
                )
            # A destination that has died holds nothing; one that has a part of it must not go on beside what is started.
            if state_of(self._arrive.carrier, self._what) != "absent":
                self._arrive.settle("end")
            carrier.start(self._depart.carrier.inside)
        else:
            side = self._depart if "source" in step else self._arrive
            side.settle("go on" if step.endswith("goes on") else "end")

    def _end_what_waits(self) -> None:
        """A side that waits for orders or for the other one is told to end; one that has been told to leave ends by itself."""
        if not self._told:
            self._depart.order("abort")
            self._told = True
        elif not self._runs(self._depart) and state_of(self._depart.carrier, self._what) == "runs":
            self._arrive.end()

    def clear(self) -> None:
        """Ends both scripts and gives their memory back, on carriers that are there."""
        for side in (self._depart, self._arrive):
            with suppress(EngineError, GuestError):
                side.end()
                side.clear()


def _has_ended(side: Side) -> bool:
    try:
        return side.carrier.ended
    except EngineError:
        return False
