"""A measured move: all that watches a move, the move itself, and what is said of it, whoever asked for it.

A trial brings up what it moves, and takes it away again; a deployed service runs already. From there on the way is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from whimbrel.analysis.phases import phase_reached
from whimbrel.errors import EngineError, GuestEndedError, GuestError, WhimbrelError, interrupted
from whimbrel.events import Bus
from whimbrel.guests.ends import EndWatch
from whimbrel.guests.last_words import LastWords
from whimbrel.hosts.host import Host
from whimbrel.migrate.carry_out import Ending, carry_out
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.migrate.techniques import EVERYTHING, promises_of, technique_of
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.guest_clock import clock_after, clock_before
from whimbrel.moves.instruments import Instruments, said_by, watch
from whimbrel.moves.notes import Invocation, Notes, Started, now
from whimbrel.moves.subject import Setting, Subject, clocks_on
from whimbrel.moves.testimony import judge, listen, testimony
from whimbrel.moves.verdict import Verdict
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.records.trial import InstrumentCost, StayRecord, TrialRecord
from whimbrel.services.client import CLIENTS
from whimbrel.spec.fields import HostName
from whimbrel.system.clock import read_pair
from whimbrel.system.deadline import attend, attending, undisturbed
from whimbrel.system.instrument import Instrument

log = logging.getLogger(__name__)

# Moves what it is asked to, writes into the journal what it does, and asks for the phase to tell where it failed.
Drive = Callable[[MoveRequest, Journal, Callable[[], str]], Ending]


def drive_by_technique(request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
    """The technique of the file, and nothing else."""
    return carry_out(technique_of(request.spec), request, journal, phase)


@dataclass(frozen=True)
class Asked:
    """What those who ask for a move want of it, and want to hear.

    ``name`` is what they call what moves, ``cure`` what they are told to do when it has ended by itself (given whether no copy is
    left). How it goes is published on ``bus``.
    """

    bus: Bus
    cure: Callable[[bool], str]
    name: str = "the guest"
    drive: Drive = drive_by_technique


class MeasuredMove:
    """One move, or its control, where nothing moves; writes its series into ``folder``, and all else into ``notes``.

    ``names`` are of the VMs whose end ends everything; ``runs_on`` says on which host each of them runs already.
    """

    def __init__(
        self, setting: Setting, names: Collection[str], folder: Path, asked: Asked, runs_on: dict[str, HostName] | None = None
    ) -> None:
        self.setting = setting
        self.notes = Notes(now(), read_pair())
        self.instruments = Instruments(setting.site, setting.spec, setting.plan, setting.hosts, folder, asked.bus)
        self.running: list[Instrument] = []
        self._asked = asked
        self._folder = folder
        self._ends = EndWatch(names, setting.hosts, runs_on)
        self._last_words = LastWords(setting.hosts)
        self._doing = "getting ready"
        self._subject: Subject | None = None
        self._events: MigrationEvents | None = None
        self._witness: Instrument | None = None
        # Why the move failed, where it did.
        self._why: WhimbrelError | None = None

    @property
    def end(self) -> Host:
        """Where it is to be in the end."""
        return self.setting.destination if self.setting.plan.moves else self.setting.source

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
        for host in self.setting.hosts:
            self.notes.unmeasured |= host.access.unmeasured
        return failed

    def say(self, step: str) -> None:
        """What is done from now on."""
        self._doing = step
        self._asked.bus.step(step)

    def begin(self, subject: Subject) -> None:
        """What is to be known of it before it moves. One whose own clock cannot be read is moved all the same."""
        self._subject = subject
        with self.setting.source.hypervisor() as connection:
            self.notes.host_versions = connection.versions()
        self.notes.clocks |= clocks_on(subject, self.setting.source)
        with self._noting_clock(), ExitStack() as holding:
            self.notes.guest_clock = clock_before(subject.inside_on(self.setting.source, holding))

    def watch_with(self, instrument: Instrument, watching: ExitStack) -> Instrument:
        """Starts an instrument that is to run until all is over."""
        self.running.append(watching.enter_context(instrument))
        return instrument

    def probe(self, watching: ExitStack) -> None:
        """Asks the guest's address all the while, where the file says so."""
        if self.setting.spec.observe.probe_every_s is not None:
            self.watch_with(self.instruments.probe(self.setting.spec.observe.probe_every_s), watching)

    def hear_witness(self, watching: ExitStack, patience_s: float) -> None:
        """Listens to the witness in the guest; InstrumentError when nothing comes from it in time."""
        self._witness = listen(self.instruments, watching, patience_s)
        self.running.append(self._witness)

    def watch(self, seconds: float) -> None:
        """Lets time pass; raises when an instrument ends meanwhile, or a host dies."""
        watch(seconds, self.running, self.setting.hosts)

    def make(self, watching: ExitStack, after_s: float, once_moved: Callable[[], None] = lambda: None) -> None:
        """Moves it, or lets it stay where the plan says so; watches for so long after it, and reads the clocks there.

        ``once_moved`` is called before that, of a move that went well. One that failed is watched as well, and its failure raised
        then.
        """
        subject, plan = self.subject, self.setting.plan
        events = self._events = watching.enter_context(MigrationEvents(subject.vms, *self.setting.hosts, self._asked.bus))
        try:
            if plan.moves:
                self._move(events)
            else:
                self._stay()
            # What ended the guest in its move did so before what comes next.
            attend()
            if self._why is None:
                once_moved()
            self.say("watching after the move")
            self.watch(after_s)
            if self._why is None:
                self.notes.clocks |= clocks_on(subject, self.end)
        finally:
            self.notes.keep(events, self._folder, said_by(self.running))
        if self._why is not None:
            raise self._why
        if plan.moves:
            self._see_to_clock()

    def judge(self) -> None:
        """Ends the instruments and asks the witness, where there is one, for what was promised."""
        for instrument in self.running:
            instrument.tell_to_end()
        if self._witness is not None:
            self.notes.witness = testimony(self._witness)
            judge(promises_of(self.setting.spec.migration) if self.setting.plan.moves else EVERYTHING, self.notes.witness)

    def record(self, start: Started, invocation: Invocation) -> TrialRecord:
        """All that was noted, as a record."""
        setting = self.setting
        return self.notes.record(setting.spec, setting.plan, start, setting.site, invocation, read_pair())

    @property
    def subject(self) -> Subject:
        """What moves; GuestError before it was begun with."""
        if self._subject is None:
            raise GuestError(f"{self._asked.name} is not up")
        return self._subject

    def _move(self, events: MigrationEvents) -> None:
        source, destination = self.setting.hosts
        request = replace(self.subject.request, ended=self._ends.told)
        self.say(f"moving to host {destination.name}")
        # A cold move ends the guest itself; any other has to know at once when it has ended.
        cold = self.setting.spec.migration.technique == "cold"
        with undisturbed(), self._ends.expected() if cold else nullcontext():
            ending = self._asked.drive(
                request, events, lambda: phase_reached(self._ends.before(events.events), source.name, destination.name)
            )
        self.notes.keep_ending(ending)
        self._why = ending.error
        if ending.result == "unsafe" and ending.error is not None:
            raise ending.error

    def _stay(self) -> None:
        """The control: nothing moves, and the instruments see what they see by themselves."""
        self.say("watching a guest that stays")
        from_ns = read_pair().monotonic_ns
        self.watch(self.setting.spec.observe.stay_s)
        self.notes.stay = StayRecord(from_ns=from_ns, to_ns=read_pair().monotonic_ns)
        self.notes.runs_on = [exactly_one(self.subject.what, self.subject.places)]
        self.notes.result = "stayed"

    def _see_to_clock(self) -> None:
        """How the guest's clock stands after the move; GuestError when it was not set though that was asked for."""
        notes, migration = self.notes, self.setting.spec.migration
        with self._noting_clock(), ExitStack() as holding:
            inside = self.subject.inside_on(self.end, holding)
            notes.guest_clock = clock_after(inside, notes.guest_clock, migration)
        was_set = notes.guest_clock is not None and notes.guest_clock.after_setting is not None
        if migration.after == "set-clock" and not was_set and self.subject.vms is not None:
            raise GuestError("its clock was not set", details=notes.unmeasured.get("the guest's clock", ""))

    @contextmanager
    def _noting_clock(self) -> Iterator[None]:
        try:
            yield
        except GuestEndedError:
            raise
        except (GuestError, EngineError) as why:
            self.notes.unmeasured["the guest's clock"] = str(why)

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
        verdict = Verdict(self.notes, self._asked.name, self._subject, self._why, self._asked.cure)
        end = self._ends.heard()
        if end is None:
            return verdict.of_failure(error)
        self.notes.end = self._last_words.of(end, self._doing)
        return verdict.of_end(end, error)
