"""One move of a guest of the user's own, from the call to its end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from whimbrel.errors import TrialError
from whimbrel.events import TRIAL_DONE, Bus
from whimbrel.migrate.carry_out import Ending
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.moves.driving import drive_with_journal
from whimbrel.moves.measured import Asked, MeasuredMove
from whimbrel.observe.host_readings import host_readings
from whimbrel.own.record import Kept, record_of
from whimbrel.own.settling import settle
from whimbrel.own.standing import OwnMove
from whimbrel.own.watching import Watch
from whimbrel.records.trial import TrialRecord

log = logging.getLogger(__name__)


class Attempt:
    """Implements ``moves.movable.Movable``. ``changed`` are the lines by which what a host keeps of it differs from before."""

    def __init__(self, move: OwnMove, folder: Path, watch: Watch, bus: Bus) -> None:
        self._move = move
        self._watch = watch
        self._bus = bus
        self.what = move.guest
        self.vms = move.guest, move.guest
        self.request = move.request()
        self.places = self.request.source, self.request.destination
        name = move.guest.name
        self._driven = drive_with_journal(name, move.journal_file, move.abort_file, self._interrupted)
        asked = Asked(bus, partial(_cure, name), name, self._drive, needs_clocks=False)
        self._measured: MeasuredMove[Attempt] = MeasuredMove(
            self.places, [name], asked, {name: move.source.name}, job=folder / "job.parquet"
        )
        self.ending: Ending | None = None
        self.changed: list[str] = []

    def make(self) -> None:
        """Moves it, and sees to all that is to be as it was. Raises what kept it from being made."""
        failed = self._measured.attempt(self._course)
        if self.ending is None:
            raise failed or TrialError(f"{self.what} was not moved")
        if self.ending.error is None and failed is not None:
            # How it ended is known, and matters more.
            log.warning("the move was not measured to its end: %s", failed)
        self.changed = [] if self.ending.result == "unsafe" else settle(self._move, self.ending.runs_on[0])
        if self.ending.report is not None:
            self._watch.wait_until_as_before(self.ending.report.returned_ns)

    def _course(self, watching: ExitStack) -> None:
        self._measured.begin(self)
        watching.enter_context(host_readings(self.places, self._bus))
        self._measured.make(watching)

    def record(self, kept: Kept) -> TrialRecord:
        """All that was seen, once nothing watches any more."""
        notes = self._measured.notes
        notes.events = sorted([*notes.events, *self._watch.events()], key=lambda event: event.seen_ns)
        notes.costs = [*notes.costs, *self._watch.costs]
        notes.unmeasured |= self._watch.unmeasured
        return record_of(kept, self._move, notes)

    def _drive(self, request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
        self.ending = self._driven(request, journal, phase)
        return self.ending

    def _interrupted(self, where: str) -> None:
        moved = where == self._move.destination.name
        result, error = ("moved", None) if moved else ("aborted", "interrupted")
        self._bus.tell(TRIAL_DONE, order=1, arm=self.what.name, result=result, succeeded=moved, error=error)
        settle(self._move, where)
        self._bus.step(f"interrupted: {self.what} runs on host {where}")


def _cure(name: str, gone: bool) -> str:
    return f"its console and the logs of both hosts say why; 'whimbrel recover {name}' looks at both hosts"
