"""Who drives a move: the technique alone, or with a journal by which others can bring it to an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from whimbrel.errors import TrialError, UsageError, WhimbrelError
from whimbrel.migrate.carry_out import Ending, carry_out
from whimbrel.migrate.journal import WrittenJournal, note_end, note_left, read_history
from whimbrel.migrate.storage import MAKING_DISK, keep_only_copy
from whimbrel.migrate.technique import Journal, MoveRequest
from whimbrel.migrate.techniques import technique_of
from whimbrel.migrate.verify import exactly_one

# Moves what it is asked to, writes into the journal what it does, and asks for the phase to tell where it failed.
Drive = Callable[[MoveRequest, Journal, Callable[[], str]], Ending]


def drive_by_technique(request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
    """The technique of the file, and nothing else."""
    return carry_out(technique_of(request.spec), request, journal, phase)


def drive_with_journal(name: str, file: Path, abort_file: Path, interrupted: Callable[[str], None]) -> Drive:
    """Keeps a journal of the move in ``file``, and aborts it once ``abort_file`` is there.

    ``name`` is what ``whimbrel recover`` is given. ``interrupted`` is told on which host it runs when we are stopped.
    """

    def drive(request: MoveRequest, journal: Journal, phase: Callable[[], str]) -> Ending:
        abort_file.unlink(missing_ok=True)
        written = WrittenJournal(file, journal)
        written.begin(request.source.name, request.destination.name, request.spec)
        try:
            ending = drive_by_technique(replace(request, told_to_abort=abort_file.exists), written, phase)
        except KeyboardInterrupt:
            interrupted(_end_interrupted(request, file))
            raise
        except UsageError:
            # Nothing was done.
            note_end(file, "failed")
            raise
        try:
            if ending.result == "unsafe":
                # It stays one that is to be recovered, and not by us.
                note_left(file)
            else:
                note_end(file, ending.result)
        except OSError as full:
            return replace(ending, error=not_written(name, ending, full))
        return ending

    return drive


def _end_interrupted(request: MoveRequest, file: Path) -> str:
    """The technique has aborted the move, or seen it out, before it let us go: the host on which it runs."""
    where = exactly_one(request.what, request.places)
    history = read_history(file)
    keep_only_copy(request, where, made=history is not None and history.has(MAKING_DISK))
    note_end(file, "moved" if where == request.destination.name else "aborted")
    return where


def not_written(name: str, ending: Ending, full: OSError) -> WhimbrelError:
    """What is said where the end of the move could not be written into its journal: that end, and why."""
    resolution = f"make room, then 'whimbrel recover {name}'"
    why = f"its journal could not be written: {full}"
    if ending.error is None:
        where = " and ".join(ending.runs_on)
        return TrialError(f"{name} {ending.result} and runs on {where}", details=why, resolution=resolution)
    ending.error.details = f"{ending.error.details}\n{why}; {resolution}".strip()
    return ending.error
