"""What every instrument's own process does: say that it is ready, run until told to stop, say what it cost.

It writes JSON lines to stdout, one object each with a ``say`` key; ``instrument`` reads them on the other side.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

_lock = threading.Lock()


class Child:
    """The life of an instrument's process."""

    def __init__(self) -> None:
        # A pipe, not an Event: an Event's lock cannot be taken in a signal handler while its own thread waits for it.
        self._told, self._tell = os.pipe()
        self._stop = False
        self._parent = os.getppid()
        signal.signal(signal.SIGTERM, self._on_stop)

    def _on_stop(self, *_: object) -> None:
        self._stop = True
        os.write(self._tell, b"!")

    @property
    def stopping(self) -> bool:
        """Whether to end: we were told to, or whoever started us has died."""
        return self._stop or os.getppid() != self._parent

    def wait(self, seconds: float) -> bool:
        """Waits that long or until told to stop; True when it is time to end."""
        select.select([self._told], [], [], seconds)
        return self.stopping

    def say(self, what: str, **details: Any) -> None:
        """One line to whoever started us."""
        with _lock:
            sys.stdout.write(json.dumps({"say": what, **details}) + "\n")
            sys.stdout.flush()

    def say_cost(self, lateness_s: Sequence[float]) -> None:
        """How much CPU this process has taken, all its threads together, and how late its own loop was each time."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.say("cost", cpu_s=used.ru_utime + used.ru_stime, **jitter_of(lateness_s))


def jitter_of(lateness_s: Sequence[float]) -> dict[str, float | None]:
    """Median and 99th percentile of a loop's lateness, in ms; None where it never came round."""
    ordered = sorted(lateness_s)
    return {
        f"jitter_p{percent}_ms": ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000 if ordered else None
        for percent in (50, 99)
    }


def configuration() -> dict[str, Any]:
    """The JSON object given as the only argument."""
    given: dict[str, Any] = json.loads(sys.argv[1])
    return given
