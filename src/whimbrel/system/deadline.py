"""Waiting for something to become true, with a deadline and a word on what was last seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from whimbrel.errors import TrialError

Found = TypeVar("Found")


class Deadline:
    """A point on the monotonic clock that waits must not pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end_s = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, 0 when it has passed."""
        return max(0.0, self._end_s - time.monotonic())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.left_s == 0.0


def wait_until(
    look: Callable[[], tuple[Found | None, str]],
    what: str,
    deadline: Deadline,
    *,
    every_s: float = 0.05,
    error: type[TrialError] = TrialError,
) -> Found:
    """Calls ``look`` until it finds something; it returns what it found (or None) and what it saw.

    When the deadline passes, ``error`` says what was waited for and what was last seen.
    """
    while True:
        found, seen = look()
        if found is not None:
            return found
        if deadline.passed:
            raise error(f"{what} did not happen within {deadline.seconds:.0f} s", details=f"last seen: {seen}")
        pause(min(every_s, deadline.left_s))


def pause(seconds: float, until: threading.Event | None = None) -> bool:
    """Waits for so many seconds, or until the event is set, and says whether it was. Nothing else only lets time pass."""
    return (until or threading.Event()).wait(seconds)
