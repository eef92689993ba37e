"""Moves a guest of the user's own, and leaves everything else as it was."""

from __future__ import annotations

import logging
import uuid
from contextlib import suppress
from dataclasses import dataclass, field, replace

from whimbrel.analysis.phases import between, phase_reached
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import EngineError, InstrumentError, UsageError, WhimbrelError
from whimbrel.events import Bus
from whimbrel.guests.ends import EndWatch
from whimbrel.hosts.one_host import refuse_one_host
from whimbrel.hosts.preflight.finding import Finding
from whimbrel.migrate.carry_out import Ending, carry_out
from whimbrel.migrate.driven import refuse_while_driven
from whimbrel.migrate.journal import WrittenJournal, note_end, note_left
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.techniques import technique_of
from whimbrel.migrate.verify import exactly_one
from whimbrel.observe.host_clock import clock_of
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.own.claim import claim, give_back
from whimbrel.own.figures import OwnFigures, figures_from
from whimbrel.own.guest import describe, difference, find_guest, guest_to_move
from whimbrel.own.preflight.examine import examine_guest
from whimbrel.own.preflight.gate import in_words, refuse_blocked
from whimbrel.own.standing import OwnMove, Side, find_move, is_open
from whimbrel.records.trial import ClockReading, HostClock
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.clock import ClockPair, read_pair

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is to be done with a guest.

    ``persistent`` None: the destination keeps its description if the source does. ``take_over``: also where somebody who has
    crashed has claimed it. ``force``: also past what blocks it, unless two copies could run, or data be lost. How it goes is
    published on ``bus``.
    """

    name: str
    source: Side
    destination: Side
    spec: MigrationSpec
    persistent: bool | None = None
    take_over: bool = False
    force: bool = False
    bus: Bus = field(default_factory=Bus)


@dataclass(frozen=True)
class OwnMoved:
    """How it ended; ``changed`` are the lines by which the description differs that a host keeps of it, before and after.

    ``found`` is what stood against it before it began.
    """

    move: OwnMove
    ending: Ending
    figures: OwnFigures
    found: list[Finding] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)


def move_own(asked: Asked) -> OwnMoved:
    """Moves it; how a move that failed ended is in what is returned.

    UsageError, and nothing done, where it cannot be; CapabilityError where something that was seen beforehand blocks it.
    """
    _refuse_what_does_not_go(asked.spec)
    source, destination = asked.source.host, asked.destination.host
    refuse_one_host(source, destination)
    with source.hypervisor() as here, destination.hypervisor() as there:
        # First: of a guest that was moved nobody must hear that it could be started here.
        found = find_guest(here, asked.name)
        _refuse_unfinished(asked.name, found)
        _refuse_where_it_is(there, found, asked)
        guest = guest_to_move(here, asked.name)
        move = _move_of(guest, asked)
        against = examine_guest(guest, (here, there), (asked.source, asked.destination), asked.spec)
        refuse_blocked(asked.name, against, asked.force)
        for words in in_words(against):
            asked.bus.note(words)
        move.write()
        move.abort_file.unlink(missing_ok=True)
        try:
            claim(guest, move.token, asked.take_over)
            return replace(_Attempt(move, asked).make(), found=against)
        except BaseException:
            # Nothing was moved, or nobody knows; then its journal says so.
            if not is_open(move):
                with suppress(EngineError):
                    give_back(guest, move.token)
            raise


def _move_of(guest: Guest, asked: Asked) -> OwnMove:
    """What is to be done with it. UsageError where it would be started twice one day."""
    known = describe(guest)
    keep_there = known.persistent if asked.persistent is None else asked.persistent
    if known.autostart and not keep_there:
        raise UsageError(
            f"host {asked.source.name} would keep {asked.name} and start it with itself: a second copy of a guest that runs",
            resolution=f"leave out --transient, or 'virsh autostart --disable {asked.name}' first; nothing was moved",
        )
    return OwnMove(
        guest=known.identity, source=asked.source, destination=asked.destination, memory_bytes=known.memory_bytes,
        persistent=known.persistent, keep_there=keep_there, autostart=known.autostart, description=known.description,
        definition=known.definition, spec=asked.spec, token=uuid.uuid4().hex,
    )  # fmt: skip


def _refuse_what_does_not_go(spec: MigrationSpec) -> None:
    if spec.technique == "cold" or spec.moves != "vm":
        raise UsageError(
            f"the technique {spec.technique} is not for guests that whimbrel has not deployed",
            resolution="shut it down, and start it on the other host ('virsh shutdown', 'virsh define', 'virsh start')",
        )
    if spec.storage != "shared" or spec.by != "whimbrel":
        raise UsageError("a guest of your own is moved with its disk where both hosts see it, by whimbrel itself")


def _refuse_where_it_is(there: Hypervisor, here: Guest | None, asked: Asked) -> None:
    """``here`` is what the source has of it."""
    host = asked.destination.name
    arrived = there.find(here.uuid) if here is not None else find_guest(there, asked.name)
    if arrived is not None and arrived.active:
        raise UsageError(
            f"{asked.name} is on host {host} already",
            resolution="look at both hosts before anything is started on either. Nothing was moved",
        )
    namesake = there.find_named(here.name) if here is not None else None
    if here is not None and namesake is not None and namesake.uuid != here.uuid:
        raise UsageError(
            f"host {host} has another guest called {here.name} (UUID {namesake.uuid})",
            resolution="rename one of them while it is off ('virsh domrename'); nothing was moved",
        )


def _refuse_unfinished(name: str, here: Guest | None) -> None:
    before = find_move(here.uuid if here is not None else name)
    if before is None:
        return
    refuse_while_driven(name, before.journal_file)
    if is_open(before):
        raise UsageError(f"an earlier move of {name} was interrupted", resolution=f"'whimbrel recover {name}'; nothing was moved")


class _Attempt:
    """One move, from the call to its end."""

    def __init__(self, move: OwnMove, asked: Asked) -> None:
        self._move = move
        self._asked = asked
        self._request = move.request()
        self._clocks: dict[str, HostClock] = {}
        hosts = [self._request.source, self._request.destination]
        self._ends = EndWatch([move.guest.name], hosts, {move.guest.name: move.source.name})

    def make(self) -> OwnMoved:
        """What came of it."""
        move, request = self._move, self._request
        before = read_pair()
        self._read_clock(move.source)
        ending: Ending | None = None
        events = MigrationEvents((move.guest, move.guest), request.source, request.destination, self._asked.bus)
        try:
            with self._ends, events:
                ending = self._carry_out(events)
        except InstrumentError as failed:
            # How it ended is known, and matters more.
            if ending is None:
                raise
            log.warning("the move was not measured to its end: %s", failed)
        if ending.result == "moved":
            self._read_clock(move.destination)
        figures = figures_from(
            events.events, between(_reading(before), _reading(read_pair())), self._clocks, events.way, ending.report,
            events.qemu_downtime_ms,
        )  # fmt: skip
        changed = [] if ending.result == "unsafe" else settle(move, ending.runs_on[0])
        return OwnMoved(move, ending, figures, changed=changed)

    def _carry_out(self, events: MigrationEvents) -> Ending:
        move, request = self._move, self._request
        journal = WrittenJournal(move.journal_file, events)
        journal.begin(move.source.name, move.destination.name, move.spec)
        self._asked.bus.step(f"moving {move.guest} to host {move.destination.name}")
        try:
            ending = carry_out(
                technique_of(move.spec), replace(request, ended=self._ends.told), journal,
                lambda: phase_reached(self._ends.before(events.events), *events.way),
            )  # fmt: skip
        except KeyboardInterrupt:
            self._say_where_it_stays(request)
            raise
        except UsageError:
            note_end(move.journal_file, "failed")
            raise
        if ending.result == "unsafe":
            note_left(move.journal_file)
        else:
            note_end(move.journal_file, ending.result)
        return ending

    def _say_where_it_stays(self, request: MoveRequest) -> None:
        """The technique has aborted the move, or seen it out, before it let us go."""
        move = self._move
        where = exactly_one(move.guest, request.places)
        settle(move, where)
        note_end(move.journal_file, "moved" if where == move.destination.name else "aborted")
        self._asked.bus.step(f"interrupted: {move.guest} runs on host {where}")

    def _read_clock(self, side: Side) -> None:
        """A host whose clock cannot be read makes the blackout unknown, and nothing else."""
        with suppress(WhimbrelError):
            self._clocks[side.name] = clock_of(side.host, self._move.guest)


def settle(move: OwnMove, where: str) -> list[str]:
    """Once it runs on one host alone: gives the claim back, and has it kept as it was, on one side only.

    The lines by which what is kept of it differs from before. What cannot be done is logged: the guest runs, which matters more.
    """
    side = move.destination if where == move.destination.name else move.source
    try:
        _give_back_where_it_is(move, side)
        if not move.persistent and not (where == move.destination.name and move.keep_there):
            return []
        if where == move.destination.name and move.keep_there:
            _forget_at_the_source(move)
        keeper = side if where == move.source.name or move.keep_there else move.source
        return _see_to_what_is_kept(move, keeper)
    except EngineError as error:
        log.warning("%s runs on host %s, but what is kept of it was not seen to: %s", move.guest, where, error)
        return []


def _give_back_where_it_is(move: OwnMove, side: Side) -> None:
    with side.host.hypervisor() as host:
        guest = host.find(move.guest.uuid)
        if guest is not None and guest.active:
            give_back(guest, move.token)


def _forget_at_the_source(move: OwnMove) -> None:
    """libvirt has done so by itself, unless it ended in the middle. Only once the destination keeps it, and runs it."""
    with move.destination.host.hypervisor() as there:
        arrived = there.find(move.guest.uuid)
        if arrived is None or not arrived.persistent or not arrived.executing:
            return
    with move.source.host.hypervisor() as here:
        left = here.find(move.guest.uuid)
        if left is not None and not left.active:
            left.undefine()


def _see_to_what_is_kept(move: OwnMove, keeper: Side) -> list[str]:
    with keeper.host.hypervisor() as host:
        guest = host.find(move.guest.uuid)
        if guest is None or not guest.persistent:
            log.warning("host %s does not keep the description of %s: it is gone when the guest is off", keeper.name, move.guest)
            return []
        if move.autostart and not guest.autostart:
            guest.set_autostart(True)
        # Of one that was not kept there is nothing to compare with.
        return difference(move.definition, guest.definition) if move.persistent else []


def _reading(pair: ClockPair) -> ClockReading:
    return ClockReading(realtime_ns=pair.realtime_ns, monotonic_ns=pair.monotonic_ns, error_ns=pair.error_ns)
