"""Ctrl-C: once, clean up and stop; twice, say what is left and stop at once."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from whimbrel.cli.terminal import complain
from whimbrel.system.ledger import Ledger

_INCOMPLETE = 5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """While it is entered, a first signal raises KeyboardInterrupt and a second one ends the process."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._count = 0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
        if self._count == 1:
            complain("interrupted: removing what was made (interrupt again to stop at once)")
            raise KeyboardInterrupt
        left = "\n".join(f"  {entry.kind} {entry.name}" for entry in self._ledger.entries)
        complain(f"stopped before everything was removed; still there, until 'whimbrel gc' removes it:\n{left or '  nothing'}")
        os._exit(_INCOMPLETE)
