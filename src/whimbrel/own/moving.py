"""Moves a guest of the user's own, and leaves everything else as it was."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial

from whimbrel.analysis.phases import between
from whimbrel.engines.hypervisor import Guest, Hypervisor
from whimbrel.errors import EngineError, TrialError, UsageError
from whimbrel.events import FIGURES, TOLD, TRIAL_DONE, Bus
from whimbrel.hosts.one_host import refuse_one_host
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.driven import refuse_while_driven
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.moves.driving import drive_with_journal
from whimbrel.moves.measured import Asked as Wanted
from whimbrel.moves.measured import MeasuredMove
from whimbrel.moves.notes import Notes, reading_of
from whimbrel.observe.host_readings import host_readings
from whimbrel.own.claim import claim, give_back
from whimbrel.own.figures import OwnFigures, figures_from
from whimbrel.own.guest import describe, difference, find_guest, guest_to_move
from whimbrel.own.standing import OwnMove, Side, find_move, is_open
from whimbrel.spec.migration import MigrationSpec
from whimbrel.system.clock import read_pair

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What is to be done with a guest.

    ``persistent`` None: the destination keeps its description if the source does. ``take_over``: also where somebody who has
    crashed has claimed it. How it goes is published on ``bus``.
    """

    name: str
    source: Side
    destination: Side
    spec: MigrationSpec
    persistent: bool | None = None
    take_over: bool = False
    bus: Bus = field(default_factory=Bus)


@dataclass(frozen=True)
class OwnMoved:
    """How it ended; ``changed`` are the lines by which the description differs that a host keeps of it, before and after."""

    move: OwnMove
    ending: Ending
    figures: OwnFigures
    changed: list[str] = field(default_factory=list)


def move_own(asked: Asked) -> OwnMoved:
    """Moves it. UsageError, and nothing done, where it cannot be; how a move that failed ended is in what is returned."""
    _refuse_what_does_not_go(asked.spec)
    source, destination = asked.source.host, asked.destination.host
    refuse_one_host(source, destination)
    with source.hypervisor() as here, destination.hypervisor() as there:
        # First: of a guest that was moved nobody must hear that it could be started here.
        found = find_guest(here, asked.name)
        _refuse_unfinished(asked.name, found)
        _refuse_where_it_is(there, found, asked)
        guest = guest_to_move(here, asked.name)
        known = describe(guest)
        keep_there = known.persistent if asked.persistent is None else asked.persistent
        if known.autostart and not keep_there:
            raise UsageError(
                f"host {asked.source.name} would keep {asked.name} and start it with itself: a second copy of a guest that runs",
                resolution=f"leave out --transient, or 'virsh autostart --disable {asked.name}' first; nothing was moved",
            )
        move = OwnMove(
            guest=known.identity, source=asked.source, destination=asked.destination, memory_bytes=known.memory_bytes,
            persistent=known.persistent, keep_there=keep_there, autostart=known.autostart, description=known.description,
            definition=known.definition, spec=asked.spec, token=uuid.uuid4().hex,
        )  # fmt: skip
        move.write()
        move.abort_file.unlink(missing_ok=True)
        try:
            claim(guest, move.token, asked.take_over)
            return _Attempt(move, asked).make()
        except BaseException:
            # Nothing was moved, or nobody knows; then its journal says so.
            if not is_open(move):
                with suppress(EngineError):
                    give_back(guest, move.token)
            raise


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
    """One move, from the call to its end. Implements ``moves.movable.Movable``."""

    def __init__(self, move: OwnMove, asked: Asked) -> None:
        self._move = move
        self._bus = asked.bus
        self.what = move.guest
        self.vms = move.guest, move.guest
        self.request = move.request()
        self.places = self.request.source, self.request.destination
        self._driven = drive_with_journal(move.guest.name, move.journal_file, move.abort_file, self._interrupted)
        self._ending: Ending | None = None

    def make(self) -> OwnMoved:
        """What came of it. Raises what kept it from being made."""
        move, name = self._move, self.what.name
        asked = Wanted(self._bus, partial(_cure, name), name, self._drive, needs_clocks=False)
        measured: MeasuredMove[_Attempt] = MeasuredMove(self.places, [name], asked, {name: move.source.name})
        failed = measured.attempt(partial(self._course, measured))
        if self._ending is None:
            raise failed or TrialError(f"{name} was not moved")
        ending = self._ending
        if ending.error is None and failed is not None:
            # How it ended is known, and matters more.
            log.warning("the move was not measured to its end: %s", failed)
        figures = _figures(measured.notes, (move.source.name, move.destination.name))
        self._bus.tell(FIGURES, **{key: value for key, value in vars(figures).items() if key in TOLD})
        self._tell_end(ending.result, str(ending.error) if ending.error is not None else None)
        changed = [] if ending.result == "unsafe" else settle(move, ending.runs_on[0])
        return OwnMoved(move, ending, figures, changed)

    def _course(self, measured: MeasuredMove[_Attempt], watching: ExitStack) -> None:
        measured.begin(self)
        watching.enter_context(host_readings(self.places, self._bus))
        measured.make(watching)

    def _drive(self, request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
        self._ending = self._driven(request, journal, phase)
        return self._ending

    def _interrupted(self, where: str) -> None:
        self._tell_end("moved" if where == self._move.destination.name else "aborted", "interrupted")
        settle(self._move, where)
        self._bus.step(f"interrupted: {self.what} runs on host {where}")

    def _tell_end(self, result: str, error: str | None) -> None:
        moved = result == "moved"
        self._bus.tell(TRIAL_DONE, order=1, arm=self.what.name, result=result, succeeded=moved, error=None if moved else error)


def _cure(name: str, gone: bool) -> str:
    return f"its console and the logs of both hosts say why; 'whimbrel recover {name}' looks at both hosts"


def _figures(notes: Notes, way: tuple[str, str]) -> OwnFigures:
    conversion = between(reading_of(notes.clock_before), reading_of(read_pair()))
    return figures_from(notes.events, conversion, notes.clocks, way, notes.report, notes.qemu_downtime_ms)


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
