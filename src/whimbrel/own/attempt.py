"""One move of a guest of the user's own, from the call to its end."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from whimbrel.analysis.phases import CLOCK_OF, phase_reached
from whimbrel.errors import InstrumentError, UsageError, WhimbrelError
from whimbrel.events import Bus
from whimbrel.guests.ends import EndWatch
from whimbrel.migrate.carry_out import Ending, carry_out
from whimbrel.migrate.journal import WrittenJournal, note_end, note_left
from whimbrel.migrate.technique import MoveRequest
from whimbrel.migrate.techniques import technique_of
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.notes import now
from whimbrel.observe.host_clock import clock_of
from whimbrel.observe.migration_events import MigrationEvents
from whimbrel.own.record import Kept, Noted, reading, record_of
from whimbrel.own.settling import settle
from whimbrel.own.standing import OwnMove, Side
from whimbrel.own.watching import Watch
from whimbrel.records.trial import TrialRecord

log = logging.getLogger(__name__)


class Attempt:
    """One move, from the call to its end."""

    def __init__(self, move: OwnMove, versions: dict[str, str], place: Path, watch: Watch, bus: Bus) -> None:
        self._move = move
        self._place = place
        self._watch = watch
        self._bus = bus
        self._request = move.request()
        self._noted = Noted(reading(), now(), versions, move.accelerator)
        hosts = [self._request.source, self._request.destination]
        self._ends = EndWatch([move.guest.name], hosts, {move.guest.name: move.source.name})
        self._events = MigrationEvents((move.guest, move.guest), self._request.source, self._request.destination, bus)
        self.ending: Ending | None = None
        self.changed: list[str] = []

    def make(self) -> None:
        """Moves it, and sees to all that is to be as it was."""
        self._read_clock(self._move.source)
        try:
            with self._ends, self._events:
                self.ending = self._carry_out(self._events)
        except InstrumentError as failed:
            # How it ended is known, and matters more.
            if self.ending is None:
                raise
            log.warning("the move was not measured to its end: %s", failed)
            self._noted.unmeasured["the move's statistics"] = str(failed)
        ending = self.ending
        if ending.result == "moved":
            self._read_clock(self._move.destination)
        self.changed = [] if ending.result == "unsafe" else settle(self._move, ending.runs_on[0])
        self._events.write_job(self._place / "job.parquet")
        if ending.report is not None:
            self._watch.wait_until_as_before(ending.report.returned_ns)

    def record(self, kept: Kept) -> TrialRecord:
        """All that was seen, once nothing watches any more."""
        assert self.ending is not None
        self._noted.unmeasured |= self._watch.unmeasured
        return record_of(kept, self._noted, self.ending, self._events, self._watch.events(), self._watch.costs)

    def _carry_out(self, events: MigrationEvents) -> Ending:
        move, request = self._move, self._request
        journal = WrittenJournal(move.journal_file, events)
        journal.begin(move.source.name, move.destination.name, move.spec)
        self._bus.step(f"moving {move.guest} to host {move.destination.name}")
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
        self._bus.step(f"interrupted: {move.guest} runs on host {where}")

    def _read_clock(self, side: Side) -> None:
        """A host whose clock cannot be read makes the blackout unknown, and nothing else."""
        try:
            self._noted.clocks[side.name] = clock_of(side.host, self._move.guest)
        except WhimbrelError as error:
            self._noted.unmeasured[f"{CLOCK_OF}{side.name}"] = error.brief
