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
import time
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

_lock = threading.Lock()

# A program with this in its environment waits, when it is loaded, for this signal.
HELD = "WHIMBREL_HELD"
LET_GO = signal.SIGUSR1
_LOOK_S = 1.0
# The number of the descriptor for readings; empty where nobody listens.
READINGS = "WHIMBREL_READINGS"
# Often enough for the eye. Counters are totals, so what lies between two readings is not lost.
_READING_EVERY_NS = 200_000_000
# A pipe takes no more than this as a whole (pipe(7), PIPE_BUF).
_LONGEST_LINE_BYTES = 4096


class Child:
    """The life of an instrument's process."""

    def __init__(self) -> None:
        # A pipe, not an Event: an Event's lock cannot be taken in a signal handler while its own thread waits for it.
        self._told, self._tell = os.pipe()
        self._stop = False
        self._parent = os.getppid()
        signal.signal(signal.SIGTERM, self._on_stop)
        if HELD in os.environ:
            self._hold()

    def _hold(self) -> None:
        """Waits until it is let go; one that is told to end instead has done nothing."""
        let_go = False

        def on_let_go(*_: object) -> None:
            nonlocal let_go
            let_go = True
            os.write(self._tell, b"!")

        signal.signal(LET_GO, on_let_go)
        self.say("loaded")
        while not let_go:
            if self.wait(_LOOK_S):
                sys.exit(0)
        os.read(self._told, 1)

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

    def say_cost(self, lateness_s: Sequence[float], *looks: Looks) -> None:
        """How much CPU this process has taken, with those that it started and that have ended, how late its own loop was each
        time, and its holes.
        """
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        self.say("cost", cpu_s=sum(each.ru_utime + each.ru_stime for each in used), **jitter_of(lateness_s), **holes_of(looks))


class Readings:
    """What an instrument hands on while it measures, where somebody listens: lines of JSON on a pipe that never lets it wait.

    What does not fit into the pipe is dropped, and counted in ``dropped`` and in the next line.
    """

    def __init__(self) -> None:
        number = os.environ.get(READINGS, "")
        self._descriptor = int(number) if number else None
        self._due_ns = 0
        self._lock = threading.Lock()
        self.dropped = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody listens to them."""
        return self._descriptor is not None

    def due(self, now_ns: int) -> bool:
        """Whether somebody listens, and the last reading is some time ago; asked once for each."""
        if self._descriptor is None or now_ns < self._due_ns:
            return False
        self._due_ns = now_ns + _READING_EVERY_NS
        return True

    def give(self, **values: Any) -> None:
        """Hands on one reading, with its moment of the monotonic clock as ``t_ns``; called when it is ``due``."""
        if self._descriptor is None:
            return
        with self._lock:
            line = json.dumps({**values, "dropped": self.dropped}).encode() + b"\n"
            try:
                if len(line) > _LONGEST_LINE_BYTES:
                    raise BlockingIOError
                os.write(self._descriptor, line)
            except BlockingIOError:
                self.dropped += 1
            except OSError:
                # Nobody listens any more.
                self._descriptor = None


class Looks:
    """When an instrument looked: the longest time between two of its looks, and each time longer than ``limit_s``, a hole."""

    def __init__(self, limit_s: float) -> None:
        self._limit_ns = round(limit_s * 1e9)
        self._last_ns: int | None = None
        self.longest_ns: int | None = None
        self.holes: list[tuple[int, int]] = []

    def note(self, now_ns: int | None = None) -> None:
        """A look, now or at this moment of the monotonic clock."""
        now_ns = time.monotonic_ns() if now_ns is None else now_ns
        if self._last_ns is not None:
            length_ns = now_ns - self._last_ns
            self.longest_ns = max(length_ns, self.longest_ns or 0)
            if length_ns > self._limit_ns:
                self.holes.append((self._last_ns, now_ns))
        self._last_ns = now_ns


def holes_of(looks: Iterable[Looks]) -> dict[str, Any]:
    """Of loops that ran beside one another: the largest hole, in ms, None where none came round twice; and all too long ones."""
    found = list(looks)
    longest_ns = max((each.longest_ns for each in found if each.longest_ns is not None), default=None)
    return {
        "largest_hole_ms": longest_ns / 1e6 if longest_ns is not None else None,
        "holes": sorted(chain.from_iterable(each.holes for each in found)),
    }


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
