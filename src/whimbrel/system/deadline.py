"""Waiting for something to become true, with a deadline and a word on what was last seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from whimbrel.errors import TrialError

Found = TypeVar("Found")
Result = TypeVar("Result")

_LOOK_S = 0.1


def _nothing() -> None:
    pass


_attention: ContextVar[Callable[[], None]] = ContextVar("attention", default=_nothing)


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
        attend()
        found, seen = look()
        if found is not None:
            return found
        if deadline.passed:
            raise error(f"{what} did not happen within {deadline.seconds:.0f} s", details=f"last seen: {seen}")
        pause(min(every_s, deadline.left_s))


def pause(seconds: float, until: threading.Event | None = None) -> bool:
    """Waits for so many seconds, but no longer than until the event is set; returns whether it was set.

    Whoever only wants time to pass uses this, so that the end of a guest is noticed meanwhile.
    """
    event, deadline = until or threading.Event(), Deadline(seconds)
    if _attention.get() is _nothing:
        return event.wait(seconds)
    while True:
        attend()
        if event.wait(min(_LOOK_S, deadline.left_s)):
            return True
        if deadline.passed:
            return False


@contextmanager
def attending(check: Callable[[], None]) -> Iterator[None]:
    """Within, every wait of this thread calls ``check`` again and again: what that raises ends the wait.

    Clearing up must not be cut short: it is done outside, or within ``undisturbed``.
    """
    token = _attention.set(check)
    try:
        yield
    finally:
        _attention.reset(token)


def undisturbed() -> AbstractContextManager[None]:
    """Within, waits are as long as they are."""
    return attending(_nothing)


def attend() -> None:
    """Raises what there is to be raised (``attending``)."""
    _attention.get()()


def while_attending(call: Callable[[], Result]) -> Result:
    """Makes a call that may block for long; where somebody attends, on a thread of its own, which may be left behind."""
    if _attention.get() is _nothing:
        return call()
    attend()
    made = _Call(call)
    made.start()
    while not made.done.wait(_LOOK_S):
        attend()
    if made.error is not None:
        raise made.error
    result: Result = made.result
    return result


class _Call(threading.Thread):
    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(name="call", daemon=True)
        self._call = call
        self.done = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.result = self._call()
        except BaseException as error:  # raised again where the call was made
            self.error = error
        finally:
            self.done.set()
