"""Ctrl-C: once, clean up and stop; twice, say what is left and stop at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from whimbrel.errors import CleanUpError
from whimbrel.system.ledger import Ledger, all_ledgers

_INCOMPLETE = CleanUpError.exit_code
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it is entered, a first signal raises KeyboardInterrupt and a second one ends the process.

    ``then`` tells a user what follows the first. One that comes while everything is being removed anyway is noted, and raised at
    the end.
    """

    def __init__(self, ledger: Ledger, then: str = "removing what was made") -> None:
        self._ledger = ledger
        self._then = then
        self._count = 0
        self._noted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            # What was ignored (nohup) stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self._ledger.entries and not self._ledger.kept:
            raise CleanUpError(
                "interrupted, and not everything was removed", details=_left(), resolution="'whimbrel gc' removes it"
            )
        if kind is None and self._noted:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            _say(f"interrupted: {self._then} (interrupt again to stop at once)")
            if self._ledger.undoing:
                self._noted = True
                return
            raise KeyboardInterrupt
        if self._ledger.kept:
            _say("stopped at once; a move that was under way may go on by itself: 'whimbrel recover' finds out")
        else:
            _say(f"stopped before everything was removed; still there, until 'whimbrel gc' removes it:\n{_left()}")
        os._exit(_INCOMPLETE)


def _left() -> str:
    things = [f"  {entry.kind} {entry.name}" for ledger in all_ledgers() if not ledger.kept for entry in ledger.entries]
    return "\n".join(things) or "  nothing"


def _say(text: str) -> None:
    """Not through Python's buffers: the signal may have come in the middle of a write to them."""
    os.write(2, f"whimbrel: {text}\n".encode())
