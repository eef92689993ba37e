"""Brings a guest of the user's own whose move was interrupted to one running copy."""

from __future__ import annotations

from collections.abc import Callable

from whimbrel.migrate.driven import refuse_while_driven
from whimbrel.migrate.intentions import intention_of, interrupted_move, is_shutting_down
from whimbrel.migrate.journal import note_booted_anew, note_end
from whimbrel.migrate.recover import VmSides, recover
from whimbrel.migrate.recovery import Decision
from whimbrel.own.settling import settle
from whimbrel.own.standing import OwnMove


def bring_back_own(move: OwnMove, boot_anew: bool, told: Callable[[Decision], None]) -> tuple[str, list[str]]:
    """The host on which its one copy runs in the end, and the lines by which what is kept of it differs from before.

    UsageError when its move is still driven by somebody, UnsafeStateError when there can be no running copy.
    """
    refuse_while_driven(move.guest.name, move.journal_file)
    history = move.history
    interrupted = interrupted_move(history)
    intention = intention_of(history, boot_anew)
    request = move.request()
    sides = VmSides(request, move.description, intention.switched, is_shutting_down(interrupted))

    def about_to_boot() -> None:
        if history is not None:
            note_booted_anew(move.journal_file)

    where = recover(sides, request, intention, told, about_to_boot)
    changed = settle(move, where)
    if interrupted is not None:
        note_end(move.journal_file, "moved" if where == move.destination.name else "failed")
    move.abort_file.unlink(missing_ok=True)
    return where, changed
