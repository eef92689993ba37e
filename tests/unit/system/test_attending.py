"""Waits that end as soon as something else happens, and those that nothing ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from whimbrel.errors import GuestEndedError
from whimbrel.system.deadline import Deadline, attending, pause, undisturbed, wait_until, while_attending


class Alarm:
    """What is attended to: rings ``after_s`` after it was made."""

    def __init__(self, after_s: float) -> None:
        self._due_s = time.monotonic() + after_s

    def check(self) -> None:
        if time.monotonic() >= self._due_s:
            raise GuestEndedError("it has ended")


def never() -> tuple[None, str]:
    return None, "nothing"


def test_a_pause_a_wait_and_a_call_that_blocks_end_when_it_rings() -> None:
    stuck = threading.Event()
    waits: list[Callable[[], object]] = [
        lambda: pause(60),
        lambda: wait_until(never, "it", Deadline(60)),
        lambda: while_attending(lambda: stuck.wait(60)),
    ]
    for wait in waits:
        began_s = time.monotonic()
        with pytest.raises(GuestEndedError), attending(Alarm(0.05).check):
            wait()
        assert time.monotonic() - began_s < 20
    stuck.set()


def test_nothing_cuts_a_wait_short_where_it_must_not_be() -> None:
    with attending(Alarm(0.0).check), undisturbed():
        assert not pause(0.05)
        assert while_attending(lambda: 7) == 7


def test_outside_nobody_attends() -> None:
    with attending(Alarm(0.0).check):
        pass
    assert not pause(0.01)


def test_other_threads_are_not_disturbed() -> None:
    said = []
    with attending(Alarm(0.0).check):
        other = threading.Thread(target=lambda: said.append(pause(0.01)))
        other.start()
        other.join()
    assert said == [False]


def test_a_pause_lasts_as_long_as_it_should_and_hears_its_own_event() -> None:
    over = threading.Event()
    over.set()
    with attending(Alarm(60).check):
        began_s = time.monotonic()
        assert not pause(0.35)
        assert time.monotonic() - began_s >= 0.35
        assert pause(60, over)


def test_what_a_call_returns_and_raises_comes_back() -> None:
    def fail() -> NoReturn:
        raise KeyError("no")

    with attending(Alarm(60).check):
        assert while_attending(lambda: "answer") == "answer"
        with pytest.raises(KeyError, match="no"):
            while_attending(fail)
