"""Moves that somebody drives just now: they are left to them, or asked to abort."""

from __future__ import annotations

from pathlib import Path

from whimbrel.errors import UsageError
from whimbrel.migrate.journal import read_history
from whimbrel.system.deadline import pause

_LOOK_EVERY_S = 0.25


def refuse_while_driven(name: str, journal_file: Path) -> None:
    """Raises UsageError while somebody else moves it."""
    history = read_history(journal_file)
    if history is not None and history.driven:
        raise UsageError(
            f"{name} is being moved by process {history.intent.pid}",
            resolution=f"wait for it, or 'whimbrel abort {name}'",
        )


def ask_to_abort(name: str, journal_file: Path, abort_file: Path) -> str:
    """Asks whoever moves it to abort, and waits for the end of the move; how it ended.

    UsageError when nothing moves it.
    """
    history = read_history(journal_file)
    if history is None or history.ended is not None:
        raise UsageError(f"{name} is not being moved")
    if not history.driven:
        raise UsageError(
            f"nobody drives the move of {name} any more (last step: {history.last})", resolution=f"'whimbrel recover {name}'"
        )
    abort_file.touch()
    # Past its point of no return a move takes as long as it gets on; whoever drives it knows when it does not.
    while history.driven:
        pause(_LOOK_EVERY_S)
        history = read_history(journal_file) or history
    return history.ended or "unsafe"
