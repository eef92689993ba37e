"""A measured move: what hears of a move, the move itself, and what is said of it, whoever asked for it and whatever moves.

What moves is there already: brought up for it (``trial``), deployed before (``deployment``), or the user's own (``own``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from whimbrel.analysis.phases import CLOCK_OF, phase_reached
from whimbrel.errors import GuestError, WhimbrelError, interrupted
from whimbrel.events import Bus
from whimbrel.guests.ends import EndWatch
from whimbrel.guests.last_words import LastWords
from whimbrel.hosts.host import Host
from whimbrel.moves.driving import Drive, drive_by_technique
from whimbrel.moves.instruments import said_by, watch
from whimbrel.moves.movable import Movable, clocks_on
from whimbrel.moves.notes import Notes, now
from whimbrel.moves.verdict import Verdict
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import InstrumentCost
from whimbrel.services.client import CLIENTS
from whimbrel.spec.fields import HostName
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import attend, attending, undisturbed
from whimbrel.system.instrument import Instrument

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What those who ask for a move want of it, and want to hear.

    ``name`` is what they call what moves, ``cure`` what they are told to do when it has ended by itself (given whether no copy is
    left). How it goes is published on ``bus``. Without ``needs_clocks`` a host whose clock cannot be read is no reason not to
    move.
    """

    bus: Bus
    cure: Callable[[bool], str]
    name: str = "the guest"
    drive: Drive = drive_by_technique
    needs_clocks: bool = True


Moved = TypeVar("Moved", bound=Movable)


class MeasuredMove(Generic[Moved]):
    """One move between two hosts, source first; what is found of it is in ``notes``, its job's series in the file ``job``.

    ``names`` are of the VMs whose end ends everything; ``runs_on`` says on which host each of them runs already.
    """

    def __init__(
        self, hosts: tuple[Host, Host], names: Collection[str], asked: Asked, runs_on: dict[str, HostName] | None = None,
        job: Path | None = None,
    ) -> None:  # fmt: skip
        self.hosts = hosts
        self.asked = asked
        self.notes = Notes(now(), read_pair())
        self.running: list[Instrument] = []
        self._job = job
        self._ends = EndWatch(names, hosts, runs_on)
        self._last_words = LastWords(hosts)
        self._doing = "getting ready"
        self._subject: Moved | None = None
        self._events: MigrationEvents | None = None
        # Why the move failed, where it did.
        self._why: WhimbrelError | None = None

    @property
    def end(self) -> Host:
        """The host where it is to be in the end."""
        return self.hosts[1]

    @property
    def subject(self) -> Moved:
        """What moves; GuestError before it was begun with."""
        if self._subject is None:
            raise GuestError(f"{self.asked.name} is not up")
        return self._subject

    def attempt(self, course: Callable[[ExitStack], None]) -> WhimbrelError | None:
        """Follows the course; what failed, the move or its measurement, or None. It is in the notes as well.

        The course is given what its instruments run in. What ends the guest ends its waits. Only what stops us is raised.
        """
        failed: WhimbrelError | None = None
        with ExitStack() as listening:
            try:
                listening.enter_context(self._ends)
                with attending(self._ends.check):
                    with ExitStack() as watching:
                        course(watching)
                    self._keep_what_instruments_said()
            except (WhimbrelError, OSError) as error:
                if interrupted(error):
                    raise KeyboardInterrupt from error
                log.debug("the move, or its measurement, failed", exc_info=True)
                failed = self._said_of(error)
                self.notes.failure = str(failed)
        for host in self.hosts:
            self.notes.unmeasured |= host.access.unmeasured
        return failed

    def say(self, step: str) -> None:
        """Says what is done from now on."""
        self._doing = step
        self.asked.bus.step(step)

    def begin(self, subject: Moved) -> None:
        """Reads what is to be known of it before it moves."""
        self._subject = subject
        self._read_clocks(self.hosts[0])

    def watch(self, seconds: float) -> None:
        """Lets time pass; raises when an instrument ends meanwhile, or a host dies."""
        watch(seconds, self.running, self.hosts)

    def make(self, watching: ExitStack, after_s: float = 0.0, once_moved: Callable[[], None] = lambda: None) -> None:
        """Moves it; watches for so long after it, and reads the clocks there.

        ``once_moved`` is called before that, of a move that went well. One that failed is watched as well, and its failure raised
        then.
        """
        self._follow(self._move, watching, after_s, once_moved)

    def _follow(
        self, act: Callable[[MigrationEvents], None], watching: ExitStack, after_s: float, once_moved: Callable[[], None]
    ) -> None:
        """The act, and what comes after it, with what hears of it."""
        events = self._events = watching.enter_context(MigrationEvents(self.subject.vms, *self.hosts, self.asked.bus))
        try:
            act(events)
            # What ended the guest in its move did so before what comes next.
            attend()
            if self._why is None:
                once_moved()
            if after_s:
                self.say("watching after the move")
                self.watch(after_s)
            if self._why is None:
                self._read_clocks(self.end)
        finally:
            self.notes.keep(events, self._job, said_by(self.running))
        if self._why is not None:
            raise self._why

    def _move(self, events: MigrationEvents) -> None:
        source, destination = self.hosts
        request = replace(self.subject.request, ended=self._ends.told)
        self.say(f"moving to host {destination.name}")
        # A cold move ends the guest itself; any other has to know at once when it has ended.
        cold = request.spec.technique == "cold"
        with undisturbed(), self._ends.expected() if cold else nullcontext():
            ending = self.asked.drive(
                request, events, lambda: phase_reached(self._ends.before(events.events), source.name, destination.name)
            )
        self.notes.keep_ending(ending)
        self._why = ending.error
        if ending.result == "unsafe" and ending.error is not None:
            raise ending.error

    def _read_clocks(self, host: Host) -> None:
        try:
            self.notes.clocks |= clocks_on(self.subject, host)
        except WhimbrelError as error:
            if self.asked.needs_clocks:
                raise
            self.notes.unmeasured[f"{CLOCK_OF}{host.name}"] = str(error)

    def _keep_what_instruments_said(self) -> None:
        """What each took; and what players have said up to their own end."""
        costs = [(instrument.name, instrument.cost) for instrument in self.running]
        if self._events is not None:
            costs.append(("migration events", self._events.cost))
        self.notes.costs = [InstrumentCost(name=name, **cost) for name, cost in costs]
        players = {client.instrument for client in CLIENTS.values()}
        told = [event for event in self.notes.events if event.source not in players]
        self.notes.events = [*told, *said_by(self.running)]

    def _said_of(self, error: WhimbrelError | OSError) -> WhimbrelError:
        verdict = Verdict(self.notes, self.asked.name, self._subject, self._why, self.asked.cure)
        end = self._ends.heard()
        if end is None:
            return verdict.of_failure(error)
        self.notes.end = self._last_words.of(end, self._doing)
        return verdict.of_end(end, error)
