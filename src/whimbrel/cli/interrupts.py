"""Ctrl-C: once, clean up and stop; twice, say what is left and stop at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from whimbrel.cli.streams import say_at_once
from whimbrel.errors import CleanUpError
from whimbrel.system.ledger import Ledger, all_ledgers

_INCOMPLETE = CleanUpError.exit_code
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it is entered, a first signal raises KeyboardInterrupt and a second one ends the process.

    ``ledger`` None: nothing was made that would have to be removed. ``then`` tells a user what follows the first. One that comes
    while everything is being removed anyway is noted, and raised at the end.
    """

    def __init__(self, ledger: Ledger | None, then: str = "removing what was made") -> None:
        self._ledger = ledger
        self._then = then
        self._count = 0
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
        if kind is KeyboardInterrupt and self._ledger is not None and self._ledger.entries and not self._ledger.kept:
            raise CleanUpError(
                "interrupted, and not everything was removed", details=_left(), resolution="'whimbrel gc' removes it"
            )
        # Noted, or lost on its way here.
        if kind is None and self._count:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            say_at_once(f"whimbrel: interrupted: {self._then} (interrupt again to stop at once)\n")
            if self._ledger is not None and self._ledger.undoing:
                return
            raise KeyboardInterrupt
        try:
            say_at_once(f"whimbrel: {self._last_words()}\n")
        finally:
            # Whatever became of the words.
            os._exit(_INCOMPLETE)

    def _last_words(self) -> str:
        if self._ledger is None or self._ledger.kept:
            return "stopped at once; a move that was under way may go on by itself: 'whimbrel recover' finds out"
        return f"stopped before everything was removed; still there, until 'whimbrel gc' removes it:\n{_left()}"


def interrupt_on_signals() -> None:
    """From here on SIGTERM and SIGHUP do what Ctrl-C does, in every command; those that were ignored (nohup) stay so."""
    for number in _SIGNALS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _left() -> str:
    things = [f"  {entry.kind} {entry.name}" for ledger in all_ledgers() if not ledger.kept for entry in ledger.entries]
    return "\n".join(things) or "  nothing"
