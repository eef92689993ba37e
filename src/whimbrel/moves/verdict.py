"""What is said of a move, or of its measurement, that failed: where the guest runs comes first, then why, then what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from whimbrel.errors import GuestEndedError, TrialError, UnsafeStateError, WhimbrelError
from whimbrel.guests.last_words import End
from whimbrel.migrate.carry_out import evidence, is_gone, running_on
from whimbrel.migrate.verify import exactly_one
from whimbrel.moves.movable import Movable
from whimbrel.moves.notes import Notes

_LINES_SAID = 5


@dataclass(frozen=True)
class Verdict:
    """The verdict on one move; it sets the notes right where a failure shows that they no longer hold.

    ``subject`` is None when it was not there yet, ``why`` is what made the move itself fail, where it did. ``name`` is what moves
    is called, ``cure`` says what to do when it has ended by itself: it is given whether no copy is left.
    """

    notes: Notes
    name: str
    subject: Movable | None
    why: WhimbrelError | None
    cure: Callable[[bool], str]

    def of_failure(self, failed: WhimbrelError | OSError) -> WhimbrelError:
        """A move that failed comes before an instrument that did: its end is known, and matters more."""
        if self.why is not None:
            if failed is not self.why:
                self.why.details = f"{self.why.details}\nIt was not measured to its end: {failed}".strip()
            return self.why
        error = failed if isinstance(failed, WhimbrelError) else TrialError(str(failed))
        if self.notes.result != "moved" or self.subject is None:
            return error
        places = self.subject.places
        try:
            where = exactly_one(self.subject.what, places)
        except UnsafeStateError as unsafe:
            self.notes.result = "unsafe"
            self.notes.runs_on = list(running_on(self.subject.what, places))
            return UnsafeStateError(
                f"{self.name} had moved, but then {unsafe.brief}",
                details=evidence(places, unsafe.details, str(failed)),
                resolution=unsafe.resolution,
            )
        error.brief = f"{self.name} had moved and runs on host {where}, but {error.brief}"
        error.details = evidence(places, error.details)
        return error

    def of_end(self, end: End, failed: WhimbrelError | OSError) -> WhimbrelError:
        """Of a guest that has ended by itself, before its move, in it, or after it, whatever that made fail first."""
        gone = True
        if self.subject is not None:
            request = self.subject.request
            gone = is_gone(request)
            self.notes.runs_on = [] if gone else list(running_on(request.what, request.places))
        if self.why is not None:
            if str(end) not in str(self.why):
                self.why.details = f"{self.why.details}\n{end}".strip()
            return self.why
        console = self.notes.end.console[-_LINES_SAID:] if self.notes.end is not None else []
        details = "\n".join([*console, "" if isinstance(failed, GuestEndedError) else str(failed)]).strip()
        if self.notes.result == "moved" and not self.notes.runs_on:
            self.notes.result = "unsafe"
            left = "no copy is left" if gone else "what is left is unknown"
            return UnsafeStateError(f"{self.name} had moved, but then {end}; {left}", details=details, resolution=self.cure(gone))
        during = self.notes.end.during if self.notes.end is not None else ""
        return GuestEndedError(f"{end}, while: {during}", details=details, resolution=self.cure(gone))
